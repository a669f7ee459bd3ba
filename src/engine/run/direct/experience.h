/*
 * What a VM's CPUs have learnt of programs: whether their lives are long enough for a stub, and which tier the next one
 * begins in (habit.h). A program is known by its hash (program.h).
 *
 * All CPUs learn together. If each learnt for itself, each would pass a program's first lives, and those that are
 * trials of the dearer tier, once more; and a compiler that is translated as a trial leaves thousands of translations.
 *
 * There is a lock, which is taken where a life begins and ends and where it has become a long one, and held for
 * some tens of instructions. Whoever does not get it soon, as its holder's thread may not be running, learns nothing
 * this time. No function here calls anything: the guest's vector state may be in registers.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_EXPERIENCE_H
#define KVIK_ENGINE_RUN_DIRECT_EXPERIENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/run/direct/habit.h"

#define EXPERIENCES  256u
#define KNOWN_SPACES 512u

struct experience {
	uint64_t hash; /* 0: free */
	int score;     /* lives that were long, less those that were short; bounded */
	struct habit habit;
};

/* A thread of an address space that is new no more: as a book on one CPU knows it (book.h), for when it comes to another. */
struct known_space {
	uint64_t owner, root; /* 0: free */
	uint64_t area; /* of the thread, as threads.h has it; 0: the space's first, and what is known of it as a whole */
	uint64_t first;       /* the area of the space's first thread */
	uint64_t hash;        /* of its program */
	struct policy policy;
};

/* Of a VM; zeroes to begin with. */
struct experiences {
	_Atomic unsigned cpus; /* that learn, and share the VM's stubs */
	_Atomic bool is_locked;
	struct experience all[EXPERIENCES];
	struct known_space spaces[KNOWN_SPACES];
};

/* What is known of a program, until experience_put: any thread. A new one takes another's place if need be. NULL, and
 * nothing to put: it is not known, or cannot be looked at now. */
struct experience *experience_get(struct experiences *experiences, uint64_t hash, bool is_new);
void experience_put(struct experiences *experiences);

/* Have other CPUs know that; of a new space (POLICY_NEW) they know nothing any more. */
void experience_tell_space(struct experiences *experiences, const struct known_space *space);
/* What one of them has told of space->owner with this root, and of this thread. False: nothing. */
bool experience_ask_space(struct experiences *experiences, struct known_space *space);

/* One of its lives was long enough for a stub, or ended before. */
void experience_lived(struct experience *experience, bool was_long);

/* Whether the next one is to be direct at once. */
static inline bool experience_lives_long(const struct experience *experience)
{
	return experience->score > 0;
}

#endif
