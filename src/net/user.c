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
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/commands.h"
#include "net/frame_socket.h"
#include "net/tftp_folder.h"
#include "net/user_parts.h"
#include "sandbox/helper.h"

#define RESOLVER_PATH	"/etc/resolv.conf"
#define SERVICE_WAIT_S	10

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
		result = slirp_add_guestfwd(user->slirp, user_write_service, service, &guest, to->port);
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
	user->slirp = slirp_new(&slirp, &user_callbacks, user);
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
	user_send_packet(frame, size, context);
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
		.serve = user_serve,
		.context = user,
	};
	uint32_t timeout_ms = UINT32_MAX;
	unsigned i;
	int result;

	/* The sockets that the stack has are those that it waits for. */
	slirp_pollfds_fill(user->slirp, &timeout_ms, user_add_poll, user);
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
