#include "monitor/gdb/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/log.h"

#define SOCKET_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

static int listen_at(int family, const struct sockaddr *address, socklen_t size)
{
	int fd = socket(family, SOCKET_FLAGS, 0), one = 1, result;

	if (fd < 0)
		return -errno;
	if (family != AF_UNIX) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		/* Accepted sockets inherit it. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	if (bind(fd, address, size) == 0 && listen(fd, 1) == 0)
		return fd;
	result = -errno;
	close(fd);
	return result;
}

/* Whether a socket is there that nobody listens on any more. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	bool is_refused;

	if (fd < 0)
		return false;
	is_refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		     errno == ECONNREFUSED;
	close(fd);
	return is_refused;
}

static int listen_unix(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t old;
	int fd;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return error_set(error, EINVAL, "'%s' is no path of a socket", path);
	strcpy(address.sun_path, path);
	/* For its owner alone, from its first moment on. */
	old = umask(0177);
	fd = listen_at(AF_UNIX, (struct sockaddr *)&address, sizeof(address));
	if (fd == -EADDRINUSE && is_stale(&address) && unlink(path) == 0)
		fd = listen_at(AF_UNIX, (struct sockaddr *)&address, sizeof(address));
	umask(old);
	if (fd < 0)
		return error_set_errno(error, -fd, "cannot listen at '%s'", path);
	return fd;
}

static bool parse_port(const char *text, in_port_t *port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !number || number > 65535)
		return false;
	*port = htons(number);
	return true;
}

static int listen_ip4(const char *host, in_port_t port, struct error *error)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
	int fd;

	if (strcmp(host, "localhost") == 0 || !*host)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return error_set(error, EINVAL, "'%s' is no address: use one as 127.0.0.1", host);
	if (ntohl(address.sin_addr.s_addr) >> 24 != 127)
		log_warning("gdb: whoever can connect to %s owns the guest", host);
	fd = listen_at(AF_INET, (struct sockaddr *)&address, sizeof(address));
	return fd < 0 ? error_set_errno(error, -fd, "cannot listen at %s", host) : fd;
}

static int listen_ip6(const char *host, in_port_t port, struct error *error)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = port};
	int fd;

	if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1)
		return error_set(error, EINVAL, "'%s' is no address: use one as ::1", host);
	if (!IN6_IS_ADDR_LOOPBACK(&address.sin6_addr))
		log_warning("gdb: whoever can connect to %s owns the guest", host);
	fd = listen_at(AF_INET6, (struct sockaddr *)&address, sizeof(address));
	return fd < 0 ? error_set_errno(error, -fd, "cannot listen at %s", host) : fd;
}

static int listen_tcp(const char *text, struct error *error)
{
	const char *colon = strrchr(text, ':'), *port_text = colon ? colon + 1 : text;
	char host[INET6_ADDRSTRLEN + 2] = "";
	size_t length = colon ? (size_t)(colon - text) : 0;
	in_port_t port;

	if (!parse_port(port_text, &port) || length >= sizeof(host))
		return error_set(error, EINVAL, "'%s' is no TCP port: use tcp:PORT or tcp:HOST:PORT",
				 text);
	memcpy(host, text, length);
	host[length] = '\0';
	if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		return listen_ip6(host + 1, port, error);
	}
	return listen_ip4(host, port, error);
}

int gdb_listen(const char *where, struct error *error)
{
	if (strncmp(where, "tcp:", 4) == 0)
		return listen_tcp(where + 4, error);
	if (strncmp(where, "unix:", 5) == 0)
		return listen_unix(where + 5, error);
	return error_set(error, EINVAL, "'%s' is no place for a debugger: use tcp:PORT or unix:PATH",
			 where);
}
