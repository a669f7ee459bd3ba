/*
 * Networks that are a socket: frames go to another program, which mostly is another machine's monitor. QEMU's forms of
 * them: frames on a stream (stream_frames.h), and a frame a datagram, to one address or to a group's.
 *
 * A process of kvik's own reads what comes, which may be from anybody, and has nothing else.
 */
#ifndef KVIK_NET_PEER_H
#define KVIK_NET_PEER_H

#include <sys/socket.h>
#include <sys/un.h>

#include "net/link.h"

/*
 * A socket that is connected or listens, which becomes the link's also when this fails. Of a stream that listens, one other
 * side at a time, the next when it has gone; of datagrams, what they are sent to, if the socket is not connected. Frames
 * of the guest's that nobody takes are lost. 0, or -errno and `error`. As the others of link.h.
 */
struct net_peer_config {
	int fd;
	struct sockaddr_storage to;
	socklen_t to_size; /* 0: it is connected, or a stream */
	bool is_dialer; /* the descriptor is one of dialer.h, who connects to the other side again and again */
	/* Datagrams go to all of a group, this side among them: what the guest has sent is not for it. */
	bool is_group;
};
int net_peer_start(struct net_link *link, const struct net_peer_config *config, struct error *error);

/* Sockets for that, with messages for people: a descriptor, or -errno and `error`. Those of streams: util/socket.h. */
int net_peer_udp(const char *local_host, const char *local_port, const char *host, const char *port,
		 struct error *error);
/* One whose other side is at `config->to`, and may come later. */
int net_peer_unix(struct net_peer_config *config, const char *local_path, const char *path, struct error *error);
/* Of a group, an IPv4 address; `local_address`: that of the interface; NULL: any. */
int net_peer_group(struct net_peer_config *config, const char *address, const char *port, const char *local_address,
		   struct error *error);

#endif
