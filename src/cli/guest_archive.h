/* An initial RAM disk in memory: a newc cpio archive (Linux, Documentation/driver-api/early-userspace). */
#ifndef KVIK_CLI_GUEST_ARCHIVE_H
#define KVIK_CLI_GUEST_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct guest_archive {
	int fd; /* a memfd */
	unsigned inode;
	bool has_failed; /* something could not be written */
};

/* 0 or -errno. */
int guest_archive_open(struct guest_archive *archive);
void guest_archive_add(struct guest_archive *archive, const char *name, mode_t mode,
		       const void *bytes, size_t size);
/* The file of that path, or nothing if it cannot be read: whether it could. */
bool guest_archive_add_file(struct guest_archive *archive, const char *name, const char *path);
/* No more comes. 0 or -errno; the descriptor is the caller's. */
int guest_archive_finish(struct guest_archive *archive);

#endif
