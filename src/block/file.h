/*
 * The files that images are in: regular files and block devices, open and locked, and exports of NBD servers,
 * which are no files of this host's and have no locks.
 *
 * All functions but opening and closing may be called on any thread at once; whoever calls sees to
 * it that writes to one place have an order. They wait for the medium.
 */
#ifndef KVIK_BLOCK_FILE_H
#define KVIK_BLOCK_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/error.h"

struct nbd;

struct file {
	int fd; /* -1 of an export */
	struct nbd *export; /* owned; NULL: a file of this host's */
	/*
	 * The same file, opened past the page cache; -1: not wanted or not offered. Requests that
	 * are whole pages in file and memory go there, others through the page cache: so no page of
	 * the file is ever written in both ways at once.
	 */
	int direct_fd;
	bool is_writable;
	bool is_regular; /* it can grow */
	bool is_unlocked; /* no locks of it are taken */
	bool is_unsafe;	 /* file_sync does nothing */
	bool is_dirty;	 /* atomic; written to since file_sync began last */
	bool has_failed; /* a sync did; guarded by sync_lock */
	pthread_mutex_t sync_lock;
	uint64_t size;	 /* atomic; bytes, as far as kvik knows: others may cut the file */
	char *path;	 /* owned */
	char *place;	 /* owned; where that was from the root when it was opened by its path; NULL: nobody knows */
};

enum {
	FILE_WRITABLE = 1 << 0,
	FILE_DIRECT = 1 << 1,
	FILE_UNSAFE = 1 << 2,
	FILE_UNLOCKED = 1 << 3, /* neither take nor check locks (lock.h) */
	FILE_CREATE = 1 << 4,	/* make it, or empty it: with FILE_WRITABLE */
	FILE_SHARED_WRITES = 1 << 5, /* what is locked lets others write, too (qemu-img -U) */
};

#define FILE_PAGE 4096 /* alignment of what goes past the page cache */

/* The path that an image at `path` means by `name`: relative to its folder. The caller's to free;
 * NULL without memory. */
char *file_resolve(const char *path, const char *name);

/* 0, or -errno and `error`. `path` may be an export's name (nbd/name.h). `fd` of file_open_fd is duplicated. file_close undoes both. */
int file_open(struct file *file, const char *path, unsigned flags, struct error *error);
int file_open_fd(struct file *file, int fd, const char *path, unsigned flags, struct error *error);
/* Also of one that was not opened but zeroed with fds of -1. */
void file_close(struct file *file);

/* What is beyond the end reads as zeroes. 0 or -errno. */
int file_readv(const struct file *file, uint64_t offset, const struct iovec *vector, unsigned count);
int file_read_at(const struct file *file, uint64_t offset, void *data, uint64_t size);
/* Makes the file longer where needed. 0 or -errno; on failure any part may have been written. */
int file_writev(struct file *file, uint64_t offset, const struct iovec *vector, unsigned count);
int file_write_at(struct file *file, uint64_t offset, const void *data, uint64_t size);

/* For those who read and write by io_uring, of what is no export: the descriptor to use, and, after a write up to `end`, that
 * it happened. */
int file_descriptor_for(const struct file *file, uint64_t offset, const struct iovec *vector,
			unsigned count);
void file_has_grown(struct file *file, uint64_t end);

/* Make what was written last (fdatasync). */
int file_sync(struct file *file);

/* Have a range read as zeroes, making the file longer where needed; with space freed or kept. */
int file_zero(struct file *file, uint64_t offset, uint64_t size, bool may_unmap);
/* Free a range's space where that is possible: 0 also where it isn't. It then reads as zeroes. */
int file_discard(struct file *file, uint64_t offset, uint64_t size);
int file_truncate(struct file *file, uint64_t size);
/* Have the host's file system set space aside, up to `size`. -EOPNOTSUPP where it can't. */
int file_allocate(struct file *file, uint64_t offset, uint64_t size);

/* Whether `offset`, which is inside of the file, is in a hole, and for how many bytes more at
 * least. Where the host can't tell all is data. */
bool file_is_hole(const struct file *file, uint64_t offset, uint64_t *length);

/* Bytes of the host's medium that the file takes; UINT64_MAX: nobody knows. */
uint64_t file_space(const struct file *file);

#endif
