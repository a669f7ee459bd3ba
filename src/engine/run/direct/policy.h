/*
 * Whether an address space's code runs directly or translated, by what its stays in ring 3 cost.
 *
 * A stay begins when CPL becomes 3 and ends when it is left; what the border costs is part of it. Code
 * that stays for long runs directly. Where stays are short, the same number of them is tried translated, and
 * what took less time goes on; that is asked again, less and less often while the answer is the same. So
 * a program that makes one system call after the other pays the border for a millisecond, and not for good.
 * Code that is not run directly (scan.h) has a border of its own, which no stay shows: who visits it often
 * is translated for a while.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_POLICY_H
#define KVIK_ENGINE_RUN_DIRECT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_WINDOW 256u /* stays that are compared */

enum policy_mode {
	POLICY_DIRECT,
	POLICY_WARMS,      /* translated, and not counted: translations are made */
	POLICY_TRIES,      /* translated, counted */
	POLICY_TRANSLATED,
	POLICY_ASKS,       /* directly for once */
};

/* Of one address space; zeroes to begin with. */
struct policy {
	uint64_t owner;          /* the page tables that all this is about */
	enum policy_mode mode;
	uint32_t stays;          /* that system calls ended, in the present window */
	uint32_t others;
	uint64_t ticks;          /* of the host's TSC that they took */
	uint64_t direct, translated; /* what a window took, the last time */
	/* Visits of code that is not run directly: many at short distances, and all is translated until
	 * this time (host TSC), the longer the oftener that was so. */
	uint64_t held_until, visits_began, hold;
	uint32_t visits;
	uint32_t rest, patience; /* windows until it is asked again, and how many that were the last time */
};

/*
 * A stay of so many ticks has ended, by a system call or otherwise (`is_call`). `short_ticks`: stays below
 * this are short. Faults are no reason to translate: where there are many, code is new.
 */
void policy_note(struct policy *policy, uint64_t ticks, uint64_t short_ticks, bool is_call);

/* A visit of code that is not run directly. False: give up until policy_is_direct. */
bool policy_visit(struct policy *policy, uint64_t now, uint64_t short_ticks);

static inline bool policy_is_direct(const struct policy *policy, uint64_t now)
{
	return now >= policy->held_until && (policy->mode == POLICY_DIRECT || policy->mode == POLICY_ASKS);
}

#endif
