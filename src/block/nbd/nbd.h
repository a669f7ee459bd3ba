/*
 * A disk that another program serves: a client of the NBD protocol.
 *
 * One connection, made before the process gives up paths and networks; when it is lost every request
 * fails from then on. Any number of threads may have requests under way: one of those that wait receives
 * for all (connection.c).
 */
#ifndef KVIK_BLOCK_NBD_NBD_H
#define KVIK_BLOCK_NBD_NBD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/error.h"

struct nbd;

/* `name` as nbd_name_is_one has it. 0 and what nbd_close ends, or -errno and `error`. */
int nbd_open(const char *name, struct nbd **nbd, struct error *error);
/* A connection alone: a descriptor, or -errno and `error`. */
int nbd_connect(const char *name, struct error *error);
/* nbd_open with one; `fd` stays the caller's. */
int nbd_open_fd(int fd, const char *name, struct nbd **nbd, struct error *error);
/* No request is under way. NULL does nothing. */
void nbd_close(struct nbd *nbd);

/* Bytes of the export, and whether it takes no writes; constant. */
uint64_t nbd_size(const struct nbd *nbd);
bool nbd_is_readonly(const struct nbd *nbd);

/*
 * What follows waits, and may be called on any thread at once. Ranges are inside of the export. 0, or -errno:
 * -EIO also when the connection is lost.
 */
int nbd_readv(struct nbd *nbd, uint64_t offset, const struct iovec *vector, unsigned count);
int nbd_writev(struct nbd *nbd, uint64_t offset, const struct iovec *vector, unsigned count);
int nbd_flush(struct nbd *nbd);
/* -EOPNOTSUPP: the server can't. */
int nbd_zero(struct nbd *nbd, uint64_t offset, uint64_t size, bool may_unmap);
/* 0 also where the server can't. */
int nbd_discard(struct nbd *nbd, uint64_t offset, uint64_t size);
/* Whether zeroes are read from `offset` on, which is inside; and for how many bytes of `size` the answer holds
 * at least. Where the server doesn't tell, all is data. */
bool nbd_is_zero(struct nbd *nbd, uint64_t offset, uint64_t size, uint64_t *length);

#endif
