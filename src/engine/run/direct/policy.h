/*
 * Whether an address space's code runs directly or translated, by what its stays in ring 3 cost.
 *
 * A stay begins when CPL becomes 3 and ends when it is left; what the border costs is part of it. What
 * is measured with is a crossing: the time from guest code to the monitor and back. All that happens at
 * the border costs one at least, a page that is filled as well as a system call; the translator has none.
 *
 * A new address space is translated: most live for a millisecond, whose crossings (each page is new to its stub)
 * would be dearer than translating it. What lives on runs directly, unless its events took less than their crossings
 * alone would. Where half of the time goes to crossings, or an eighth of several windows with a program that runs
 * long, the same number of system calls and page faults is tried translated, and what took less time goes on; that
 * is asked again, less and less often while the answer stays. Where nearly all of it does, without any of these to
 * compare by, it is translated for a while: memory that is touched for the first time, more pages than a stub can
 * have, and code that is not run directly (scan.h), which is visited often. And so it is where interrupts find it at
 * what is cheaper translated each time (locked.h).
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_POLICY_H
#define KVIK_ENGINE_RUN_DIRECT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_WINDOW 256u /* events that are compared: system calls and the guest's page faults */

enum policy_mode {
	POLICY_NEW,        /* translated: it may end soon */
	POLICY_DIRECT,
	POLICY_WARMS,      /* translated, and not counted: translations are made */
	POLICY_TRIES,      /* translated, counted */
	POLICY_TRANSLATED,
	POLICY_FILLS,      /* directly for once, and not counted: pages come in */
	POLICY_ASKS,       /* directly, counted */
};

/* Why a stay has ended. */
enum policy_end {
	POLICY_EVENT, /* what the program does would bring it about in any tier */
	POLICY_OTHER, /* an interrupt */
};

/* Of one address space; zeroes to begin with. Times are ticks of the host's TSC. */
struct policy {
	enum policy_mode mode;
	uint32_t events;             /* in the present window */
	uint64_t ticks, crossings;   /* that the window took */
	uint64_t direct, translated; /* what one took, the last time */
	uint64_t usual_ticks, usual_crossings; /* of those that ran directly, the last few together */
	uint32_t rest, patience; /* windows until it is asked again, and how many that were the last time */
	uint32_t first;          /* windows at its begin, which cost more than others will */
	uint64_t lived, lived_events; /* all its stays together */
	uint64_t allowance; /* while it is new: ticks for an event, above those of any new one */
	/* Crossings, and visits of code that is not run directly: many at short distances, and all is
	 * translated until `held_until`, the longer the oftener that was so. */
	uint64_t held_until, held_began, hold;
	uint32_t guarded, visits;
	uint64_t guard_began, visits_began;
	uint32_t dear; /* interrupts in a row that found it at what is cheaper translated */
	/* Reading the clock costs what some system calls do: of stays that are far from worth a crossing only each
	 * `step`th is measured, and stands for as many. 0: each is. */
	uint8_t step, skipped;
};

/* Not new: others of its kind live long. */
void policy_begin_direct(struct policy *policy);

/* As the answer of another one was, in whose place it comes. */
void policy_continue(struct policy *policy, const struct policy *before);

/* Whether the stay that begins, in the mode that there is, is one of those that are not measured and end without a
 * note. */
static inline bool policy_skips(struct policy *policy)
{
	if (policy->step == 0)
		return false;
	if (++policy->skipped < policy->step)
		return true;
	policy->skipped = 0;
	return false;
}

/* Behind one that is skipped: how many more are, which are counted as such now. Those that do not come are given back. */
static inline unsigned policy_skip_more(struct policy *policy)
{
	unsigned count = policy->step - 1u - policy->skipped;

	policy->skipped += count;
	return count;
}

static inline void policy_give_back(struct policy *policy, unsigned count)
{
	policy->skipped -= count;
}

/* One that was skipped has ended. By an interrupt, it may have been long: those that come are measured. */
static inline void policy_note_skipped(struct policy *policy, enum policy_end end)
{
	if (end == POLICY_OTHER)
		policy->step = 0;
}

/* How many stays the one that is measured, and ends so, stands for. */
static inline unsigned policy_weight(const struct policy *policy, enum policy_end end)
{
	return policy->step && end == POLICY_EVENT ? policy->step : 1;
}

/* A stay of so many ticks, with so many crossings, has ended. `crossing`: what one costs. */
void policy_note(struct policy *policy, uint64_t ticks, uint64_t crossings, uint64_t crossing,
		 enum policy_end end);

/* A crossing `stay` ticks after the present stay's begin; a visit of code that is not run directly. False: give
 * up until policy_is_direct. */
bool policy_cross(struct policy *policy, uint64_t now, uint64_t stay, uint64_t crossing);
bool policy_visit(struct policy *policy, uint64_t now, uint64_t crossing);
/* An interrupt has found it at what is cheaper translated, or has not. False: likewise. */
bool policy_sample(struct policy *policy, uint64_t now, uint64_t crossing, bool is_dear);

static inline bool policy_is_direct(const struct policy *policy, uint64_t now)
{
	return now >= policy->held_until &&
	       (policy->mode == POLICY_DIRECT || policy->mode >= POLICY_FILLS);
}

#endif
