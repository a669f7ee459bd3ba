/*
 * Requests that are under way to a server. Whoever has one waits for it: the first of them that finds nobody
 * receiving receives, for all, until its own is done, and then another one takes over. So it takes no thread of
 * its own, before there are any and after.
 */
#ifndef KVIK_BLOCK_NBD_CONNECTION_H
#define KVIK_BLOCK_NBD_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/nbd/handshake.h"
#include "block/nbd/protocol.h"
#include "block/nbd/wire.h"

struct nbd_exchange {
	enum nbd_command command;
	uint16_t flags;
	uint64_t offset;
	uint32_t size;
	/* Of reads and writes: `size` bytes. */
	const struct iovec *vector;
	unsigned count;
	/* Of NBD_CMD_BLOCK_STATUS, after success: the first run. 0: the server said nothing. */
	uint32_t run_bytes, run_state;

	/* The connection's own: */
	uint64_t cookie;
	uint64_t received; /* bytes */
	int result;
	bool is_done;
	struct nbd_exchange *next;
};

struct nbd_connection {
	struct wire wire;
	struct nbd_terms terms;
	char *name;

	pthread_mutex_t send_lock; /* taken before `lock`, held while a message goes out */
	pthread_mutex_t lock;	   /* guards what follows */
	pthread_cond_t changed;
	struct nbd_exchange *under_way;
	uint64_t last_cookie;
	bool is_receiving; /* somebody does */
	bool has_failed;
};

/* 0, or what the server said: -errno. -EIO: the connection is lost. */
int nbd_connection_perform(struct nbd_connection *connection, struct nbd_exchange *exchange);

#endif
