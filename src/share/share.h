/*
 * The room of shares: folders of the host that a guest uses as its own file systems. A share is a process of
 * kvik's own with the folder as its root directory and FUSE (fuse.h) or 9P (p9.h) spoken in it; the monitor, which
 * can open no path, carries requests and replies by slots of memory that both have, and messages (exchange.h)
 * that say which one. So a guest that owns the monitor has what it had by its share, and one that
 * owns the share's process has the folder, and neither the monitor's memory nor other files.
 *
 * Shares are started before sandbox_enter, while the process has one thread.
 */
#ifndef KVIK_SHARE_SHARE_H
#define KVIK_SHARE_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "share/exchange.h"
#include "share/kept.h"
#include "util/error.h"

#define SHARE_SLOTS	EXCHANGE_MESSAGES
#define SHARE_SLOT_BYTES ((1u << 20) + 4096) /* of a request, and of a reply */
#define SHARE_SLOTS_BYTES (2 * SHARE_SLOTS * (size_t)SHARE_SLOT_BYTES)
#define SHARE_MEMORY	  (SHARE_SLOTS_BYTES + EXCHANGE_BYTES) /* that of the exchange last */

enum share_protocol { SHARE_FUSE, SHARE_9P };

struct share {
	int socket; /* readable when there are replies that nobody looks for, and when the process has gone; -1: there is none */
	uint8_t *slots; /* SHARE_MEMORY */
	struct exchange_end exchange;
	enum share_protocol protocol;
};

struct share_config {
	const char *path;
	bool is_readonly;
	uint64_t keep_s; /* how long the guest may go by what it knows; of FUSE */
	enum share_protocol protocol;
	/* That a file cannot be given to somebody is an error; of 9P, FUSE always says so. */
	bool reports_owners;
	enum share_keeping keeping; /* what the guest says of owners and modes */
};

/* Start one. 0, or -errno and `error`. */
int share_start(struct share *share, const struct share_config *config, struct error *error);
/* It ends. Also fine on one that is closed. */
void share_close(struct share *share);

/* Where a slot's request goes, and where its reply is. */
uint8_t *share_request(const struct share *share, unsigned slot);
uint8_t *share_reply(const struct share *share, unsigned slot);

/* Have the request of a slot answered that nobody uses: `size` bytes, for a reply of at most `room`. 0, or -errno:
 * the share's process has gone. */
int share_submit(struct share *share, unsigned slot, size_t size, size_t room);
/* A reply that has come. 1, 0: there is none yet, or -errno: the process is not ours any more. */
int share_take(struct share *share, unsigned *slot, size_t *size);

/* Whether a request's answer will come at once: neither much data nor a disk stands between. A guess, of a request in a slot
 * that is not submitted yet. */
bool share_is_quick(const struct share *share, const uint8_t *request, size_t size);

/* Write the reply to a request that cannot be answered, with this errno. How many bytes it has; 0: it
 * needs none. `share` says which protocol it is. */
size_t share_refuse(const struct share *share, const uint8_t *request, size_t size, int error,
		    uint8_t *reply, size_t room);

#endif
