/*
 * Engine descriptors that programs have copies of.
 *
 * The engine's object behind a descriptor is a memfd. The program gets an open file of its own of
 * that memfd, so that all of dup, fork, mmap, passing and closing is between it and the kernel.
 * Which object a descriptor of the program means is told by the memfd's inode. inotify tells when
 * an open file comes and when its last copy or mapping goes: with the last one goes our own
 * descriptor, and so the object.
 */
#ifndef KVIK_SUPERVISE_HANDOUT_H
#define KVIK_SUPERVISE_HANDOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/engine.h"

struct call;
struct memory;
struct supervisor;

struct handout {
	int fd; /* ours */
	enum engine_handle kind;
	pid_t owner;           /* the process that made it */
	struct memory *memory; /* of its VM; a reference. NULL for a system handle */
	/* A vCPU's KVM_SET_SIGNAL_MASK: bit 0 is signal 1. Written by the thread that runs it. */
	bool has_signal_mask;
	uint64_t signal_mask;

	/* The rest is the table's, under its lock. */
	unsigned references; /* one while there are copies, one a request under way */
	unsigned copies;     /* open files of programs, and the one that we make them from */
	int watch;
	dev_t device;
	ino_t inode;
	struct handout *next;
};

/* Answer the call with a copy of the engine's descriptor, which is the table's from here on,
 * whatever happens; `memory` is given away, too. */
void handout_give(const struct call *call, int fd, enum engine_handle kind, struct memory *memory,
                  bool closes_on_exec);

/* What the program's descriptor means, with a reference; NULL: not the engine's. */
struct handout *handout_get(const struct call *call, int fd);
void handout_put(struct handout *handout);

/* Whether the calling process is the one that made it. */
bool handout_is_owned(const struct handout *handout, const struct call *call);

/*
 * Read all that inotify tells: what programs closed before this call is closed behind it. Any thread;
 * called before a descriptor is made, too, since a program that makes and closes them in turn must
 * not meet a limit because a thread of ours has not been scheduled yet.
 */
void handout_follow_copies(struct supervisor *supervisor);

#endif
