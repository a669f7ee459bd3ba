/*
 * An NBD server: disks that are open, given to others (NetworkBlockDevice's doc/proto.md: fixed newstyle, structured
 * replies, base:allocation). Any number of exports, and clients up to a limit, each with two threads of its own.
 *
 * Clients are hostile: what they say is checked before it is done, nobody waits for one but its own threads, and none has
 * more than CLIENT_BYTES of the server's memory.
 *
 * In the sandbox it needs to accept and shut down connections, and no other call that disks do not.
 */
#ifndef KVIK_BLOCK_NBD_SERVER_H
#define KVIK_BLOCK_NBD_SERVER_H

#include <stdbool.h>

#include "block/block.h"
#include "util/error.h"

#define NBD_CLIENTS_MAX 64

struct nbd_server;
struct nbd_export;

/*
 * Serve whoever connects to `listening_fd`, which becomes the server's; up to `clients_max` at once (0: NBD_CLIENTS_MAX),
 * others wait. `left`, which may be NULL, is called when a client has gone, on a thread of the server's, with how many are
 * left; it calls nothing of this header. 0, or -errno and `error`: then the descriptor stays the caller's.
 */
struct nbd_server_options {
	int listening_fd;
	unsigned clients_max;
	void (*left)(void *context, unsigned clients);
	void *context;
};
int nbd_server_start(const struct nbd_server_options *options, struct nbd_server **server, struct error *error);
/* End it, with its connections and all its exports. NULL does nothing. */
void nbd_server_stop(struct nbd_server *server);

struct nbd_export_options {
	const char *name, *description; /* "": the default export; NULL: no description */
	bool is_writable;
	bool shows_depth; /* offers the context qemu:allocation-depth */
};
/*
 * Give a disk that is started. What follows is for the thread that closes disks: one that is closed is taken off its
 * server first, and `gone` called, after which the export is no more (NULL: nobody is told).
 * 0, or -errno and `error`.
 */
int nbd_export_add(struct nbd_server *server, struct block *block, const struct nbd_export_options *options,
		   void (*gone)(void *context), void *context, struct nbd_export **export, struct error *error);
unsigned nbd_export_clients(const struct nbd_export *export);
/* Its clients are cut off, after what they have under way. */
void nbd_export_remove(struct nbd_export *export);

#endif
