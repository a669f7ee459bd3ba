/* What the files of the NBD server share. */
#ifndef KVIK_BLOCK_NBD_SERVER_PARTS_H
#define KVIK_BLOCK_NBD_SERVER_PARTS_H

#include <pthread.h>

#include "block/nbd/protocol.h"
#include "block/nbd_server.h"
#include "block/nbd/wire.h"

struct nbd_export {
	struct nbd_server *server;
	struct block *block;
	struct block_visitor visitor;
	char *name, *description; /* owned; no description: NULL */
	bool is_writable, shows_depth;
	uint64_t size; /* stays while it is visited */
	void (*gone)(void *context);
	void *context;
	/* Guarded by the server's lock: */
	unsigned clients;
	bool is_ending;
	struct nbd_export *next;
};

/* What a client has chosen. */
struct nbd_choice {
	bool has_no_zeroes, is_structured;
	bool has_allocation, has_depth;
	char *contexts_of; /* the export's name that they were chosen for; owned */
};

struct nbd_client {
	struct nbd_server *server;
	struct wire wire;
	struct nbd_choice choice;
	pthread_t thread;
	/* Guarded by the server's lock: */
	struct nbd_export *export; /* it holds that; NULL: none yet */
	bool has_ended;		   /* its thread can be joined */
	struct nbd_client *next;
};

struct nbd_server {
	struct nbd_server_options options;
	int wake; /* an eventfd: of the thread that accepts */
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows; nothing is waited for under it */
	pthread_cond_t changed;
	struct nbd_export *exports;
	struct nbd_client *clients;
	unsigned client_count;
	bool is_ending;
};

/* The numbers of contexts. */
enum { NBD_ALLOCATION_ID = 1, NBD_DEPTH_ID = 2 };

/* With the server's lock: nobody waits for this client any more. */
void nbd_client_cut_off(struct nbd_client *client);
/* With the server's lock: an export that is not about to end. NULL: there is none. */
struct nbd_export *nbd_export_find(struct nbd_server *server, const char *name);
/* "Transmission flags". */
uint16_t nbd_export_flags(const struct nbd_export *export);

/* Agree with a client on an export, which it then holds. 0, or -errno: it is to be cut off. */
int nbd_greet(struct nbd_client *client);
/* Do what it asks for, until it has gone, and nothing is under way. */
void nbd_serve(struct nbd_client *client);

#endif
