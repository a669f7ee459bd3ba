/*
 * The threads of address spaces that have several: each has a policy of its own (policy.h), since one may compute while
 * another does little but call its kernel.
 *
 * A thread is known by where its own variables are, the base of FS, or of GS in 32-bit code (System V ABI, AMD64 supplement
 * §3.4.6; Intel386 supplement §2.6). The first one of a space has the policy that is the space's, and so have all
 * until the space is new no more. Whoever comes later goes on as that one stands then. What changes a base all the time
 * has as many policies as this has room for, and each begins so.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_THREADS_H
#define KVIK_ENGINE_RUN_DIRECT_THREADS_H

#include <stdint.h>

#include "engine/run/direct/policy.h"

#define THREADS 256u /* a power of two */

struct thread {
	uint64_t owner, area; /* the page tables; where its variables are */
	uint64_t life;        /* of the space, of which others came before in the same memory; 0: free */
	struct policy policy;
	enum policy_mode told; /* to other CPUs */
};

/* Of a CPU; zeroes to begin with. */
struct threads {
	struct thread all[THREADS];
};

/* The thread, or NULL: it is not known. */
struct thread *threads_find(struct threads *threads, uint64_t owner, uint64_t life, uint64_t area);

/* It becomes known, in another's place if need be; its policy is the caller's to begin. */
struct thread *threads_add(struct threads *threads, uint64_t owner, uint64_t life, uint64_t area);

#endif
