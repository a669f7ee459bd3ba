/*
 * A network in user space: libslirp ends the guest's connections and makes its own, as an ordinary
 * program of the host.
 *
 * It does so in a helper, which shares with the monitor a socket of frames and nothing else. So a
 * monitor that its guest has taken over still has no network but this one's, and whoever takes over the
 * network stack has neither the guest's memory nor its disks. The monitor's process makes the stack
 * and binds the ports that are forwarded, because that can fail for reasons that a person must read;
 * then it forks, and forgets its copy.
 */
#include <arpa/inet.h>
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/frame_socket.h"
#include "net/link.h"
#include "net/tftp.h"
#include "net/tftp_folder.h"
#include "sandbox/helper.h"
#include "util/clock.h"
#include "util/log.h"

#define GUEST_ADDRESS	0x0a00020f /* 10.0.2.15 */
#define HOST_ADDRESS	0x0a000202
#define HOST_MAC	{0x52, 0x55, 0x0a, 0x00, 0x02, 0x02} /* libslirp's, of that address */
#define POLLS_MAX	1024
#define FRAMES_AT_ONCE	64
#define RESOLVER_PATH	"/etc/resolv.conf"
#define RESOLVER_MAX	3500
#define NS_PER_MS	1000000ll

/* A timer of the stack's. */
struct slirp_timer {
	SlirpTimerId id;
	void *context;
	int64_t expires_ms; /* -1: it doesn't */
	struct slirp_timer *next;
};

struct user {
	Slirp *slirp;
	int frames; /* the helper's end */
	int folder; /* of TFTP's files; -1: none */
	struct tftp tftp;
	struct slirp_timer *timers;
	struct pollfd polls[POLLS_MAX];
	unsigned poll_count;
	char resolver[RESOLVER_MAX + 1];
};

/* --- what the stack asks of us --- */

static ssize_t send_packet(const void *frame, size_t size, void *context)
{
	const struct user *user = context;

	frame_socket_send(user->frames, frame, size);
	return size;
}

static void guest_error(const char *message, void *context)
{
	(void)context;
	log_guest("network: %s", message);
}

static int64_t clock_ns(void *context)
{
	(void)context;
	return monotonic_ns();
}

static void *timer_new(SlirpTimerId id, void *timer_context, void *context)
{
	struct user *user = context;
	struct slirp_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		abort();
	*timer = (struct slirp_timer){id, timer_context, -1, user->timers};
	user->timers = timer;
	return timer;
}

static void timer_free(void *opaque, void *context)
{
	struct user *user = context;
	struct slirp_timer **at;

	for (at = &user->timers; *at && *at != opaque; at = &(*at)->next)
		;
	if (*at)
		*at = (*at)->next;
	free(opaque);
}

static void timer_mod(void *opaque, int64_t expires_ms, void *context)
{
	(void)context;
	((struct slirp_timer *)opaque)->expires_ms = expires_ms;
}

/* The loop looks at everything each time around. */
static void ignore_descriptor(int fd, void *context)
{
	(void)fd;
	(void)context;
}

static void ignore_notice(void *context)
{
	(void)context;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_descriptor,
	.unregister_poll_fd = ignore_descriptor,
	.notify = ignore_notice,
};

/* --- the helper's loop --- */

static int add_poll(int fd, int events, void *context)
{
	struct user *user = context;
	struct pollfd *poll_fd;

	if (user->poll_count == POLLS_MAX)
		return -1;
	poll_fd = &user->polls[user->poll_count];
	*poll_fd = (struct pollfd){.fd = fd};
	poll_fd->events = (events & SLIRP_POLL_IN ? POLLIN : 0) |
			  (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
			  (events & SLIRP_POLL_PRI ? POLLPRI : 0);
	return user->poll_count++;
}

static int get_events(int index, void *context)
{
	const struct user *user = context;
	short events = index < 0 ? 0 : user->polls[index].revents;

	return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & POLLPRI ? SLIRP_POLL_PRI : 0) | (events & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static int next_timeout_ms(const struct user *user, uint32_t timeout_ms)
{
	int64_t now_ms = clock_ns(NULL) / NS_PER_MS, left_ms;
	const struct slirp_timer *timer;

	for (timer = user->timers; timer; timer = timer->next) {
		if (timer->expires_ms < 0)
			continue;
		left_ms = timer->expires_ms > now_ms ? timer->expires_ms - now_ms : 0;
		if (left_ms < timeout_ms)
			timeout_ms = left_ms;
	}
	return timeout_ms > INT32_MAX ? -1 : (int)timeout_ms;
}

static void run_timers(struct user *user)
{
	int64_t now_ms = clock_ns(NULL) / NS_PER_MS;
	struct slirp_timer *timer, *next;

	for (timer = user->timers; timer; timer = next) {
		next = timer->next;
		if (timer->expires_ms < 0 || timer->expires_ms > now_ms)
			continue;
		timer->expires_ms = -1;
		slirp_handle_timer(user->slirp, timer->id, timer->context);
	}
}

static void take_frames(struct user *user)
{
	static uint8_t frame[NET_FRAME_MAX];
	unsigned i;
	ssize_t size;

	for (i = 0; i < FRAMES_AT_ONCE; i++) {
		size = recv(user->frames, frame, sizeof(frame), MSG_DONTWAIT);
		if (size <= 0)
			return;
		if (user->folder < 0 || !tftp_take(&user->tftp, frame, size))
			slirp_input(user->slirp, frame, size);
	}
}

/* Until the monitor closes its end of the helper's socket, on which nothing is ever said. */
static void run(struct user *user, int socket)
{
	uint32_t timeout_ms;
	bool is_failed;

	for (;;) {
		user->polls[0] = (struct pollfd){.fd = socket, .events = POLLIN};
		user->polls[1] = (struct pollfd){.fd = user->frames, .events = POLLIN};
		user->poll_count = 2;
		timeout_ms = UINT32_MAX;
		slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
		is_failed = poll(user->polls, user->poll_count, next_timeout_ms(user, timeout_ms)) < 0;
		if (is_failed && errno != EINTR)
			return;
		if (!is_failed && user->polls[0].revents)
			return;
		if (!is_failed && user->polls[1].revents)
			take_frames(user);
		slirp_pollfds_poll(user->slirp, is_failed, get_events, user);
		run_timers(user);
	}
}

static void serve(int socket, void *context)
{
	struct user *user = context;

	run(user, socket);
	if (user->folder >= 0)
		tftp_close(&user->tftp);
}

/* --- starting it --- */

static const struct allowed_call calls[] = {
	CALL(poll),
	CALL(sendto),
	CALL(recvfrom),
	CALL(socket),
	CALL(connect),
	CALL(bind),
	CALL(listen),
	CALL(accept),
	CALL(accept4),
	CALL(shutdown),
	CALL(getsockname),
	CALL(getpeername),
	CALL(setsockopt),
	CALL(getsockopt),
	CALL_IF(ioctl, "FIONREAD", IS(1, FIONREAD)),
	CALL_IF(ioctl, "FIONBIO", IS(1, FIONBIO)),
	CALL_IF(fcntl, "F_GETFL", IS(1, F_GETFL)),
	CALL_IF(fcntl, "F_SETFL", IS(1, F_SETFL)),
	CALL_IF(fcntl, "F_GETFD", IS(1, F_GETFD)),
	CALL_IF(fcntl, "F_SETFD", IS(1, F_SETFD)),
	CALL(clock_gettime),
	CALL(gettimeofday),
	CALL(futex),
	CALL(getrandom),
	CALLS_FOR_MEMORY,
	/* /etc/resolv.conf, the one file that there is. */
	CALL_IF(openat, "to read", LACKS(2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)),
	CALL(newfstatat),
	CALL(stat),
	CALL(fstat),
	CALL(read),
	CALL(pread64), /* of TFTP's files */
	CALL(lseek),
};

static struct in_addr address(uint32_t number)
{
	return (struct in_addr){htonl(number)};
}

static int create_stack(struct user *user, const struct net_user_config *config,
			struct error *error)
{
	SlirpConfig slirp = {
		.version = SLIRP_CONFIG_VERSION_MAX,
		.restricted = config->is_restricted,
		.in_enabled = true,
		.vnetwork = address(0x0a000200),
		.vnetmask = address(0xffffff00),
		.vhost = address(HOST_ADDRESS),
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = config->hostname,
		.bootfile = config->boot_file,
		.tftp_server_name = config->tftp_server_name,
		.vdhcp_start = address(GUEST_ADDRESS),
		.vnameserver = address(0x0a000203),
	};
	const struct net_forward *forward;
	unsigned i;

	inet_pton(AF_INET6, "fec0::", &slirp.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &slirp.vhost6);
	inet_pton(AF_INET6, "fec0::3", &slirp.vnameserver6);
	user->slirp = slirp_new(&slirp, &callbacks, user);
	if (!user->slirp)
		return error_set(error, ENOMEM, "cannot create the guest's network");
	for (i = 0; i < config->forward_count; i++) {
		forward = &config->forwards[i];
		if (slirp_add_hostfwd(user->slirp, forward->is_udp, address(forward->host_address),
				      forward->host_port, address(GUEST_ADDRESS),
				      forward->guest_port) < 0)
			return error_set_errno(error, errno, "cannot forward %s port %u of the host",
					       forward->is_udp ? "UDP" : "TCP", forward->host_port);
	}
	return 0;
}

static int open_tftp_file(void *context, const char *name)
{
	const struct user *user = context;

	return tftp_folder_open(user->folder, name);
}

static void send_tftp_frame(void *context, const void *frame, size_t size)
{
	send_packet(frame, size, context);
}

/* libslirp has a server, too, which opens paths: whoever had taken that over could open all that the process may. */
static int start_tftp(struct user *user, const char *folder, struct error *error)
{
	const struct tftp_config config = {
		.address = HOST_ADDRESS,
		.mac = HOST_MAC,
		.open = open_tftp_file,
		.send = send_tftp_frame,
		.context = user,
	};

	tftp_init(&user->tftp, &config);
	user->folder = folder ? tftp_folder_start(folder, error) : -1;
	return folder && user->folder < 0 ? user->folder : 0;
}

/* The host's resolvers, as they are now. */
static void read_resolver(struct user *user)
{
	int fd = open(RESOLVER_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, user->resolver, RESOLVER_MAX);

	user->resolver[size > 0 ? size : 0] = 0;
	if (fd >= 0)
		close(fd);
}

static int start_helper(struct user *user, struct error *error)
{
	int kept[POLLS_MAX + 2];
	struct helper_config helper = {
		.name = "kvik network",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = kept,
		.needs_network = true,
		.resolver = user->resolver,
		.serve = serve,
		.context = user,
	};
	uint32_t timeout_ms = UINT32_MAX;
	unsigned i;

	/* The sockets that the stack has are those that it waits for. */
	slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
	for (i = 0; i < user->poll_count; i++)
		kept[helper.kept_count++] = user->polls[i].fd;
	kept[helper.kept_count++] = user->frames;
	if (user->folder >= 0)
		kept[helper.kept_count++] = user->folder;
	return helper_start(&helper, error);
}

int net_user_start(struct net_link *link, const struct net_user_config *config, struct error *error)
{
	struct user *user = calloc(1, sizeof(*user));
	int ends[2], result;

	*link = (struct net_link){.fd = -1, .helper = -1};
	if (!user)
		return error_set_errno(error, ENOMEM, "cannot create the guest's network");
	result = frame_socket_pair(ends, error);
	if (result < 0) {
		free(user);
		return result;
	}
	link->fd = ends[0];
	user->frames = ends[1];
	read_resolver(user);
	result = start_tftp(user, config->tftp_folder, error);
	if (result == 0)
		result = create_stack(user, config, error);
	if (result == 0) {
		link->helper = start_helper(user, error);
		result = link->helper < 0 ? link->helper : 0;
	}
	if (user->slirp)
		slirp_cleanup(user->slirp);
	if (user->folder >= 0)
		close(user->folder);
	close(ends[1]);
	free(user);
	if (result < 0)
		net_link_close(link);
	return result;
}
