#include "cli/qemu/door.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/qemu/door_request.h"
#include "cli/qemu/fdsets.h"
#include "cli/qemu/named_file.h"
#include "cli/qemu/named_network.h"
#include "monitor/frame.h"
#include "net/dialer.h"
#include "sandbox/helper.h"

#define BUFFER_BYTES 4096
#define LINE_BYTES   4096
#define KEPT_FILES   16 /* that came and were not asked for: the oldest goes */

/* What came before a command: with descriptors (a file's, or a link's and its process's), or without, and why. */
struct door_answer {
	struct door_request request;
	char problem[256];
};

/* Bytes on their way to a descriptor. */
struct pipe {
	char bytes[BUFFER_BYTES];
	size_t at, size;
};

/* A monitor's. In the door, `listener` and `client` are the user's, `hand_over` and `monitor` lead to the
 * confined process: peers, and the one there is. -1: none. */
struct channel {
	int listener, hand_over, client, monitor;
	int first_client, first_monitor; /* until the process starts */
	bool is_control, client_ended;
	bool dials; /* the listener is a dialer's */
	struct pipe in, out; /* to the monitor, to the client */
	struct frame frame;
	char line[LINE_BYTES];
	size_t line_size;
	int passed; /* a descriptor that the client has sent; -1 */
};

struct door {
	struct channel channels[DOOR_CHANNELS];
	unsigned count;
	int files[2]; /* door_answers: the confined process' end, the door's; -1 */
	struct {
		struct door_answer answer;
		int fds[2]; /* -1: none */
	} kept[KEPT_FILES]; /* the confined process' */
	unsigned kept_count;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_both(int fds[2])
{
	close_fd(&fds[0]);
	close_fd(&fds[1]);
}

/* -- in the door -- */

static void answer(struct door *door, const struct door_request *request, int passed)
{
	struct door_answer message = {.request = *request};
	struct error error = {.message = ""};
	int fds[2] = {-1, -1};

	/* The confined process has those. */
	if (request->kind != MONITOR_FILE_PASSED && fdsets_are_named(request->name))
		return;
	if (request->kind == MONITOR_NETWORK)
		named_network_open(request->name, fds, &error);
	else if (request->kind == MONITOR_FILE_PASSED && passed >= 0)
		fds[0] = passed;
	else
		fds[0] = named_file_open(request->kind, request->name, &error);
	memcpy(message.problem, error.message, sizeof(message.problem) - 1);
	/* Who does not take what he asked for has lost it. */
	helper_send(door->files[1], &message, sizeof(message), fds, (fds[0] >= 0) + (fds[1] >= 0));
	if (fds[0] != passed)
		close_fd(&fds[0]);
	close_fd(&fds[1]);
}

static void look_at_line(struct door *door, struct channel *channel, char byte)
{
	struct door_request request;

	if (byte == '\b' || byte == 0x7f) {
		channel->line_size -= channel->line_size > 0;
	} else if (byte != '\n' && byte != '\r') {
		if (channel->line_size < LINE_BYTES - 1)
			channel->line[channel->line_size++] = byte;
	} else {
		channel->line[channel->line_size] = 0;
		channel->line_size = 0;
		if (door_request_of_line(channel->line, &request))
			answer(door, &request, channel->passed);
	}
}

/* A transaction's actions may each name a file. */
static void look_at_actions(struct door *door, const json_t *command)
{
	const char *name = json_string_value(json_object_get(command, "execute")), *type;
	json_t *actions = json_object_get(json_object_get(command, "arguments"), "actions"), *action;
	struct door_request request;
	size_t i;

	if (!name || strcmp(name, "transaction") != 0)
		return;
	json_array_foreach(actions, i, action) {
		type = json_string_value(json_object_get(action, "type"));
		if (i < KEPT_FILES && type &&
		    (strcmp(type, "blockdev-snapshot-sync") == 0
			     ? door_request_of_snapshot(json_object_get(action, "data"), &request)
			     : strcmp(type, "drive-backup") == 0 &&
				       door_request_of_backup(json_object_get(action, "data"), &request)))
			answer(door, &request, -1);
	}
}

/* What a client says, before it is passed on. */
static void look(struct door *door, struct channel *channel, const char *bytes, size_t size)
{
	struct door_request request;
	struct error error;
	json_t *value;
	size_t taken;

	if (!channel->is_control) {
		while (size--)
			look_at_line(door, channel, *bytes++);
		return;
	}
	while (size) {
		taken = frame_take(&channel->frame, bytes, size, &value, &error);
		bytes += taken;
		size -= taken;
		if (!value)
			continue;
		if (door_request_of_command(value, &request)) {
			answer(door, &request, channel->passed);
			if (request.kind == MONITOR_FILE_PASSED)
				close_fd(&channel->passed);
		}
		look_at_actions(door, value);
		json_decref(value);
	}
}

static void take_client(struct channel *channel, int client, int monitor)
{
	channel->client = client;
	channel->monitor = monitor;
	channel->client_ended = false;
	channel->in.size = channel->out.size = channel->line_size = 0;
	frame_reset(&channel->frame);
}

static void ask_for_client(struct channel *channel)
{
	if (channel->dials && channel->listener >= 0)
		net_dialer_ask(channel->listener);
}

static void drop_client(struct channel *channel)
{
	close_fd(&channel->client);
	close_fd(&channel->monitor);
	close_fd(&channel->passed);
	ask_for_client(channel);
}

/* A dialer that has gone is none any more. */
static int next_client(struct channel *channel)
{
	int client = channel->dials ? net_dialer_take(channel->listener)
				    : accept4(channel->listener, NULL, NULL, SOCK_CLOEXEC);

	if (client == -EPIPE)
		close_fd(&channel->listener);
	else if (client < 0)
		ask_for_client(channel);
	return client;
}

static void accept_client(struct channel *channel)
{
	int ends[2], client = next_client(channel);
	char word = 0;

	if (client < 0)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		close(client);
		ask_for_client(channel);
		return;
	}
	if (helper_send(channel->hand_over, &word, sizeof(word), &ends[0], 1) < 0) {
		close(client);
		close(ends[1]);
		ask_for_client(channel);
	} else {
		take_client(channel, client, ends[1]);
	}
	close(ends[0]);
}

/* A client's bytes, with a descriptor if one comes along. As recv(2). */
static ssize_t receive(struct channel *channel, char *bytes, size_t size)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec vector = {bytes, size};
	struct msghdr message = {.msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(channel->client, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int))) {
		close_fd(&channel->passed);
		memcpy(&channel->passed, CMSG_DATA(header), sizeof(int));
	}
	return got;
}

static void read_client(struct door *door, struct channel *channel)
{
	ssize_t got = receive(channel, channel->in.bytes, BUFFER_BYTES);

	if (got < 0 && errno == EINTR)
		return;
	if (got <= 0) {
		/* What was said is still carried out, and answered. */
		channel->client_ended = true;
		shutdown(channel->monitor, SHUT_WR);
		return;
	}
	look(door, channel, channel->in.bytes, got);
	channel->in.at = 0;
	channel->in.size = got;
}

static void read_monitor(struct channel *channel)
{
	ssize_t got = read(channel->monitor, channel->out.bytes, BUFFER_BYTES);

	if (got <= 0 && !(got < 0 && errno == EINTR))
		drop_client(channel);
	channel->out.at = 0;
	channel->out.size = got > 0 ? got : 0;
}

static void write_some(struct channel *channel, struct pipe *pipe, int fd)
{
	ssize_t put = send(fd, pipe->bytes + pipe->at, pipe->size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (put < 0 && errno != EINTR && errno != EAGAIN) {
		drop_client(channel);
	} else if (put > 0) {
		pipe->at += put;
		pipe->size -= put;
	}
}

#define POLLS 3 /* of a channel: its listener, its client, its monitor */

static void set_polls(const struct channel *channel, struct pollfd *polls)
{
	bool is_free = channel->client < 0;

	polls[0] = (struct pollfd){is_free ? channel->listener : -1, POLLIN, 0};
	polls[1] = (struct pollfd){channel->client, 0, 0};
	polls[2] = (struct pollfd){channel->monitor, 0, 0};
	polls[1].events |= !channel->in.size && !channel->client_ended ? POLLIN : 0;
	polls[1].events |= channel->out.size ? POLLOUT : 0;
	polls[2].events |= !channel->out.size ? POLLIN : 0;
	polls[2].events |= channel->in.size ? POLLOUT : 0;
	/* A client that has said all, and is gone, is seen when something is written to it. */
	if (channel->client_ended && !channel->out.size)
		polls[1].fd = -1;
}

static void serve_channel(struct door *door, struct channel *channel, const struct pollfd *polls)
{
	const short ended = POLLHUP | POLLERR;

	if (polls[0].revents)
		accept_client(channel);
	if (channel->out.size && (polls[1].revents & (POLLOUT | ended)))
		write_some(channel, &channel->out, channel->client);
	if (channel->client >= 0 && !channel->in.size && !channel->client_ended &&
	    (polls[1].revents & (POLLIN | ended)))
		read_client(door, channel);
	if (channel->client >= 0 && channel->in.size && (polls[2].revents & (POLLOUT | ended)))
		write_some(channel, &channel->in, channel->monitor);
	if (channel->client >= 0 && !channel->out.size && (polls[2].revents & (POLLIN | ended)))
		read_monitor(channel);
}

/* Until the confined process is gone. */
static void __attribute__((noreturn)) serve(struct door *door)
{
	struct pollfd polls[DOOR_CHANNELS * POLLS + 1];
	unsigned i;

	for (;;) {
		for (i = 0; i < door->count; i++)
			set_polls(&door->channels[i], polls + i * POLLS);
		polls[i * POLLS] = (struct pollfd){door->files[1], 0, 0};
		if (poll(polls, i * POLLS + 1, -1) < 0 && errno != EINTR)
			_exit(1);
		for (i = 0; i < door->count; i++)
			serve_channel(door, &door->channels[i], polls + i * POLLS);
		if (polls[i * POLLS].revents)
			break;
	}
	/* Its last words may still be on their way. */
	for (i = 0; i < door->count; i++)
		while (door->channels[i].client >= 0) {
			struct channel *channel = &door->channels[i];

			if (!channel->out.size)
				read_monitor(channel);
			while (channel->client >= 0 && channel->out.size) {
				struct pollfd one = {channel->client, POLLOUT, 0};

				if (poll(&one, 1, 1000) <= 0)
					_exit(0);
				write_some(channel, &channel->out, channel->client);
			}
		}
	_exit(0);
}

static bool is_kept(const struct door *door, int fd)
{
	unsigned i;

	for (i = 0; i < door->count; i++)
		if (fd == door->channels[i].listener || fd == door->channels[i].hand_over ||
		    fd == door->channels[i].client || fd == door->channels[i].monitor)
			return true;
	return fd == door->files[1] || fd <= STDERR_FILENO;
}

/* In the new process: all that is the confined one's goes. */
static void __attribute__((noreturn)) begin(struct door *door)
{
	long most = sysconf(_SC_OPEN_MAX);
	int null_fd;
	unsigned i;
	int fd;

	prctl(PR_SET_NAME, "kvik-door");
	for (i = 0; i < door->count; i++) {
		if (door->channels[i].first_client >= 0)
			take_client(&door->channels[i], door->channels[i].first_client,
				    door->channels[i].first_monitor);
	}
	for (fd = 0; fd < (most > 0 && most < 4096 ? most : 4096); fd++)
		if (!is_kept(door, fd))
			close(fd);
	/* Who waits for the end of a daemon's output does not wait for this. */
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(null_fd, STDERR_FILENO);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	serve(door);
}

/* -- in the process that will be confined -- */

struct door *door_create(struct error *error)
{
	struct door *door = calloc(1, sizeof(*door));

	if (!door || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, door->files) < 0) {
		error_set_errno(error, errno, "cannot set up the monitors' door");
		free(door);
		return NULL;
	}
	fcntl(door->files[0], F_SETFL, O_NONBLOCK);
	fcntl(door->files[1], F_SETFL, O_NONBLOCK);
	return door;
}

static void forget_theirs(struct door *door)
{
	unsigned i;

	for (i = 0; i < door->count; i++) {
		close_fd(&door->channels[i].listener);
		close_fd(&door->channels[i].hand_over);
		close_fd(&door->channels[i].first_client);
		close_fd(&door->channels[i].first_monitor);
		frame_free(&door->channels[i].frame);
	}
	close_fd(&door->files[1]);
	door->count = 0;
}

void door_destroy(struct door *door)
{
	if (!door)
		return;
	forget_theirs(door);
	close_fd(&door->files[0]);
	while (door->kept_count)
		close_both(door->kept[--door->kept_count].fds);
	free(door);
}

int door_add(struct door *door, bool is_control, int *listening_fd, int *peer, struct error *error)
{
	struct channel *channel = &door->channels[door->count];
	int peers[2] = {-1, -1}, stream[2] = {-1, -1};

	if (door->count == DOOR_CHANNELS) {
		error_set(error, ENOSPC, "at most %u monitors on sockets", DOOR_CHANNELS);
		goto fail;
	}
	if ((*listening_fd >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, peers) < 0) ||
	    (*peer >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) < 0)) {
		error_set_errno(error, errno, "cannot set up a monitor's door");
		goto fail;
	}
	*channel = (struct channel){.listener = *listening_fd,
				    .hand_over = peers[1],
				    .client = -1,
				    .monitor = -1,
				    .first_client = *peer,
				    .first_monitor = stream[1],
				    .passed = -1,
				    .is_control = is_control};
	*listening_fd = peers[0];
	*peer = stream[0];
	door->count++;
	return 0;

fail:
	close_fd(&peers[0]);
	close_fd(&peers[1]);
	close_fd(listening_fd);
	close_fd(peer);
	return -EIO;
}

int door_add_dialer(struct door *door, bool is_control, int *dialer, struct error *error)
{
	int none = -1, result = door_add(door, is_control, dialer, &none, error);

	if (result == 0) {
		door->channels[door->count - 1].dials = true;
		ask_for_client(&door->channels[door->count - 1]);
	}
	return result;
}

bool door_is_wanted(const struct door *door)
{
	return door && door->count;
}

int door_start(struct door *door, struct error *error)
{
	pid_t child = fork();

	if (child == 0)
		begin(door);
	if (child < 0)
		return error_set_errno(error, errno, "cannot start the monitors' door");
	forget_theirs(door);
	return 0;
}

static void keep(struct door *door, const struct door_answer *message, const int fds[2])
{
	if (door->kept_count == KEPT_FILES) {
		close_both(door->kept[0].fds);
		memmove(door->kept, door->kept + 1, sizeof(door->kept[0]) * (KEPT_FILES - 1));
		door->kept_count--;
	}
	door->kept[door->kept_count].answer = *message;
	memcpy(door->kept[door->kept_count++].fds, fds, sizeof(door->kept[0].fds));
}

/* The descriptors that came: 0, or -errno and `error`. */
static int take(struct door *door, enum monitor_file kind, const char *name, int fds[2], struct error *error)
{
	struct door_answer message;
	unsigned i, count = 2;

	while (helper_receive(door->files[0], &message, sizeof(message), fds, &count) == 0) {
		message.request.name[sizeof(message.request.name) - 1] = 0;
		message.problem[sizeof(message.problem) - 1] = 0;
		for (i = count; i < 2; i++)
			fds[i] = -1;
		keep(door, &message, fds);
		count = 2;
	}
	for (i = 0; i < door->kept_count; i++)
		if (door->kept[i].answer.request.kind == kind &&
		    strcmp(door->kept[i].answer.request.name, name) == 0)
			break;
	if (i == door->kept_count)
		return error_set(error, EACCES,
				 "'%.200s' cannot be opened from here: kvik is confined. Say it on a monitor that "
				 "is on a socket of its own, or start with -sandbox off",
				 name);
	memcpy(fds, door->kept[i].fds, sizeof(door->kept[i].fds));
	if (fds[0] < 0)
		error_set(error, EIO, "%s", door->kept[i].answer.problem);
	memmove(door->kept + i, door->kept + i + 1, sizeof(door->kept[0]) * (door->kept_count - i - 1));
	door->kept_count--;
	return fds[0] < 0 ? -EIO : 0;
}

int door_open(struct door *door, enum monitor_file kind, const char *name, struct error *error)
{
	int fds[2], result = take(door, kind, name, fds, error);

	if (result < 0)
		return result;
	close_fd(&fds[1]);
	return fds[0];
}

int door_open_network(struct door *door, const json_t *arguments, struct net_link *link, struct error *error)
{
	struct door_request request;
	int fds[2], result;

	if (!door_request_of_network(arguments, &request))
		return error_set(error, E2BIG, "the network's options are too long");
	result = take(door, MONITOR_NETWORK, request.name, fds, error);
	if (result == 0)
		*link = (struct net_link){.fd = fds[0], .has_header = named_network_has_header(arguments), .helper = fds[1]};
	return result;
}
