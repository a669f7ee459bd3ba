/*
 * The spawner: makes processes for a monitor that cannot make any. A stub is a process without
 * privileges, files, root directory or network that runs one function, and that may make only the
 * system calls of spawner.c's list: its monitor tells it what to do by a socket and a shared page.
 *
 * A stub may map what its monitor sends it, code too: it is made to run a guest's code directly. It
 * starts as a copy of the monitor at the time of spawner_start, and so knows its addresses.
 *
 * Linux 5.9.
 */
#ifndef KVIK_SANDBOX_SPAWNER_H
#define KVIK_SANDBOX_SPAWNER_H

#include <stdint.h>

#include "util/error.h"

/* At one time. */
#define SPAWNER_STUBS	64
#define STUB_PAGE_BYTES 4096

/* A stub as its monitor has it; the descriptors are the monitor's to close. */
struct stub {
	uint32_t id;
	int process; /* a pidfd: readable when the stub has ended */
	int socket;  /* SOCK_SEQPACKET; the stub has the other end */
	int page;    /* a memfd of STUB_PAGE_BYTES that it has mapped, zeroed at first */
};

/* What a stub does, locked. It ends when this returns. */
typedef void stub_function(int socket, void *page);

/* A descriptor for the other functions and, when it is closed, the end of the spawner and its stubs; or
 * -errno and `error`. See helper_start on when. */
int spawner_start(stub_function *function, struct error *error);

/* A new stub. 0 or -errno; -EAGAIN: there are SPAWNER_STUBS of them. One thread at a time. */
int spawner_spawn(int spawner, struct stub *stub);

/* End a stub; when this returns it is gone. 0, or -ESRCH: it had ended before. Its descriptors stay
 * open. One thread at a time. */
int spawner_kill(int spawner, uint32_t id);

/* Close a stub's descriptors. */
void stub_close(struct stub *stub);

#endif
