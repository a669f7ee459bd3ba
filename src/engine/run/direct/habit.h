/*
 * Which tier a program's next life begins in, by how its lives have gone.
 *
 * A life in which policy.h has compared the tiers leaves its answer to the next one. Most end before that: of these, whole
 * lives are compared, by what a system call or a page fault took on the average in those that passed in one tier alone. The
 * dearer tier is asked again, less and less often while the answer stays, and by one life at a time: what begins meanwhile
 * on other CPUs does not wait for the answer.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_HABIT_H
#define KVIK_ENGINE_RUN_DIRECT_HABIT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/direct/policy.h"

/* How a life began, which says what its end tells. */
enum habit_life {
	HABIT_FREE, /* policy.h decides: nothing */
	HABIT_DIRECT,
	HABIT_WARMS, /* translated, and not counted: translations are made */
	HABIT_TRANSLATED,
};

/* Of one program; zeroes to begin with. */
struct habit {
	struct policy settled;       /* of the last life that compared; `patience` 0: none has */
	uint64_t direct, translated; /* ticks for an event; 0: not known */
	uint32_t rest, patience;     /* lives until the other tier is asked, and how many these were the last time */
	uint32_t trial;              /* lives until it has answered; 0: it is not asked */
	uint32_t asking;             /* lives since one of these began that has not ended, with it; 0: there is none */
};

/* A life begins with this policy. `lives_long`: it is worth a stub from its first instruction on. */
enum habit_life habit_begin(struct habit *habit, bool lives_long, struct policy *policy);

/* A life that began so has ended, after so many ticks in ring 3 directly and translated. */
void habit_end(struct habit *habit, enum habit_life life, const struct policy *policy, uint64_t direct,
	       uint64_t translated);

#endif
