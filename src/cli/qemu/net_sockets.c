#include "cli/qemu/net_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"
#include "net/dialer.h"
#include "net/peer.h"
#include "util/socket.h"

#define RECONNECT_MAX_S 86400

bool net_sockets_has(const char *type)
{
	return strcmp(type, "socket") == 0 || strcmp(type, "stream") == 0 || strcmp(type, "dgram") == 0;
}

/* HOST:PORT; a host in brackets may have colons; none: NULL. */
struct place {
	char text[256];
	const char *host, *port;
};

static int split(const char *text, struct place *place, struct error *error)
{
	size_t length = strlen(text);
	char *colon;

	*place = (struct place){.text = ""};
	if (length >= sizeof(place->text))
		return error_set(error, EINVAL, "'%.60s...' is too long", text);
	strcpy(place->text, text);
	colon = strrchr(place->text, ':');
	if (!colon || !colon[1])
		return error_set(error, EINVAL, "'%.60s': use HOST:PORT", text);
	*colon = 0;
	place->port = colon + 1;
	place->host = place->text;
	if (place->text[0] == '[' && colon[-1] == ']') {
		colon[-1] = 0;
		place->host++;
	}
	if (!*place->host)
		place->host = NULL;
	return 0;
}

/* A descriptor that came with the command line. */
static int open_fd(const char *text, struct error *error)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	int fd = *text >= '0' && *text <= '9' && !*end && number <= INT32_MAX ? dup(number) : -1;

	return fd < 0 ? error_set(error, EBADF, "fd=%.60s is no descriptor that is open", text) : fd;
}

/* -- socket -- */

static const char *const ways[] = {"fd", "listen", "connect", "mcast", "udp"};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int open_socket(const json_t *options, struct net_peer_config *config, struct error *error)
{
	const char *fd = keyval_text(options, "fd"), *listening = keyval_text(options, "listen");
	const char *peer = keyval_text(options, "connect"), *group = keyval_text(options, "mcast");
	const char *udp = keyval_text(options, "udp"), *local = keyval_text(options, "localaddr");
	struct place place, from;

	if (fd)
		return open_fd(fd, error);
	if (split(listening ? listening : peer ? peer : group ? group : udp, &place, error) < 0)
		return -EINVAL;
	if (listening)
		return socket_listen_tcp(place.host, place.port, error);
	if (peer)
		return socket_connect_tcp(place.host, place.port, error);
	if (group)
		return net_peer_group(config, place.host, place.port, local, error);
	if (split(local, &from, error) < 0)
		return -EINVAL;
	return net_peer_udp(from.host, from.port, place.host, place.port, error);
}

static int check_socket(const json_t *options, struct error *error)
{
	unsigned i, count = 0;

	for (i = 0; i < WAYS; i++)
		count += json_object_get(options, ways[i]) != NULL;
	if (count != 1)
		return error_set(error, EINVAL, "socket: use one of fd=, listen=, connect=, mcast= and udp=");
	if (json_object_get(options, "udp") && !json_object_get(options, "localaddr"))
		return error_set(error, EINVAL, "udp= needs localaddr=HOST:PORT, which this side has");
	if (json_object_get(options, "localaddr") && !json_object_get(options, "udp") && !json_object_get(options, "mcast"))
		return error_set(error, EINVAL, "localaddr= is of mcast= and udp=");
	return 0;
}

/* -- stream and dgram, whose addresses are objects: "addr", "local", "remote" -- */

static const char *part(const json_t *options, const char *address, const char *key)
{
	char name[32];

	snprintf(name, sizeof(name), "%s.%s", address, key);
	return keyval_text(options, name);
}

static bool part_is(const json_t *options, const char *address, const char *key, const char *value)
{
	const char *text = part(options, address, key);

	return text && strcmp(text, value) == 0;
}

static int check_address(const json_t *options, const char *address, struct error *error)
{
	if (part_is(options, address, "type", "unix") && part(options, address, "path"))
		return 0;
	if (part_is(options, address, "type", "fd") && part(options, address, "str"))
		return 0;
	if (part_is(options, address, "type", "inet") && part(options, address, "host") && part(options, address, "port"))
		return 0;
	return error_set(error, EINVAL,
			 "use %s.type=inet,%s.host=H,%s.port=P or %s.type=unix,%s.path=F or %s.type=fd,%s.str=N", address,
			 address, address, address, address, address, address);
}

static int open_stream(const json_t *options, struct error *error)
{
	bool is_server = json_is_true(json_object_get(options, "server"));
	const char *path = part(options, "addr", "path"), *host = part(options, "addr", "host");
	const char *port = part(options, "addr", "port");

	if (part_is(options, "addr", "type", "fd"))
		return open_fd(part(options, "addr", "str"), error);
	if (part_is(options, "addr", "type", "unix"))
		return is_server ? socket_listen_unix(path, error) : socket_connect_unix(path, error);
	if (!*host)
		host = NULL;
	return is_server ? socket_listen_tcp(host, port, error) : socket_connect_tcp(host, port, error);
}

/* reconnect= in seconds, or by its later name in milliseconds. 0, or -EINVAL and `error`. */
static int reconnect_delay(const json_t *options, unsigned *delay_s, struct error *error)
{
	uint64_t seconds = 0, milliseconds = 0;

	if (keyval_number(options, "reconnect", RECONNECT_MAX_S, &seconds, error) < 0 ||
	    keyval_number(options, "reconnect-ms", RECONNECT_MAX_S * 1000ull, &milliseconds, error) < 0)
		return -EINVAL;
	*delay_s = seconds ? seconds : (milliseconds + 999) / 1000;
	if (*delay_s && (json_is_true(json_object_get(options, "server")) || !keyval_text(options, "addr.type") ||
			 part_is(options, "addr", "type", "fd")))
		return error_set(error, EINVAL, "reconnect= is of streams that connect (server=off), to a path or a host");
	return 0;
}

static int open_dialer(const json_t *options, unsigned delay_s, struct error *error)
{
	bool is_unix = part_is(options, "addr", "type", "unix");
	const char *host = part(options, "addr", "host");
	const struct net_dialer_config config = {.path = is_unix ? part(options, "addr", "path") : NULL,
						 .host = host && *host ? host : NULL,
						 .port = part(options, "addr", "port"),
						 .delay_s = delay_s,
						 .no_delay = !is_unix};

	return net_dialer_start(&config, error);
}

static bool is_group(const char *host)
{
	struct in_addr address;

	return host && inet_pton(AF_INET, host, &address) == 1 && IN_MULTICAST(ntohl(address.s_addr));
}

static int open_datagrams(const json_t *options, struct net_peer_config *config, struct error *error)
{
	const char *local = part(options, "local", "host"), *host = part(options, "remote", "host");

	if (part_is(options, "local", "type", "fd"))
		return open_fd(part(options, "local", "str"), error);
	if (part_is(options, "remote", "type", "unix"))
		return net_peer_unix(config, part(options, "local", "path"), part(options, "remote", "path"), error);
	if (is_group(host))
		return net_peer_group(config, host, part(options, "remote", "port"), local, error);
	return net_peer_udp(local && *local ? local : NULL, part(options, "local", "port"), host,
			    part(options, "remote", "port"), error);
}

static int check_datagrams(const json_t *options, struct error *error)
{
	const char *local = part(options, "local", "type"), *remote = part(options, "remote", "type");

	if (local && check_address(options, "local", error) < 0)
		return -EINVAL;
	if (local && strcmp(local, "fd") == 0)
		return remote ? error_set(error, EINVAL, "local.type=fd has its other side: leave remote out") : 0;
	if (check_address(options, "remote", error) < 0)
		return -EINVAL;
	if (!local && !is_group(part(options, "remote", "host")))
		return error_set(error, EINVAL, "dgram needs local.type=, for what comes from the other side");
	if (local && strcmp(local, remote) != 0)
		return error_set(error, EINVAL, "local.type=%.20s and remote.type=%.20s: use the same", local, remote);
	return 0;
}

/* -- all of them -- */

int net_sockets_check(const json_t *options, struct error *error)
{
	const char *type = keyval_text(options, "type");
	unsigned delay_s;

	if (reconnect_delay(options, &delay_s, error) < 0)
		return -EINVAL;

	if (strcmp(type, "socket") == 0)
		return check_socket(options, error);
	return strcmp(type, "stream") == 0 ? check_address(options, "addr", error) : check_datagrams(options, error);
}

int net_sockets_open(const json_t *options, struct net_link *link, struct error *error)
{
	const char *type = keyval_text(options, "type");
	struct net_peer_config config = {.fd = -1};
	unsigned delay_s;

	if (reconnect_delay(options, &delay_s, error) < 0)
		return -EINVAL;
	config.is_dialer = delay_s;
	if (delay_s)
		config.fd = open_dialer(options, delay_s, error);
	else if (strcmp(type, "socket") == 0)
		config.fd = open_socket(options, &config, error);
	else if (strcmp(type, "stream") == 0)
		config.fd = open_stream(options, error);
	else
		config.fd = open_datagrams(options, &config, error);
	return config.fd < 0 ? config.fd : net_peer_start(link, &config, error);
}
