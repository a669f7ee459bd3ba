/*
 * A TFTP server (RFC 1350) on a network that is made of frames: what firmware loads its first program by. It reads
 * files, and nothing else, with the options blksize, tsize, timeout (RFC 2347 to 2349) and windowsize (RFC 7440).
 *
 * It has no clock: what is lost the client asks for again. A client is an address and a port; one that begins when there
 * are TFTP_CLIENTS takes the place of the one that has been silent for longest. One thread.
 */
#ifndef KVIK_NET_TFTP_H
#define KVIK_NET_TFTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TFTP_CLIENTS  16
#define TFTP_NAME_MAX 255

struct tftp_config {
	uint32_t address; /* the server's, IPv4, as a number */
	uint8_t mac[6];
	/* The file of that name, opened for reading at any place: a descriptor, which becomes the server's, or -errno. */
	int (*open)(void *context, const char *name);
	/* A frame for the guest, as on Ethernet. */
	void (*send)(void *context, const void *frame, size_t size);
	void *context;
};

struct tftp_client {
	int fd; /* -1: there is none */
	uint8_t mac[6];
	uint32_t address;
	uint16_t port;
	uint64_t size_bytes;
	uint32_t block_bytes, window;
	uint64_t acknowledged, sent; /* blocks */
	uint64_t heard; /* the server's count of what it has heard by then */
};

struct tftp {
	struct tftp_config config;
	struct tftp_client clients[TFTP_CLIENTS];
	uint64_t heard;
	uint16_t packets; /* identification of the next one */
};

/* Without clients. What `config` names stays the caller's, and outlives it. */
void tftp_init(struct tftp *tftp, const struct tftp_config *config);
void tftp_close(struct tftp *tftp); /* the files that it has open */

/* A frame of the guest's, whatever is in it. Whether it was for the server, which has answered it then. */
bool tftp_take(struct tftp *tftp, const uint8_t *frame, size_t size);

#endif
