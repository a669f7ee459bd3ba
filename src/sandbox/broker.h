/*
 * The broker: opens files for a monitor that cannot open any. What it opens was granted when it was
 * started, by the user's command line; the monitor, which may be owned by its guest, can name a
 * grant, not make one.
 *
 * A grant is a directory with all that is below it, or one name in a directory, which need not exist
 * yet. Grants are kept as open directories, so that renamed ones stay what they were; below them no
 * symbolic link is followed and nothing leads up or out (openat2(2), Linux 5.6). What is opened is a
 * regular file, or, by its own name, a block device.
 */
#ifndef KVIK_SANDBOX_BROKER_H
#define KVIK_SANDBOX_BROKER_H

#include "util/error.h"

/* What may be done with a grant, and what a request asks for. */
#define BROKER_READ   1u
#define BROKER_WRITE  2u
#define BROKER_CREATE 4u /* with BROKER_WRITE: a file that is missing is made, one that is there emptied */

#define BROKER_GRANTS     64
#define BROKER_PATH_BYTES 240 /* of a request, with the NUL */

struct broker_grant {
	const char *path;
	unsigned access;
};

/*
 * Start a broker for these grants, which requests name by their index. A descriptor for broker_open
 * and, when it is closed, the broker's end; or -errno and `error`. See helper_start on when.
 */
int broker_start(const struct broker_grant *grants, unsigned count, struct error *error);

/*
 * A descriptor, close-on-exec, of the file of grant `grant`, which is `path` below it if it is a
 * directory, else `path` is "". Or what the broker said: -EACCES (not granted), -EXDEV (leads out),
 * -ELOOP (a symbolic link), -ENOENT and so on; -EPIPE: it has gone. One thread at a time.
 */
int broker_open(int broker, unsigned grant, const char *path, unsigned access);

#endif
