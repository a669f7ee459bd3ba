/*
 * FUSE (linux/fuse.h) for a folder: requests as bytes in, replies as bytes out. The peer is a guest's
 * kernel, or whatever a guest makes up: nothing in a request is believed.
 *
 * A request is answered before the next one is looked at; none waits for another. Locks are the guest's own
 * affair. One thread.
 */
#ifndef KVIK_SHARE_FUSE_H
#define KVIK_SHARE_FUSE_H

#include <stddef.h>
#include <stdint.h>

#include "share/mapped.h"
#include "share/opening.h"
#include "share/node.h"
#include "share/owner.h"

/* The largest of a write, and of a read. */
#define FUSE_DATA_MAX (1u << 20)
/* Beside that, a request or a reply has headers and names. */
#define FUSE_REQUEST_MAX (FUSE_DATA_MAX + 4096)

struct fuse {
	struct folder folder;
	struct opening_table openings;
	struct owners owners;
	uint64_t keep_s; /* how long a guest may keep what it was told without asking again */
	bool is_begun;	 /* there was an INIT */
};

/* `root`: as folder_open. 0 or -errno. */
int fuse_create(struct fuse *fuse, int root, bool is_readonly, uint64_t keep_s,
		unsigned fd_limit);
void fuse_destroy(struct fuse *fuse);

/*
 * Answer a request. `reply` has room for `room` bytes; both are aligned to 8. How many the reply has; 0: there is none. Who may change
 * `request` meanwhile changes what is written to a file, and nothing else.
 */
size_t fuse_answer(struct fuse *fuse, const uint8_t *request, size_t size, uint8_t *reply,
		   size_t room);

/* As share_is_quick. */
bool fuse_is_quick(const uint8_t *request, size_t size);

/* As the server would answer that failed with this errno. */
size_t fuse_refuse(const uint8_t *request, size_t size, int error, uint8_t *reply, size_t room);

#endif
