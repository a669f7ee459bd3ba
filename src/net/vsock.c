#include "net/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "util/socket.h"

#define BACKLOG 128

/* What the helper has: the directory, which becomes its working directory, and a name in it. */
struct connector {
	int directory;
	struct sockaddr_un address; /* the name */
	size_t name_bytes;
};

static const struct allowed_call calls[] = {
	CALL_IF(socket, "AF_UNIX", IS(0, AF_UNIX)),
	CALL(connect),
};

static int enter_directory(void *context)
{
	const struct connector *connector = context;

	return fchdir(connector->directory) < 0 ? -errno : 0;
}

/* A socket connected to the name with that port behind it, or -errno. */
static int connect_port(const struct connector *connector, uint32_t port)
{
	struct sockaddr_un address = connector->address;
	size_t room = sizeof(address.sun_path) - connector->name_bytes;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), result;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path + connector->name_bytes, room, "_%u", port);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	result = -errno;
	close(fd);
	return result;
}

static void serve(int socket, void *context)
{
	unsigned none;
	uint32_t port;

	for (;;) {
		none = 0;
		if (helper_receive(socket, &port, sizeof(port), NULL, &none) < 0 ||
		    helper_give(socket, connect_port(context, port)) < 0)
			return;
	}
}

static int start_connector(const char *path, struct error *error)
{
	struct connector connector = {.address = {.sun_family = AF_UNIX}};
	struct helper_config helper = {
		.name = "kvik vsock",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = &connector.directory,
		.kept_count = 1,
		.prepare = enter_directory,
		.serve = serve,
		.context = &connector,
	};
	const char *name;
	int result;

	connector.directory = socket_open_folder(path, &name, error);
	if (connector.directory < 0)
		return connector.directory;
	connector.name_bytes = strlen(name);
	/* "_4294967295" and a NUL behind it. */
	if (connector.name_bytes + 12 > sizeof(connector.address.sun_path)) {
		result = error_set(error, EINVAL, "'%s' is too long for sockets of ports beside it", path);
	} else {
		memcpy(connector.address.sun_path, name, connector.name_bytes);
		result = helper_start(&helper, error);
	}
	close(connector.directory);
	return result;
}

int vsock_host_open(struct vsock_host *host, const char *path, struct error *error)
{
	int result;

	*host = (struct vsock_host){.listener = -1, .connector = -1};
	result = socket_listen_unix(path, error);
	if (result < 0)
		return result;
	host->listener = result;
	listen(host->listener, BACKLOG);
	fcntl(host->listener, F_SETFL, fcntl(host->listener, F_GETFL) | O_NONBLOCK);
	result = start_connector(path, error);
	if (result < 0) {
		vsock_host_close(host);
		return result;
	}
	host->connector = result;
	return 0;
}

void vsock_host_close(struct vsock_host *host)
{
	if (host->listener >= 0)
		close(host->listener);
	if (host->connector >= 0)
		close(host->connector);
	*host = (struct vsock_host){.listener = -1, .connector = -1};
}

int vsock_host_accept(const struct vsock_host *host)
{
	int fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int vsock_host_connect(const struct vsock_host *host, uint32_t port)
{
	return helper_take(host->connector, &port, sizeof(port));
}
