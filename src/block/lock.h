/*
 * Locks by which programs agree on who may write to an image: those of QEMU, so that kvik, QEMU and
 * qemu-img keep one another from it.
 */
#ifndef KVIK_BLOCK_LOCK_H
#define KVIK_BLOCK_LOCK_H

#include <stdbool.h>

#include "util/error.h"

/*
 * Lock the image behind `fd` for reading, or for writing, too; with `share_writes` others may write
 * meanwhile. The lock ends with the open file. 0, or -EAGAIN and `error` when somebody else uses it in
 * a way that forbids it. File systems without such locks give none, and no error.
 */
int lock_image(int fd, const char *path, bool is_writer, bool share_writes, struct error *error);

/* Whoever locked it for writing only reads from now on, and lets others read. */
void lock_read_only(int fd);

#endif
