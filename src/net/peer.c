#include "net/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/dialer.h"
#include "net/frame_socket.h"
#include "net/stream_frames.h"
#include "sandbox/helper.h"

#define MACS_KEPT 16
#define MAC_BYTES 6
#define FRAME_MIN 14 /* addresses and a type */
#define FULL_WAIT_US 10000

struct peer {
	struct net_peer_config config;
	int frames;	/* the helper's end */
	int listener, dialer, stream; /* -1: none */
	int datagrams;
	char folder[PATH_MAX]; /* of a Unix socket that datagrams go to */
	struct stream_frames in;
	bool has_frame; /* of what has come, for the guest, who has no room yet: */
	const uint8_t *frame;
	size_t frame_size;
	uint8_t out[STREAM_LENGTH_BYTES + NET_FRAME_MAX];
	size_t out_at, out_size; /* for the other side, who has no room yet */
	uint8_t own[MACS_KEPT][MAC_BYTES]; /* addresses that the guest has sent from, the last MACS_KEPT */
	unsigned own_count;
};

/* --- a stream --- */

static void end_stream(struct peer *peer)
{
	close(peer->stream);
	peer->stream = -1;
	peer->in.used = peer->in.taken = 0;
	peer->out_size = 0;
	peer->has_frame = false;
	if (peer->dialer >= 0)
		net_dialer_ask(peer->dialer);
}

/* Who connects has gone with -EPIPE, and nobody comes any more. */
static void take_dialed(struct peer *peer)
{
	int fd = net_dialer_take(peer->dialer);

	if (fd >= 0)
		peer->stream = fd;
	else if (fd == -EPIPE)
		peer->dialer = -1;
}

static void accept_stream(struct peer *peer)
{
	if (peer->dialer >= 0)
		take_dialed(peer);
	else
		peer->stream = accept4(peer->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* As many of the frames that have come as the guest has room for. */
static void deliver(struct peer *peer)
{
	int size;

	for (;;) {
		if (!peer->has_frame) {
			size = stream_frames_next(&peer->in, &peer->frame);
			if (size < 0)
				end_stream(peer);
			if (size <= 0)
				return;
			peer->has_frame = true;
			peer->frame_size = size;
		}
		if (send(peer->frames, peer->frame, peer->frame_size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    errno == EAGAIN)
			return;
		peer->has_frame = false;
	}
}

static void read_stream(struct peer *peer)
{
	size_t room;
	uint8_t *bytes = stream_frames_room(&peer->in, &room);
	ssize_t size = recv(peer->stream, bytes, room, MSG_DONTWAIT);

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0) {
		end_stream(peer);
		return;
	}
	peer->in.used += size;
	deliver(peer);
}

static void write_stream(struct peer *peer)
{
	ssize_t size = send(peer->stream, peer->out + peer->out_at, peer->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (size < 0 && errno != EAGAIN && errno != EINTR) {
		end_stream(peer);
	} else if (size > 0) {
		peer->out_at += size;
		peer->out_size -= size;
	}
}

/* --- datagrams --- */

static bool is_own(const struct peer *peer, const uint8_t *mac)
{
	unsigned i;

	for (i = 0; i < MACS_KEPT && i < peer->own_count; i++)
		if (memcmp(peer->own[i], mac, MAC_BYTES) == 0)
			return true;
	return false;
}

static void keep_own(struct peer *peer, const uint8_t *mac)
{
	if (!is_own(peer, mac))
		memcpy(peer->own[peer->own_count++ % MACS_KEPT], mac, MAC_BYTES);
}

/* One that the guest has no room for is lost. */
static void read_datagram(struct peer *peer)
{
	ssize_t size = recv(peer->datagrams, peer->in.bytes, NET_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);

	if (size < FRAME_MIN || size > NET_FRAME_MAX ||
	    (peer->config.is_group && is_own(peer, peer->in.bytes + MAC_BYTES)))
		return;
	frame_socket_send(peer->frames, peer->in.bytes, size);
}

static void write_datagram(struct peer *peer, size_t size)
{
	const struct sockaddr *to = peer->config.to_size ? (const struct sockaddr *)&peer->config.to : NULL;

	if (peer->config.is_group)
		keep_own(peer, peer->out + STREAM_LENGTH_BYTES + MAC_BYTES);
	/* Where nobody is it is lost; of who is slow there is not much in the host's queue, and the socket waits. */
	sendto(peer->datagrams, peer->out + STREAM_LENGTH_BYTES, size, MSG_NOSIGNAL, to, peer->config.to_size);
}

/* --- the helper --- */

/* A frame of the guest's. */
static void take_frame(struct peer *peer)
{
	ssize_t size = recv(peer->frames, peer->out + STREAM_LENGTH_BYTES, NET_FRAME_MAX, MSG_DONTWAIT);

	if (size < FRAME_MIN)
		return;
	if (peer->datagrams >= 0) {
		write_datagram(peer, size);
	} else if (peer->stream >= 0) {
		stream_frames_put_length(peer->out, size);
		peer->out_at = 0;
		peer->out_size = STREAM_LENGTH_BYTES + size;
		write_stream(peer);
	}
}

enum { OWNER, GUEST, LISTENER, STREAM, DATAGRAMS, POLLS };

static void set_polls(const struct peer *peer, int socket, struct pollfd polls[POLLS])
{
	polls[OWNER] = (struct pollfd){socket, POLLIN, 0};
	polls[GUEST] = (struct pollfd){peer->frames, (peer->out_size ? 0 : POLLIN) | (peer->has_frame ? POLLOUT : 0), 0};
	polls[LISTENER] = (struct pollfd){
		peer->stream >= 0 ? -1 : peer->dialer >= 0 ? peer->dialer : peer->listener, POLLIN, 0};
	/* Without an event asked for, its end would be reported again and again. */
	polls[STREAM] = (struct pollfd){peer->has_frame && !peer->out_size ? -1 : peer->stream,
					(peer->has_frame ? 0 : POLLIN) | (peer->out_size ? POLLOUT : 0), 0};
	polls[DATAGRAMS] = (struct pollfd){peer->datagrams, POLLIN, 0};
}

/* Until the monitor closes its end of the helper's socket, on which nothing is ever said. */
static void serve(int socket, void *context)
{
	struct peer *peer = context;
	struct pollfd polls[POLLS];

	if (peer->dialer >= 0)
		net_dialer_ask(peer->dialer);
	for (;;) {
		set_polls(peer, socket, polls);
		if (poll(polls, POLLS, -1) < 0 && errno != EINTR)
			return;
		if (polls[OWNER].revents || (polls[GUEST].revents & (POLLHUP | POLLERR)))
			return;
		if (polls[LISTENER].revents)
			accept_stream(peer);
		if (peer->out_size && (polls[STREAM].revents & (POLLOUT | POLLERR | POLLHUP)))
			write_stream(peer);
		if (peer->stream >= 0 && !peer->has_frame && (polls[STREAM].revents & (POLLIN | POLLERR | POLLHUP)))
			read_stream(peer);
		if (peer->has_frame && (polls[GUEST].revents & POLLOUT))
			deliver(peer);
		if (polls[DATAGRAMS].revents)
			read_datagram(peer);
		if (polls[GUEST].revents & POLLIN && !peer->out_size)
			take_frame(peer);
	}
}

/* Datagrams go to a file in the root directory that is the process's own, or, without that, by the whole path. */
static int find_other_side(void *context)
{
	struct peer *peer = context;
	struct sockaddr_un *to = (struct sockaddr_un *)&peer->config.to;
	struct stat root, folder;
	char *name;

	if (!peer->folder[0] || (stat(peer->folder, &folder) == 0 && stat("/", &root) == 0 &&
				 (folder.st_dev != root.st_dev || folder.st_ino != root.st_ino)))
		return 0;
	name = strrchr(to->sun_path, '/');
	if (name)
		memmove(to->sun_path, name, strlen(name) + 1);
	return 0;
}

static const struct allowed_call calls[] = {
	CALL(poll),
	CALL(sendto),
	CALL(recvfrom),
	CALL(accept4),
};

static int start(struct net_link *link, struct peer *peer, struct error *error)
{
	int kept[] = {peer->frames, peer->config.fd};
	const struct helper_config helper = {
		.name = "kvik netdev",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = kept,
		.kept_count = sizeof(kept) / sizeof(kept[0]),
		.root = peer->folder[0] ? peer->folder : NULL,
		.prepare = find_other_side,
		.serve = serve,
		.context = peer,
	};

	link->helper = helper_start(&helper, error);
	return link->helper < 0 ? link->helper : 0;
}

/* What the socket is. */
static int look(struct peer *peer, struct error *error)
{
	const struct timeval full_wait = {.tv_usec = FULL_WAIT_US};
	int type, listens, on = 1, fd = peer->config.fd;
	socklen_t size = sizeof(type);

	peer->listener = peer->dialer = peer->stream = peer->datagrams = -1;
	if (peer->config.is_dialer) {
		peer->dialer = fd;
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0)
		return error_set_errno(error, errno, "the network's descriptor %d", fd);
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return error_set(error, EINVAL, "the network's descriptor %d is no socket of a stream or datagrams", fd);
	/* Those that are accepted have it from the one that listens; others than TCP's know nothing of it. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (type == SOCK_DGRAM) {
		/* Not for ever: it listens to nobody else meanwhile. */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &full_wait, sizeof(full_wait));
		peer->datagrams = fd;
	} else if (listens) {
		peer->listener = fd;
	} else {
		peer->stream = fd;
	}
	return 0;
}

/* Where another helper's root directory will be: it sees the socket by its path there. */
static void find_folder(struct peer *peer)
{
	const struct sockaddr_un *to = (const struct sockaddr_un *)&peer->config.to;
	char copy[sizeof(to->sun_path) + 1] = "";

	if (!peer->config.to_size || to->sun_family != AF_UNIX)
		return;
	memcpy(copy, to->sun_path, sizeof(to->sun_path));
	if (!realpath(dirname(copy), peer->folder))
		peer->folder[0] = 0;
}

int net_peer_start(struct net_link *link, const struct net_peer_config *config, struct error *error)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int ends[2] = {-1, -1}, result;

	*link = (struct net_link){.fd = -1, .helper = -1};
	result = peer ? frame_socket_pair(ends, error) : error_set_errno(error, ENOMEM, "a network");
	if (result == 0) {
		link->fd = ends[0];
		peer->frames = ends[1];
		peer->config = *config;
		find_folder(peer);
		result = look(peer, error);
	}
	if (result == 0)
		result = start(link, peer, error);
	close(config->fd);
	if (ends[1] >= 0)
		close(ends[1]);
	free(peer);
	if (result < 0)
		net_link_close(link);
	return result;
}
