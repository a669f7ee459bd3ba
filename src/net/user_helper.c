/* The helper of a network in user space: libslirp, what it asks of its surroundings, and the loop that waits for all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/frame_socket.h"
#include "net/user_parts.h"
#include "sandbox/helper.h"
#include "util/clock.h"
#include "util/log.h"

#define FRAMES_AT_ONCE 64
#define NS_PER_MS      1000000ll
#define SERVICE_BYTES  16384 /* read at once */

/* --- what the stack asks of us --- */

ssize_t user_send_packet(const void *frame, size_t size, void *context)
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

const SlirpCb user_callbacks = {
	.send_packet = user_send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_descriptor,
	.unregister_poll_fd = ignore_descriptor,
	.notify = ignore_notice,
};

/* --- services: the guest's connections to one port are one stream, as QEMU has them --- */

/* The stack believes that all of it went. */
ssize_t user_write_service(const void *bytes, size_t size, void *context)
{
	struct service *service = context;
	size_t at = 0;
	ssize_t sent;

	while (at < size && service->to.fd >= 0) {
		sent = send(service->to.fd, (const uint8_t *)bytes + at, size - at, MSG_NOSIGNAL);
		if (sent > 0) {
			at += sent;
		} else if (errno != EINTR) {
			close(service->to.fd);
			service->to.fd = -1;
		}
	}
	return size;
}

static void read_service(struct user *user, struct service *service)
{
	uint8_t bytes[SERVICE_BYTES];
	const struct net_service *to = &service->to;
	size_t room = slirp_socket_can_recv(user->slirp, address(to->address), to->port);
	ssize_t size;

	if (!room)
		return;
	size = recv(to->fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes), MSG_DONTWAIT);
	if (size > 0) {
		slirp_socket_recv(user->slirp, address(to->address), to->port, bytes, size);
	} else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(service->to.fd);
		service->to.fd = -1;
	}
}

static void add_services(struct user *user)
{
	struct service *service;
	unsigned i;

	for (i = 0; i < user->service_count; i++) {
		service = &user->services[i];
		service->poll = -1;
		if (service->to.fd < 0 || user->poll_count == POLLS_MAX ||
		    !slirp_socket_can_recv(user->slirp, address(service->to.address), service->to.port))
			continue;
		user->polls[user->poll_count] = (struct pollfd){.fd = service->to.fd, .events = POLLIN};
		service->poll = user->poll_count++;
	}
}

static void read_services(struct user *user)
{
	unsigned i;

	for (i = 0; i < user->service_count; i++)
		if (user->services[i].poll >= 0 && user->polls[user->services[i].poll].revents)
			read_service(user, &user->services[i]);
}

/* --- the helper's loop --- */

int user_add_poll(int fd, int events, void *context)
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

static int describe(struct user *user, int socket)
{
	static char text[NET_USER_TEXT]; /* of this process */
	char *all = slirp_connection_info(user->slirp);

	snprintf(text, sizeof(text), "%s", all);
	free(all);
	return helper_send(socket, text, sizeof(text), NULL, 0);
}

static int obey(struct user *user, const struct order *order)
{
	const struct net_forward *forward = &order->forward;
	struct in_addr host = address(forward->host_address);
	struct in_addr guest = address(forward->guest_address ? forward->guest_address : user->addresses.guest);
	int result;

	errno = 0;
	result = order->is_on ? slirp_add_hostfwd(user->slirp, forward->is_udp, host, forward->host_port, guest,
						  forward->guest_port)
			      : slirp_remove_hostfwd(user->slirp, forward->is_udp, host, forward->host_port);
	if (result == 0)
		return 0;
	return order->is_on && errno ? -errno : -ENOENT;
}

/* False: the monitor has gone. */
static bool take_order(struct user *user, int socket)
{
	struct order order;
	unsigned none = 0;
	int answer;

	if (helper_receive(socket, &order, sizeof(order), NULL, &none) < 0)
		return false;
	if (order.wants_text)
		return describe(user, socket) == 0;
	answer = obey(user, &order);
	return helper_send(socket, &answer, sizeof(answer), NULL, 0) == 0;
}

/* Until the monitor closes its end of the helper's socket. */
static void run(struct user *user, int socket)
{
	uint32_t timeout_ms;
	bool is_failed;

	for (;;) {
		user->polls[0] = (struct pollfd){.fd = socket, .events = POLLIN};
		user->polls[1] = (struct pollfd){.fd = user->frames, .events = POLLIN};
		user->poll_count = 2;
		timeout_ms = UINT32_MAX;
		add_services(user);
		slirp_pollfds_fill(user->slirp, &timeout_ms, user_add_poll, user);
		is_failed = poll(user->polls, user->poll_count, next_timeout_ms(user, timeout_ms)) < 0;
		if (is_failed && errno != EINTR)
			return;
		if (!is_failed && user->polls[0].revents && !take_order(user, socket))
			return;
		if (!is_failed && user->polls[1].revents)
			take_frames(user);
		if (!is_failed)
			read_services(user);
		slirp_pollfds_poll(user->slirp, is_failed, get_events, user);
		run_timers(user);
	}
}

void user_serve(int socket, void *context)
{
	struct user *user = context;

	run(user, socket);
	if (user->folder >= 0)
		tftp_close(&user->tftp);
}
