/* Files as a whole: what a user named (kernels, initial RAM disks, flat binaries), and what is written. */
#ifndef KVIK_UTIL_FILE_H
#define KVIK_UTIL_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"

/*
 * Read all of `path` (a regular file, a pipe, ...) of at most `limit` bytes into a new buffer that
 * the caller frees. `what` names the file's role in messages ("kernel"). An empty file is an error.
 * The bytes are copied, so that a file that changes while a guest runs changes nothing.
 */
int file_read(const char *path, const char *what, size_t limit, uint8_t **data, size_t *size,
	      struct error *error);

/*
 * The same for what shall not stay in memory: a regular file stays open, as `*fd`, which the caller closes, and
 * `*data` is NULL. What can be read once only (a pipe) is read into `*data`, and `*fd` is -1. Its size now is in `*size`.
 */
int file_open_or_read(const char *path, const char *what, size_t limit, int *fd, uint8_t **data, size_t *size,
		      struct error *error);

/*
 * Bytes of a regular file from `offset` on, fewer than `size` only where it ends: how many, or -errno. Where it is read
 * next by others stays as it was.
 */
ssize_t file_read_part(int fd, void *bytes, size_t size, uint64_t offset);
/* Write all of it at `offset`, however little is taken at once. 0, or -errno. */
int file_write_all_at(int fd, const void *bytes, size_t size, uint64_t offset);

/* Write all of it, however little is taken at once. 0, or -errno. */
int file_write_all(int fd, const void *bytes, size_t size);

#endif
