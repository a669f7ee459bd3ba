/*
 * 9P2000.L for a folder: the protocol of Linux's v9fs (messages of 9P2000 as Plan 9's manual has them in section 5, and
 * those that Linux's net/9p/client.c adds), as bytes in and bytes out. It is another way to ask what fuse.h answers:
 * files, nodes, owners and care are the same, and what a message wants is asked of FUSE's own requests.
 *
 * The peer is a guest's kernel, or whatever a guest makes up. A message that is none, by its length or its strings,
 * has no reply: no driver sends one. A message is answered before the next one is looked at. One thread.
 */
#ifndef KVIK_SHARE_P9_H
#define KVIK_SHARE_P9_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "share/fuse_call.h"

#define P9_HEADER_BYTES 7 /* size[4] type[1] tag[2] */
#define P9_MESSAGE_MIN	4096
#define P9_BUCKETS	1024 /* of file identifiers */

struct p9_fid;

struct p9 {
	struct fuse fuse;
	struct p9_fid *fids[P9_BUCKETS];
	unsigned fid_count;
	uint32_t message_max; /* what was agreed on; 0: there was no version */
	bool reports_owners;  /* a change of owner that cannot be fails, rather than doing nothing */
	/* Arguments of a request that is asked of FUSE. */
	uint8_t arguments[FUSE_ARGUMENTS_MAX + 1] __attribute__((aligned(8)));
};

/* As fuse_create. 0 or -errno. */
int p9_create(struct p9 *p9, int root, bool is_readonly, bool reports_owners, unsigned fd_limit);
void p9_destroy(struct p9 *p9);

/*
 * Answer a message; `reply` has room for `room` bytes. How many the reply has; 0: it was no message. Who may change
 * `message` meanwhile changes what is written to a file, and nothing else.
 */
size_t p9_answer(struct p9 *p9, const uint8_t *message, size_t size, uint8_t *reply, size_t room);

/* As share_is_quick. */
bool p9_is_quick(const uint8_t *message, size_t size);

/* As one would answer that failed with this errno. */
size_t p9_refuse(const uint8_t *message, size_t size, int error, uint8_t *reply, size_t room);

#endif
