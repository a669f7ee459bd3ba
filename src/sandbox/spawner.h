/*
 * The spawner: makes processes for a monitor that cannot make any. A stub is a process without
 * privileges, files, root directory or network that runs one function, and that may make only the
 * system calls of spawner.c's list: its monitor tells it what to do by a socket and a shared page.
 *
 * A stub may map what its monitor sends it, code too: it is made to run a guest's code directly. It
 * starts as a copy of the monitor at the time of spawner_start, and so knows its addresses until it unmaps them.
 *
 * Linux 5.9.
 */
#ifndef KVIK_SANDBOX_SPAWNER_H
#define KVIK_SANDBOX_SPAWNER_H

#include <stdint.h>

#include "util/error.h"
#include "util/stub.h"

/* At one time. */
#define SPAWNER_STUBS 128

/* Who locks a stub. */
enum spawner_lock {
	SPAWNER_LOCKS, /* the spawner, before the function is called */
	STUB_LOCKS,    /* the function itself, narrower than the spawner could: before it, what spawner.c lists
			* for that is allowed besides; what is not raises SIGSYS, which the stub may handle */
};

/* A descriptor for the other functions and, when it is closed, the end of the spawner and its stubs; or
 * -errno and `error`. See helper_start on when. */
int spawner_start(stub_function *function, enum spawner_lock lock, struct error *error);

/* A new stub. 0 or -errno; -EAGAIN: there are SPAWNER_STUBS of them. One thread at a time. */
int spawner_spawn(int spawner, struct stub *stub);

/* End a stub; when this returns it is gone. 0, or -ESRCH: it had ended before. Its descriptors stay
 * open. One thread at a time. */
int spawner_kill(int spawner, uint32_t id);

#endif
