/*
 * Files that came as open descriptors, with the command line (-add-fd) or with a monitor's command (add-fd): wherever a
 * file is named, /dev/fdset/N is that one of set N that is open for what is to be done with it.
 */
#ifndef KVIK_CLI_QEMU_FDSETS_H
#define KVIK_CLI_QEMU_FDSETS_H

#include <jansson.h>

#include "monitor/facts.h"
#include "util/error.h"

#define FDSETS_MAX 64

struct fdsets {
	struct {
		unsigned set;
		int fd;	      /* owned */
		json_t *opaque; /* what whoever added it calls it; NULL: nothing */
	} list[FDSETS_MAX];
	unsigned count;
};

/* What one -add-fd says: a copy of its descriptor, whose own is the caller's. 0, or -errno and `error`. */
int fdsets_add(struct fdsets *fdsets, const json_t *options, struct error *error);

/* `fd`, which is taken over, as QMP's add-fd says. Its answer, the caller's; or NULL and `error`: then `fd` is closed. */
json_t *fdsets_add_passed(struct fdsets *fdsets, const json_t *arguments, int fd, struct error *error);

/* remove-fd: files that were opened by a set's name stay open. 0, or -errno and `error`. */
int fdsets_remove(struct fdsets *fdsets, const json_t *arguments, struct error *error);

json_t *fdsets_describe(const struct fdsets *fdsets); /* query-fdsets' answer, the caller's */
void fdsets_close(struct fdsets *fdsets);	      /* all */

bool fdsets_are_named(const char *path); /* /dev/fdset/... */

/* A new descriptor of `path` if that names a set; -ENOENT: it names none; or -errno and `error`. `flags`
 * are open(2)'s access mode, which one of the set must have. */
int fdsets_open(const struct fdsets *fdsets, const char *path, int flags, struct error *error);

/* Likewise what a command names: a path, or file:PATH where a machine is sent or comes from. */
int fdsets_open_named(const struct fdsets *fdsets, enum monitor_file kind, const char *name, struct error *error);

#endif
