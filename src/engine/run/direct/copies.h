/*
 * Copies of code pages, in which instructions that show the host are traps: what stubs execute in place of the
 * pages themselves.
 *
 * A trap is the byte F4 (HLT, which is #GP in ring 3 on every processor) in place of the instruction's 0F: with any
 * prefixes before it, and without, it faults where the instruction begins, and who jumps behind it finds the bytes
 * that are there. What the CPU then executes is what guest memory holds.
 *
 * Copies are in a file of their own, one for each CPU, which stubs may map, but not to write. A copy is made of a
 * page that is marked in the code index, so that stores to it are seen; what else writes to memory shows by
 * comparing, once in each of the CPU's code_epoch (run/tier/code_index.h).
 *
 * The CPU's own thread. No function but the first two calls anything: vector registers may hold the guest's.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_COPIES_H
#define KVIK_ENGINE_RUN_DIRECT_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/direct/scan.h"

#define COPIES	   64u /* a bit of a word each */
#define COPIES_NONE COPIES

struct code_copy {
	uint64_t gpa;      /* of the page */
	uint64_t compared; /* 1 + cpu->code_epoch; 0: not yet */
	uint32_t last_used;
	unsigned allowed; /* enum sensitive_allowed */
	bool is_used;
	struct scan_traps traps;
};

struct copies {
	int fd; /* -1: there are none */
	uint8_t *base;
	uint32_t clock;
	struct code_copy all[COPIES];
};

/* 0 or -errno. */
int copies_create(struct copies *copies);
void copies_destroy(struct copies *copies);

/* The copy of gpa's page, or COPIES_NONE. */
unsigned copies_find(const struct copies *copies, uint64_t gpa);
/* Whether there is one of a page in [gpa, last]. Also while the CPU stands still, or is apart. */
bool copies_has_any(const struct copies *copies, uint64_t gpa, uint64_t last);
/* Where the next copy would come: a free place, or that of the copy used longest ago, which must not be mapped any
 * more. */
unsigned copies_place(const struct copies *copies);
/* Put the page's bytes there. They do not run until copies_trap has been there. */
const uint8_t *copies_put(struct copies *copies, unsigned index, uint64_t gpa, const uint8_t *bytes);
void copies_trap(struct copies *copies, unsigned index, const struct scan_traps *traps, unsigned allowed);
void copies_forget(struct copies *copies, unsigned index);
/* It is needed again. */
void copies_use(struct copies *copies, unsigned index);

/* Whether the copy is one of these bytes, at this gpa. */
bool copies_is_same(const struct copies *copies, unsigned index, uint64_t gpa, const uint8_t *bytes,
		    unsigned allowed);

#endif
