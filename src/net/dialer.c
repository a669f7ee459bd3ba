#include "net/dialer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "util/socket.h"

#define ADDRESSES_MAX 8
#define MS_PER_S      1000

/* What the process has. */
struct dialer {
	struct sockaddr_storage addresses[ADDRESSES_MAX];
	socklen_t sizes[ADDRESSES_MAX];
	unsigned count;
	int folder; /* of a Unix socket, which is named from there; -1 */
	int delay_ms;
	bool no_delay;
};

static const struct allowed_call calls[] = {
	CALL_IF(socket, "AF_UNIX", IS(0, AF_UNIX)),
	CALL_IF(socket, "AF_INET", IS(0, AF_INET)),
	CALL_IF(socket, "AF_INET6", IS(0, AF_INET6)),
	CALL(connect),
	CALL(poll),
	CALL_IF(setsockopt, "TCP_NODELAY", IS(1, IPPROTO_TCP), IS(2, TCP_NODELAY)),
	CALL_IF(getsockopt, "SO_ERROR", IS(1, SOL_SOCKET), IS(2, SO_ERROR)),
};

static int enter_folder(void *context)
{
	const struct dialer *dialer = context;

	return dialer->folder >= 0 && fchdir(dialer->folder) < 0 ? -errno : 0;
}

/* Wait for a connection that is under way. False: there is none, or the monitor has gone. */
static bool finish_connection(int fd, int monitor)
{
	struct pollfd polls[] = {{fd, POLLOUT, 0}, {monitor, 0, 0}};
	socklen_t size = sizeof(int);
	int code = 0;

	while (poll(polls, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	return !polls[1].revents && getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0;
}

static int connect_to(const struct dialer *dialer, unsigned index, int monitor)
{
	const struct sockaddr *address = (const struct sockaddr *)&dialer->addresses[index];
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -1;
	if (connect(fd, address, dialer->sizes[index]) < 0 &&
	    (errno != EINPROGRESS || !finish_connection(fd, monitor))) {
		close(fd);
		return -1;
	}
	if (dialer->no_delay && address->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static int dial(const struct dialer *dialer, int monitor)
{
	unsigned i;
	int fd = -1;

	for (i = 0; i < dialer->count && fd < 0; i++)
		fd = connect_to(dialer, i, monitor);
	return fd;
}

/* False: the monitor has gone meanwhile. */
static bool wait_before_next(const struct dialer *dialer, int monitor)
{
	struct pollfd end = {monitor, 0, 0};

	return poll(&end, 1, dialer->delay_ms) <= 0;
}

static void serve(int monitor, void *context)
{
	const struct dialer *dialer = context;
	bool is_first = true;
	unsigned none;
	char word;
	int fd;

	for (;;) {
		none = 0;
		if (helper_receive(monitor, &word, sizeof(word), NULL, &none) < 0)
			return;
		/* Whoever was connected and is no more waits, too: there may be nobody who serves long. */
		for (fd = -1; fd < 0; is_first = false) {
			if (!is_first && !wait_before_next(dialer, monitor))
				return;
			fd = dial(dialer, monitor);
		}
		if (helper_send(monitor, &word, sizeof(word), &fd, 1) < 0)
			return;
		close(fd);
	}
}

static int find_unix(struct dialer *dialer, const char *path, struct error *error)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&dialer->addresses[0];
	size_t length = strlen(path);
	const char *name;

	if (!length || path[length - 1] == '/' || length >= sizeof(address->sun_path))
		return error_set(error, EINVAL, "'%.200s' is no path of a socket, or too long", path);
	dialer->folder = socket_open_folder(path, &name, error);
	if (dialer->folder < 0)
		return dialer->folder;
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, name);
	dialer->sizes[0] = sizeof(*address);
	dialer->count = 1;
	return 0;
}

static int find_tcp(struct dialer *dialer, const char *host, const char *port, struct error *error)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *one;
	int code = getaddrinfo(host, port, &hints, &list);

	if (code)
		return error_set(error, EINVAL, "'%s:%s' is no address: %s", host ? host : "", port, gai_strerror(code));
	for (one = list; one && dialer->count < ADDRESSES_MAX; one = one->ai_next) {
		if (one->ai_addrlen > sizeof(dialer->addresses[0]))
			continue;
		memcpy(&dialer->addresses[dialer->count], one->ai_addr, one->ai_addrlen);
		dialer->sizes[dialer->count++] = one->ai_addrlen;
	}
	freeaddrinfo(list);
	return 0;
}

int net_dialer_start(const struct net_dialer_config *config, struct error *error)
{
	struct dialer dialer = {
		.folder = -1, .delay_ms = config->delay_s * MS_PER_S, .no_delay = config->no_delay};
	const struct helper_config helper = {
		.name = "kvik dialer",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = &dialer.folder,
		.kept_count = 1,
		.needs_network = !config->path,
		.prepare = enter_folder,
		.serve = serve,
		.context = &dialer,
	};
	int result = config->path ? find_unix(&dialer, config->path, error)
				  : find_tcp(&dialer, config->host, config->port, error);

	if (result == 0)
		result = helper_start(&helper, error);
	if (dialer.folder >= 0)
		close(dialer.folder);
	return result;
}

void net_dialer_ask(int dialer)
{
	const char word = 0;

	helper_send(dialer, &word, sizeof(word), NULL, 0);
}

int net_dialer_take(int dialer)
{
	unsigned count = 1;
	char word;
	int fd = -1, result = helper_receive(dialer, &word, sizeof(word), &fd, &count);

	if (result < 0)
		return result;
	return count == 1 ? fd : -EPROTO;
}
