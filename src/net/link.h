/*
 * The room of networks: where a guest's frames go. A link is one descriptor that carries Ethernet frames
 * both ways, one a read or write, never blocking; what is behind it is a tap interface of the host's, or
 * a process of kvik's own with a network stack in it (user.c). A device needs to know no more.
 *
 * Links are opened before sandbox_enter, while the process has one thread.
 */
#ifndef KVIK_NET_LINK_H
#define KVIK_NET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

/* The largest frame: a segment to be cut up (65,535 bytes of IP) behind an Ethernet and VLAN header. */
#define NET_FRAME_MAX	 (65535 + 18)
#define NET_FORWARDS_MAX 16
#define NET_BOOT_FILE_MAX 127
#define NET_SEARCHES_MAX 16
#define NET_IPV6_BYTES 16
#define NET_QUEUES_MAX 8

struct net_link {
	int fd; /* reading without a frame there, writing without room: EAGAIN */
	/* Each frame has a struct virtio_net_hdr_v1 of 12 bytes before it (virtio 1.2 §5.1.6), and the
	 * other side knows checksums to complete and segments to cut up. */
	bool has_header;
	/* Of a tap interface of several queues: those behind the first, each of which carries some of its frames. */
	int more_fds[NET_QUEUES_MAX - 1];
	unsigned more_count;
	struct net_capture *capture; /* where its device keeps frames as they come and go; NULL: nowhere. Owned */
	int helper; /* the process behind it ends when this is closed; -1: there is none */
};

/*
 * A new file of the frames that pass a link, both ways, as tcpdump and Wireshark read it (draft-ietf-opsawg-pcap, "PCAP
 * Capture File Format"; link type 1, Ethernet), of which the first `most` bytes are kept, 1 to NET_CAPTURE_BYTES. NULL, and
 * `error`, on failure.
 */
#define NET_CAPTURE_BYTES 65536
struct net_capture *net_capture_open(const char *path, unsigned most, struct error *error);
void net_capture_close(struct net_capture *capture); /* NULL is fine */
/* Keep a frame, of a link whose device's lock is held. NULL is fine. A file that takes no more gets no more. */
void net_capture_frame(struct net_capture *capture, const void *frame, size_t size);

/* Close what a link has. Also fine on one that is closed. */
void net_link_close(struct net_link *link);

/* Of a card that nothing is connected to: nothing comes, and what is sent is lost. 0, or -errno and `error`. Any thread. */
int net_nowhere_open(struct net_link *link, struct error *error);

/*
 * The tap interface of that name, which is made if the process may do so, with 1 to NET_QUEUES_MAX queues. Frames
 * have headers. 0, or -errno and `error`.
 */
int net_tap_open(struct net_link *link, const char *name, unsigned queues, struct error *error);

/*
 * The same of descriptors that somebody else has opened, 1 to NET_QUEUES_MAX of them, one a queue; the link's, also on
 * failure. Frames have headers if the interface's do.
 */
int net_tap_adopt(struct net_link *link, const int *fds, unsigned count, struct error *error);
/* What the interface behind a tap is called; "": nobody knows. `size` >= 16. */
void net_tap_name(const struct net_link *link, char *name, size_t size);
/*
 * Run a program with an interface's name, as scripts have it that bring one up. 0, or -errno and `error`: it is not there,
 * or has failed.
 */
int net_tap_run_script(const char *program, const char *name, struct error *error);
/* A tap on a bridge of the host's, by the program that may make one (qemu-bridge-helper). 0, or -errno and `error`. */
int net_bridge_open(struct net_link *link, const char *helper, const char *bridge, struct error *error);

/* What the other side may send with a header: checksums to complete, segments of TCP over IPv4 and IPv6,
 * those with ECN. For links with headers. 0 or -errno. Any thread. */
struct net_offloads {
	bool checksum, tso4, tso6, ecn;
};
int net_tap_set_offloads(const struct net_link *link, const struct net_offloads *offloads);

/* A port of the host that leads to one of the guest. */
struct net_forward {
	bool is_udp;
	uint32_t host_address; /* IPv4, as a number: 0x7f000001 */
	uint16_t host_port, guest_port; /* the host's 0: any that is free (net_user_describe) */
	uint32_t guest_address; /* 0: the guest's, by DHCP */
};

/* A TCP port that the guest sees at an address of its network, and that leads to what a stream of the host's is. */
struct net_service {
	uint32_t address;
	uint16_t port;
	int fd; /* connected; -1: */
	const char *command; /* which is run for each connection; NULL: the stream is one for all of them */
};

/* Where things are on a network in user space: IPv4, as numbers, and IPv6. */
struct net_user_addresses {
	bool has_ipv4, has_ipv6; /* neither: both, as they usually are */
	uint32_t network, mask, host, names, guest;
	uint8_t network6[NET_IPV6_BYTES], host6[NET_IPV6_BYTES], names6[NET_IPV6_BYTES];
	uint8_t bits6; /* of the network's prefix */
};

/* 10.0.2.0/24, the host at .2, DNS at .3, the guest at .15; fec0::/64, the host at ::2, DNS at ::3. */
void net_user_usual_addresses(struct net_user_addresses *addresses);

struct net_user_config {
	struct net_user_addresses addresses;
	struct net_forward forwards[NET_FORWARDS_MAX];
	unsigned forward_count;
	struct net_service services[NET_FORWARDS_MAX]; /* whose descriptors are closed in any case */
	unsigned service_count;
	bool is_restricted; /* the guest reaches nothing, but answers what is forwarded to it */
	const char *hostname; /* the guest's, by DHCP; NULL: none */
	const char *domain;   /* likewise */
	const char *searches[NET_SEARCHES_MAX + 1]; /* domains to look names up in; NULL behind the last */
	const char *tftp_folder; /* what the guest finds there by TFTP; NULL: there is no server */
	const char *boot_file;	 /* what DHCP says to boot, of at most NET_BOOT_FILE_MAX characters; NULL: nothing */
	const char *tftp_server_name; /* what DHCP says of where; NULL: only the address, the host's */
};

/*
 * A network of its own for one guest, by libslirp in a process of its own, which has the host's
 * network and nothing else. The host is the gateway, and has TFTP if there is a folder for it. 0, or -errno and `error`.
 */
int net_user_start(struct net_link *link, const struct net_user_config *config, struct error *error);

/*
 * Forward a port of the host's from now on, or no more (of `forward`, its own end then), by the process behind a link that
 * net_user_start has opened. 0, or -errno and `error`. One thread at a time.
 */
int net_user_forward(int helper, const struct net_forward *forward, bool is_on, struct error *error);

/*
 * The connections of such a network, and the ports that are forwarded, by the process behind it: lines as libslirp writes them,
 * cut where there is no room. The process is not trusted: the text is any. 0 or -errno. One thread at a time.
 */
#define NET_USER_TEXT 8192
int net_user_describe(int helper, char text[NET_USER_TEXT]);

#endif
