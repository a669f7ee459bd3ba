#include "util/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1

static int fill_unix(struct sockaddr_un *address, const char *path, struct error *error)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return error_set(error, EINVAL, "'%s' is too long for a socket's path", path);
	strcpy(address->sun_path, path);
	return 0;
}

int socket_listen_unix(const char *path, struct error *error)
{
	struct sockaddr_un address;
	struct stat status;
	int fd, result = fill_unix(&address, path, error);

	if (result < 0)
		return result;
	/* What an earlier run has left. Anything else in its place stays, and is an error. */
	if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	result = error_set_errno(error, errno, "cannot listen on the socket '%s'", path);
	if (fd >= 0)
		close(fd);
	return result;
}

int socket_connect_unix(const char *path, struct error *error)
{
	struct sockaddr_un address;
	int fd, result = fill_unix(&address, path, error);

	if (result < 0)
		return result;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	result = error_set_errno(error, errno, "cannot connect to the socket '%s'", path);
	if (fd >= 0)
		close(fd);
	return result;
}

/* The first of the addresses that `use` takes. */
static int open_tcp(const char *host, const char *port, int flags, const char *what,
		    int (*use)(int fd, const struct addrinfo *address), struct error *error)
{
	const struct addrinfo hints = {.ai_flags = flags, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *address;
	int fd, code = getaddrinfo(host, port, &hints, &list);

	if (code)
		return error_set(error, EINVAL, "'%s:%s' is no address: %s", host ? host : "", port,
				 gai_strerror(code));
	code = EADDRNOTAVAIL;
	for (address = list; address; address = address->ai_next) {
		fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && use(fd, address) == 0) {
			freeaddrinfo(list);
			return fd;
		}
		code = errno;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return error_set_errno(error, code, "cannot %s '%s:%s'", what, host ? host : "", port);
}

static int bind_and_listen(int fd, const struct addrinfo *address)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return bind(fd, address->ai_addr, address->ai_addrlen) < 0 ? -1 : listen(fd, BACKLOG);
}

static int connect_to(int fd, const struct addrinfo *address)
{
	return connect(fd, address->ai_addr, address->ai_addrlen);
}

int socket_listen_tcp(const char *host, const char *port, struct error *error)
{
	return open_tcp(host, port, AI_PASSIVE, "listen on", bind_and_listen, error);
}

int socket_connect_tcp(const char *host, const char *port, struct error *error)
{
	return open_tcp(host, port, 0, "connect to", connect_to, error);
}

int socket_open_folder(const char *path, const char **name, struct error *error)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash == path ? 1 : slash - path) : strdup(".");
	int fd;

	if (!folder)
		return error_set_errno(error, ENOMEM, "'%s'", path);
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = error_set_errno(error, errno, "cannot open '%s'", folder);
	free(folder);
	*name = slash ? slash + 1 : path;
	return fd;
}
