/*
 * Replace parts of the program's memory by a shared file with the same content, so that the engine
 * can map it as well.
 *
 * Only a program can map its memory, so one of its threads is made to: the one that waits in a
 * call, which it returns from and is stopped (ptrace(2)), executes its own system call instruction
 * again with other registers. All threads of the process are held meanwhile, lest one write to what
 * was copied already.
 */
#ifndef KVIK_SUPERVISE_REMAP_H
#define KVIK_SUPERVISE_REMAP_H

#include <stdbool.h>
#include <stdint.h>

struct call;

struct remap_part {
	uint64_t address, size; /* in the program, whole pages */
	int protection;         /* as it is mapped now */
	bool is_anonymous;      /* pages that nobody touched are 0 */
	uint64_t offset;        /* in the file */
	void *mapping;          /* of that in our memory */
};

struct remap {
	int file;
	struct remap_part *parts;
	unsigned count;
	/* Called when all is replaced, while the threads are held: gives the call's result. */
	int (*finish)(void *context);
	void *context;
};

/* Answers the call, with what finish gives or with -errno. What was replaced stays so in any case.
 * The result is what finish gave; negative and with finish not called when something failed before.
 */
int remap_and_answer(const struct call *call, const struct remap *remap);

#endif
