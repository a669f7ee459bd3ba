#include "cli/qemu/net_user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"
#include "cli/size.h"
#include "util/socket.h"

#define BITS_MIN  4 /* of an IPv4 network's mask */
#define BITS6_MAX 126
#define TEXT_MAX  128
#define SERVICE_MAX 1024 /* of a guestfwd, with its command */

/* One that may be said again and again: item `i`, a text or JSON's {"str": TEXT}; NULL: there are no more. */
static const char *item_of(const json_t *given, size_t i)
{
	const json_t *one = json_is_array(given) ? json_array_get(given, i) : i ? NULL : given;
	const char *text = json_is_object(one) ? keyval_text(one, "str") : json_string_value(one);

	return one && !text ? "" : text;
}

static int parse_port(const char *text, bool may_be_any, uint16_t *port)
{
	uint64_t number;

	if (!text || number_parse(text, UINT16_MAX, &number) < 0 || (!number && !may_be_any))
		return -EINVAL;
	*port = number;
	return 0;
}

/* -- where things are -- */

/* One of the network's own addresses; not said: it stays as it is. */
static int parse_own(const json_t *options, const char *key, const struct net_user_addresses *addresses, uint32_t *address,
		     struct error *error)
{
	const char *text = keyval_text(options, key);
	struct in_addr parsed;

	if (!text)
		return 0;
	if (!addresses->has_ipv4)
		return error_set(error, EINVAL, "%s=%.60s: the network has no IPv4", key, text);
	if (inet_pton(AF_INET, text, &parsed) != 1 || (ntohl(parsed.s_addr) & addresses->mask) != addresses->network)
		return error_set(error, EINVAL, "%s=%.60s is no address of the network", key, text);
	*address = ntohl(parsed.s_addr);
	return 0;
}

/* How large a network is that has no mask: as its class says, or what is known of that block. */
static unsigned usual_bits(uint32_t network)
{
	static const struct {
		uint32_t network;
		unsigned bits, mask_bits;
	} blocks[] = {
		{0x00000000, 1, 8},   {0xac100000, 12, 12}, {0x80000000, 2, 16}, {0xc0a80000, 16, 16},
		{0xc6120000, 15, 15}, {0xc0000000, 3, 24},
	};
	unsigned i;

	for (i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		if ((network ^ blocks[i].network) >> (32 - blocks[i].bits) == 0)
			return blocks[i].mask_bits;
	return BITS_MIN;
}

/* net=ADDRESS[/BITS|/MASK] */
static int parse_network(const char *text, struct net_user_addresses *addresses, struct error *error)
{
	char copy[TEXT_MAX], *slash;
	struct in_addr network, mask;
	uint64_t bits;

	if (!addresses->has_ipv4)
		return error_set(error, EINVAL, "net=%.60s: the network has no IPv4", text);
	snprintf(copy, sizeof(copy), "%s", text);
	slash = strchr(copy, '/');
	if (slash)
		*slash++ = 0;
	if (inet_pton(AF_INET, copy, &network) != 1)
		return error_set(error, EINVAL, "net=%.60s: use ADDRESS/BITS, as 10.0.2.0/24", text);
	addresses->network = ntohl(network.s_addr);
	if (!slash)
		addresses->mask = UINT32_MAX << (32 - usual_bits(addresses->network));
	else if (number_parse(slash, 30, &bits) == 0 && bits >= BITS_MIN)
		addresses->mask = UINT32_MAX << (32 - bits);
	else if (inet_pton(AF_INET, slash, &mask) == 1)
		addresses->mask = ntohl(mask.s_addr);
	else
		return error_set(error, EINVAL, "net=%.60s: use ADDRESS/BITS, of %u to 30 bits", text, BITS_MIN);
	/* Ones, and then zeroes. */
	if (!addresses->mask || (~addresses->mask & (~addresses->mask + 1)))
		return error_set(error, EINVAL, "net=%.60s: %s is no mask", text, slash);
	addresses->network &= addresses->mask;
	addresses->host = addresses->network | (0x0202 & ~addresses->mask);
	addresses->names = addresses->network | (0x0203 & ~addresses->mask);
	addresses->guest = addresses->network | (0x020f & ~addresses->mask);
	return 0;
}

/* DNS may be a server elsewhere, unless the guest reaches nothing. */
static int parse_names(const json_t *options, struct net_user_addresses *addresses, struct error *error)
{
	const char *text = keyval_text(options, "dns");
	struct in_addr parsed;

	if (!text || !addresses->has_ipv4 || json_is_true(json_object_get(options, "restrict")))
		return parse_own(options, "dns", addresses, &addresses->names, error);
	if (inet_pton(AF_INET, text, &parsed) != 1)
		return error_set(error, EINVAL, "dns=%.60s is no address", text);
	addresses->names = ntohl(parsed.s_addr);
	return 0;
}

static int parse_own6(const json_t *options, const char *key, const struct net_user_addresses *addresses,
		      uint8_t address[NET_IPV6_BYTES], struct error *error)
{
	const char *text = keyval_text(options, key);
	unsigned i;

	if (!text)
		return 0;
	if (!addresses->has_ipv6)
		return error_set(error, EINVAL, "%s=%.60s: the network has no IPv6", key, text);
	if (inet_pton(AF_INET6, text, address) != 1)
		return error_set(error, EINVAL, "%s=%.60s is no address of IPv6", key, text);
	for (i = 0; i < addresses->bits6; i++)
		if ((address[i / 8] ^ addresses->network6[i / 8]) & 0x80 >> i % 8)
			return error_set(error, EINVAL, "%s=%.60s is no address of the network", key, text);
	return 0;
}

/* ipv6-net=PREFIX[/BITS], or both by keys of their own. */
static int parse_network6(const json_t *options, struct net_user_addresses *addresses, struct error *error)
{
	const char *whole = keyval_text(options, "ipv6-net"), *prefix = keyval_text(options, "ipv6-prefix");
	const char *length = keyval_text(options, "ipv6-prefixlen");
	char copy[TEXT_MAX], *slash;
	uint64_t bits = addresses->bits6;
	unsigned i;

	if (!whole && !prefix && !json_object_get(options, "ipv6-prefixlen"))
		return 0;
	if (!addresses->has_ipv6)
		return error_set(error, EINVAL, "ipv6-net=: the network has no IPv6");
	snprintf(copy, sizeof(copy), "%s", whole ? whole : prefix ? prefix : "fec0::");
	slash = whole ? strchr(copy, '/') : NULL;
	if (slash)
		*slash++ = 0;
	if (!slash && json_is_integer(json_object_get(options, "ipv6-prefixlen")))
		bits = json_integer_value(json_object_get(options, "ipv6-prefixlen"));
	else if ((slash || length) && number_parse(slash ? slash : length, BITS6_MAX, &bits) < 0)
		bits = 0;
	if (inet_pton(AF_INET6, copy, addresses->network6) != 1 || !bits || bits > BITS6_MAX)
		return error_set(error, EINVAL, "ipv6-net=%.60s: use PREFIX/BITS, as fec0::/64, of up to %u bits", copy,
				 BITS6_MAX);
	addresses->bits6 = bits;
	for (i = bits; i < 128; i++)
		addresses->network6[i / 8] &= ~(0x80 >> i % 8);
	memcpy(addresses->host6, addresses->network6, NET_IPV6_BYTES);
	memcpy(addresses->names6, addresses->network6, NET_IPV6_BYTES);
	addresses->host6[NET_IPV6_BYTES - 1] |= 2;
	addresses->names6[NET_IPV6_BYTES - 1] |= 3;
	return 0;
}

/* Asking for one of the two alone is asking for it to be the only one. */
static int choose_families(const json_t *options, struct net_user_addresses *addresses, struct error *error)
{
	const json_t *ipv4 = json_object_get(options, "ipv4"), *ipv6 = json_object_get(options, "ipv6");

	addresses->has_ipv4 = ipv4 ? json_is_true(ipv4) : !json_is_true(ipv6);
	addresses->has_ipv6 = ipv6 ? json_is_true(ipv6) : !json_is_true(ipv4);
	return addresses->has_ipv4 || addresses->has_ipv6
		       ? 0
		       : error_set(error, EINVAL, "a network without IPv4 and IPv6 is none");
}

static int parse_addresses(const json_t *options, struct net_user_addresses *addresses, struct error *error)
{
	const char *network = keyval_text(options, "net");

	net_user_usual_addresses(addresses);
	if (choose_families(options, addresses, error) < 0 || (network && parse_network(network, addresses, error) < 0) ||
	    parse_own(options, "host", addresses, &addresses->host, error) < 0 ||
	    parse_names(options, addresses, error) < 0 ||
	    parse_own(options, "dhcpstart", addresses, &addresses->guest, error) < 0 ||
	    parse_network6(options, addresses, error) < 0 ||
	    parse_own6(options, "ipv6-host", addresses, addresses->host6, error) < 0 ||
	    parse_own6(options, "ipv6-dns", addresses, addresses->names6, error) < 0)
		return -EINVAL;
	if (addresses->host == addresses->names || addresses->host == addresses->guest ||
	    addresses->names == addresses->guest)
		return error_set(error, EINVAL, "host=, dns= and dhcpstart= have to be three addresses");
	if (memcmp(addresses->host6, addresses->names6, NET_IPV6_BYTES) == 0)
		return error_set(error, EINVAL, "ipv6-host= and ipv6-dns= are one address");
	return 0;
}

/* -- ports -- */

/* [tcp|udp]:[HOSTADDRESS]:HOSTPORT-[GUESTADDRESS]:GUESTPORT; the host's port 0 is any that is free. */
static int parse_forward(const char *text, const struct net_user_addresses *addresses, struct net_forward *forward,
			 struct error *error)
{
	char copy[TEXT_MAX], *parts[4] = {NULL}, *rest = copy;
	struct in_addr address = {htonl(INADDR_ANY)}, guest = {0};

	snprintf(copy, sizeof(copy), "%s", text);
	parts[0] = strsep(&rest, ":");
	parts[1] = strsep(&rest, ":");
	parts[2] = strsep(&rest, "-");
	parts[3] = strsep(&rest, ":");
	if (strlen(text) >= sizeof(copy) || !rest ||
	    (*parts[0] && strcmp(parts[0], "tcp") != 0 && strcmp(parts[0], "udp") != 0) ||
	    (*parts[1] && inet_pton(AF_INET, parts[1], &address) != 1) ||
	    (*parts[3] && (inet_pton(AF_INET, parts[3], &guest) != 1 ||
			   (ntohl(guest.s_addr) & addresses->mask) != addresses->network)) ||
	    parse_port(parts[2], true, &forward->host_port) < 0 || parse_port(rest, false, &forward->guest_port) < 0)
		return error_set(error, EINVAL,
				 "hostfwd=%.80s: use PROTOCOL:[ADDRESS]:PORT-[GUESTADDRESS]:GUESTPORT, as "
				 "tcp:127.0.0.1:2222-:22",
				 text);
	forward->is_udp = parts[0][0] == 'u';
	forward->host_address = ntohl(address.s_addr);
	forward->guest_address = ntohl(guest.s_addr);
	return 0;
}

static int parse_forwards(const json_t *options, struct net_user_config *user, struct error *error)
{
	const json_t *given = json_object_get(options, "hostfwd");
	const char *text;

	while ((text = item_of(given, user->forward_count))) {
		if (user->forward_count == NET_FORWARDS_MAX)
			return error_set(error, ENOSPC, "at most %u ports can be forwarded", NET_FORWARDS_MAX);
		if (parse_forward(text, &user->addresses, &user->forwards[user->forward_count], error) < 0)
			return -EINVAL;
		user->forward_count++;
	}
	return 0;
}

/* A program or a device of the monitor's cannot be at the other end: a process that may start neither is. */
static int split_service(const char *text, struct net_service *service, char copy[SERVICE_MAX], const char **kind,
			 const char **where, struct error *error)
{
	char *parts[3], *rest = copy;
	struct in_addr address;

	snprintf(copy, SERVICE_MAX, "%s", text);
	parts[0] = strsep(&rest, ":");
	parts[1] = strsep(&rest, ":");
	parts[2] = strsep(&rest, "-");
	if (strlen(text) >= SERVICE_MAX || !rest || (*parts[0] && strcmp(parts[0], "tcp") != 0) ||
	    inet_pton(AF_INET, parts[1], &address) != 1 || parse_port(parts[2], false, &service->port) < 0)
		return error_set(error, EINVAL,
				 "guestfwd=%.80s: use tcp:ADDRESS:PORT-tcp:HOST:PORT, -unix:PATH or -cmd:COMMAND", text);
	*kind = strsep(&rest, ":");
	*where = rest;
	if (!rest || !*rest || (strcmp(*kind, "tcp") != 0 && strcmp(*kind, "unix") != 0 && strcmp(*kind, "cmd") != 0))
		return error_set(error, ENOTSUP,
				 "guestfwd=%.80s: '%.20s' is not there: use tcp:HOST:PORT, unix:PATH or cmd:COMMAND", text, *kind);
	service->address = ntohl(address.s_addr);
	return 0;
}

static int open_service(const char *text, struct net_service *service, struct error *error)
{
	char copy[SERVICE_MAX], host[SERVICE_MAX], *port;
	const char *kind, *where;

	if (split_service(text, service, copy, &kind, &where, error) < 0)
		return -EINVAL;
	service->fd = -1;
	if (strcmp(kind, "cmd") == 0) {
		service->command = text + (where - copy);
		return 0;
	}
	if (strcmp(kind, "unix") == 0) {
		service->fd = socket_connect_unix(where, error);
		return service->fd;
	}
	snprintf(host, sizeof(host), "%s", where);
	port = strrchr(host, ':');
	if (!port)
		return error_set(error, EINVAL, "guestfwd=%.80s: use tcp:HOST:PORT", text);
	*port++ = 0;
	service->fd = socket_connect_tcp(host, port, error);
	return service->fd;
}

static int open_services(const json_t *options, struct net_user_config *user, struct error *error)
{
	const json_t *given = json_object_get(options, "guestfwd");
	const char *text;

	while ((text = item_of(given, user->service_count))) {
		if (user->service_count == NET_FORWARDS_MAX)
			return error_set(error, ENOSPC, "at most %u ports can lead to the host", NET_FORWARDS_MAX);
		if (open_service(text, &user->services[user->service_count], error) < 0)
			return -EINVAL;
		user->service_count++;
	}
	return 0;
}

static int check_services(const json_t *options, struct error *error)
{
	const json_t *given = json_object_get(options, "guestfwd");
	const char *text, *kind, *where;
	struct net_service service;
	char copy[SERVICE_MAX];
	size_t i;

	for (i = 0; (text = item_of(given, i)); i++)
		if (split_service(text, &service, copy, &kind, &where, error) < 0)
			return -EINVAL;
	return 0;
}

int net_user_parse_forward(const json_t *options, const char *text, bool is_end, struct net_forward *forward,
			   struct error *error)
{
	struct net_user_addresses addresses;
	char whole[TEXT_MAX];

	if (parse_addresses(options, &addresses, error) < 0)
		return -EINVAL;
	if (is_end && !strchr(text, '-') && strlen(text) < sizeof(whole) - 4) {
		snprintf(whole, sizeof(whole), "%s-:1", text);
		text = whole;
	} else if (is_end) {
		return error_set(error, EINVAL, "'%.60s': use [tcp|udp]:[ADDRESS]:PORT", text);
	}
	return parse_forward(text, &addresses, forward, error);
}

/* -- all of it -- */

static int parse(const json_t *options, struct net_user_config *user, struct error *error)
{
	const json_t *given = json_object_get(options, "dnssearch");
	unsigned i;

	*user = (struct net_user_config){
		.is_restricted = json_is_true(json_object_get(options, "restrict")),
		.hostname = keyval_text(options, "hostname"),
		.domain = keyval_text(options, "domainname"),
		.tftp_folder = keyval_text(options, "tftp"),
		.boot_file = keyval_text(options, "bootfile"),
		.tftp_server_name = keyval_text(options, "tftp-server-name"),
	};
	if (user->boot_file && strlen(user->boot_file) > NET_BOOT_FILE_MAX)
		return error_set(error, EINVAL, "bootfile= has at most %u characters", NET_BOOT_FILE_MAX);
	if (user->tftp_server_name && strlen(user->tftp_server_name) > UINT8_MAX)
		return error_set(error, EINVAL, "tftp-server-name= has at most %u characters", UINT8_MAX);
	if (user->domain && (!*user->domain || strlen(user->domain) > UINT8_MAX))
		return error_set(error, EINVAL, "domainname= has 1 to %u characters", UINT8_MAX);
	for (i = 0; item_of(given, i); i++) {
		if (i == NET_SEARCHES_MAX)
			return error_set(error, ENOSPC, "at most %u domains with dnssearch=", NET_SEARCHES_MAX);
		user->searches[i] = item_of(given, i);
	}
	if (parse_addresses(options, &user->addresses, error) < 0)
		return -EINVAL;
	return parse_forwards(options, user, error);
}

int net_user_check(const json_t *options, struct error *error)
{
	struct net_user_config user;
	int result = parse(options, &user, error);

	return result < 0 ? result : check_services(options, error);
}

int net_user_open(const json_t *options, struct net_link *link, struct error *error)
{
	struct net_user_config user;
	int result = parse(options, &user, error);

	if (result == 0)
		result = open_services(options, &user, error);
	if (result == 0)
		return net_user_start(link, &user, error);
	while (user.service_count)
		if (user.services[--user.service_count].fd >= 0)
			close(user.services[user.service_count].fd);
	return result;
}
