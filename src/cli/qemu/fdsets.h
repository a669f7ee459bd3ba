/* Files that came as open descriptors (-add-fd): /dev/fdset/N names those of set N. */
#ifndef KVIK_CLI_QEMU_FDSETS_H
#define KVIK_CLI_QEMU_FDSETS_H

#include <jansson.h>

#include "util/error.h"

#define FDSETS_MAX 64

struct fdsets {
	struct {
		unsigned set;
		int fd;
	} list[FDSETS_MAX];
	unsigned count;
};

/* What one -add-fd says. 0, or -errno and `error`. */
int fdsets_add(struct fdsets *fdsets, const json_t *options, struct error *error);

/* A new descriptor of `path` if that names a set; -ENOENT: it names none; or -errno and `error`. `flags`
 * are open(2)'s access mode, which one of the set must have. */
int fdsets_open(const struct fdsets *fdsets, const char *path, int flags, struct error *error);

#endif
