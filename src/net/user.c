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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/commands.h"
#include "net/frame_socket.h"
#include "net/link.h"
#include "net/tftp.h"
#include "net/tftp_folder.h"
#include "sandbox/helper.h"
#include "util/clock.h"
#include "util/log.h"

#define POLLS_MAX	1024
#define FRAMES_AT_ONCE	64
#define RESOLVER_PATH	"/etc/resolv.conf"
#define RESOLVER_MAX	3500
#define NS_PER_MS	1000000ll
#define SERVICE_BYTES	16384 /* read at once */
#define SERVICE_WAIT_S	10

/* A timer of the stack's. */
struct slirp_timer {
	SlirpTimerId id;
	void *context;
	int64_t expires_ms; /* -1: it doesn't */
	struct slirp_timer *next;
};

/* What a guest's port leads to. */
struct service {
	struct net_service to;
	int poll; /* its place among the polls; -1: it waits for the guest */
};

struct user {
	Slirp *slirp;
	struct net_user_addresses addresses;
	struct service services[NET_FORWARDS_MAX];
	unsigned service_count;
	int runner; /* of commands; -1: there are none */
	unsigned command_count;
	int commands_problem; /* why they are not to be had: -errno, or 0 */
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

static struct in_addr address(uint32_t number)
{
	return (struct in_addr){htonl(number)};
}

/* --- services: the guest's connections to one port are one stream, as QEMU has them --- */

/* The stack believes that all of it went. */
static ssize_t write_service(const void *bytes, size_t size, void *context)
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

/* What the monitor says, which an int answers, or a text of NET_USER_TEXT bytes. */
struct order {
	struct net_forward forward;
	bool is_on;
	bool wants_text; /* net_user_describe */
};

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
		slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
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

void net_user_usual_addresses(struct net_user_addresses *addresses)
{
	*addresses = (struct net_user_addresses){
		.has_ipv4 = true,
		.has_ipv6 = true,
		.network = 0x0a000200,
		.mask = 0xffffff00,
		.host = 0x0a000202,
		.names = 0x0a000203,
		.guest = 0x0a00020f,
		.bits6 = 64,
	};
	inet_pton(AF_INET6, "fec0::", addresses->network6);
	inet_pton(AF_INET6, "fec0::2", addresses->host6);
	inet_pton(AF_INET6, "fec0::3", addresses->names6);
}

/* A command's socket, in the helper's root directory. */
#define COMMAND_PATH 24

static void command_path(char path[COMMAND_PATH], unsigned number)
{
	snprintf(path, COMMAND_PATH, "/command%u", number);
}

/* In the helper, in what is to be its root directory (helper_config.fill_root). */
static void make_command_sockets(void *context)
{
	struct user *user = context;
	char path[COMMAND_PATH];
	unsigned i;

	user->commands_problem = 0;
	for (i = 0; i < user->command_count && user->commands_problem == 0; i++) {
		command_path(path, i);
		user->commands_problem = net_commands_give(user->runner, path + 1);
	}
}

static int see_commands(void *context)
{
	return ((const struct user *)context)->commands_problem;
}

static int start_commands(struct user *user, const struct net_user_config *config, struct error *error)
{
	const char *commands[NET_FORWARDS_MAX];
	unsigned i, count = 0;

	for (i = 0; i < config->service_count; i++)
		if (config->services[i].command)
			commands[count++] = config->services[i].command;
	user->runner = count ? net_commands_start(commands, count, error) : -1;
	user->commands_problem = count ? -EOPNOTSUPP : 0; /* where there is no directory to make them in */
	return count && user->runner < 0 ? user->runner : 0;
}

static int add_service(struct user *user, const struct net_service *to, struct error *error)
{
	const struct timeval wait = {.tv_sec = SERVICE_WAIT_S};
	struct service *service = &user->services[user->service_count++];
	struct in_addr guest = address(to->address);
	char path[COMMAND_PATH];
	int result;

	*service = (struct service){.to = *to, .poll = -1};
	if (to->command) {
		command_path(path, user->command_count++);
		result = slirp_add_unix(user->slirp, path, &guest, to->port);
	} else {
		/* The whole network waits meanwhile. */
		setsockopt(to->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
		result = slirp_add_guestfwd(user->slirp, write_service, service, &guest, to->port);
	}
	if (result < 0)
		return error_set(error, EINVAL, "%s:%u is no address of the network's, or is taken", inet_ntoa(guest), to->port);
	return 0;
}

static int create_stack(struct user *user, const struct net_user_config *config,
			struct error *error)
{
	const struct net_user_addresses *places = &user->addresses;
	const char *searches[NET_SEARCHES_MAX + 1];
	SlirpConfig slirp = {
		.version = SLIRP_CONFIG_VERSION_MAX,
		.restricted = config->is_restricted,
		.in_enabled = places->has_ipv4,
		.vnetwork = address(places->network),
		.vnetmask = address(places->mask),
		.vhost = address(places->host),
		.in6_enabled = places->has_ipv6,
		.vprefix_len = places->bits6,
		.vhostname = config->hostname,
		.bootfile = config->boot_file,
		.tftp_server_name = config->tftp_server_name,
		.vdhcp_start = address(places->guest),
		.vnameserver = address(places->names),
		.vdnssearch = config->searches[0] ? searches : NULL,
		.vdomainname = config->domain,
	};
	const struct net_forward *forward;
	unsigned i;
	int result;

	memcpy(searches, config->searches, sizeof(searches));
	memcpy(&slirp.vprefix_addr6, places->network6, NET_IPV6_BYTES);
	memcpy(&slirp.vhost6, places->host6, NET_IPV6_BYTES);
	memcpy(&slirp.vnameserver6, places->names6, NET_IPV6_BYTES);
	user->slirp = slirp_new(&slirp, &callbacks, user);
	if (!user->slirp)
		return error_set(error, ENOMEM, "cannot create the guest's network");
	for (i = 0; i < config->forward_count; i++) {
		forward = &config->forwards[i];
		if (slirp_add_hostfwd(user->slirp, forward->is_udp, address(forward->host_address),
				      forward->host_port,
				      address(forward->guest_address ? forward->guest_address : places->guest),
				      forward->guest_port) < 0)
			return error_set_errno(error, errno, "cannot forward %s port %u of the host",
					       forward->is_udp ? "UDP" : "TCP", forward->host_port);
	}
	for (i = 0; i < config->service_count; i++) {
		result = add_service(user, &config->services[i], error);
		if (result < 0)
			return result;
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
	const uint32_t host = user->addresses.host;
	const struct tftp_config config = {
		.address = host,
		/* libslirp's, of that address. */
		.mac = {0x52, 0x55, host >> 24, host >> 16, host >> 8, host},
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
	int kept[POLLS_MAX + NET_FORWARDS_MAX + 3];
	struct helper_config helper = {
		.name = "kvik network",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = kept,
		.needs_network = true,
		.resolver = user->resolver,
		.fill_root = make_command_sockets,
		.root_files = user->command_count,
		.prepare = see_commands,
		.serve = serve,
		.context = user,
	};
	uint32_t timeout_ms = UINT32_MAX;
	unsigned i;
	int result;

	/* The sockets that the stack has are those that it waits for. */
	slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
	for (i = 0; i < user->poll_count; i++)
		kept[helper.kept_count++] = user->polls[i].fd;
	kept[helper.kept_count++] = user->frames;
	if (user->folder >= 0)
		kept[helper.kept_count++] = user->folder;
	if (user->runner >= 0)
		kept[helper.kept_count++] = user->runner;
	for (i = 0; i < user->service_count; i++)
		if (user->services[i].to.fd >= 0)
			kept[helper.kept_count++] = user->services[i].to.fd;
	result = helper_start(&helper, error);
	if (result == -EOPNOTSUPP && user->command_count)
		error_set(error, EOPNOTSUPP, "this host allows no directory of its own to the network, in which commands are reached: "
					     "use tcp: or unix:, with a program that runs the command for each connection");
	return result;
}

int net_user_forward(int helper, const struct net_forward *forward, bool is_on, struct error *error)
{
	struct order order;
	unsigned none = 0;
	int answer, result;

	memset(&order, 0, sizeof(order));
	order.forward = *forward;
	order.is_on = is_on;
	result = helper_send(helper, &order, sizeof(order), NULL, 0);
	if (result == 0)
		result = helper_receive(helper, &answer, sizeof(answer), NULL, &none);
	if (result == 0)
		result = answer;
	return result < 0 ? error_set_errno(error, -result, "cannot %s %s port %u of the host",
					    is_on ? "forward" : "stop forwarding", forward->is_udp ? "UDP" : "TCP",
					    forward->host_port)
			  : 0;
}

int net_user_describe(int helper, char text[NET_USER_TEXT])
{
	struct order order;
	unsigned none = 0;
	int result;

	memset(&order, 0, sizeof(order));
	order.wants_text = true;
	result = helper_send(helper, &order, sizeof(order), NULL, 0);
	if (result == 0)
		result = helper_receive(helper, text, NET_USER_TEXT, NULL, &none);
	text[NET_USER_TEXT - 1] = 0;
	return result;
}

static int start(struct net_link *link, struct user *user, const struct net_user_config *config, struct error *error)
{
	int result;

	user->addresses = config->addresses;
	if (!user->addresses.has_ipv4 && !user->addresses.has_ipv6)
		net_user_usual_addresses(&user->addresses);
	read_resolver(user);
	user->runner = -1;
	result = start_tftp(user, config->tftp_folder, error);
	if (result == 0)
		result = start_commands(user, config, error);
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
	if (user->runner >= 0)
		close(user->runner);
	return result;
}

int net_user_start(struct net_link *link, const struct net_user_config *config, struct error *error)
{
	struct user *user = calloc(1, sizeof(*user));
	int ends[2] = {-1, -1}, result;
	unsigned i;

	*link = (struct net_link){.fd = -1, .helper = -1};
	result = user ? frame_socket_pair(ends, error)
		      : error_set_errno(error, ENOMEM, "cannot create the guest's network");
	if (result == 0) {
		link->fd = ends[0];
		user->frames = ends[1];
		result = start(link, user, config, error);
	}
	for (i = 0; i < config->service_count; i++)
		if (config->services[i].fd >= 0)
			close(config->services[i].fd);
	if (ends[1] >= 0)
		close(ends[1]);
	free(user);
	if (result < 0)
		net_link_close(link);
	return result;
}
