/*
 * The address spaces that a CPU has run lately, and what is known of each (policy.h).
 *
 * A guest's page tables do not say which address space they belong to, and another gets the same memory for
 * its own soon. Two things tell: the table's entry for the stack that was there at first (threads may have theirs far
 * from it), which is seldom the same again; and the registers with which Linux begins a program, which are all 0
 * but for its stack pointer. Whoever is taken for another runs in the less favourable tier for some milliseconds,
 * and correctly. Of a space that has several threads each is known by itself (threads.h).
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_BOOK_H
#define KVIK_ENGINE_RUN_DIRECT_BOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/direct/experience.h"
#include "engine/run/direct/policy.h"
#include "engine/run/direct/program.h"
#include "engine/run/direct/threads.h"

struct cpu;

#define BOOK_ENTRIES 256u /* a power of two */

struct book_entry {
	uint64_t owner; /* the page tables: CR3 without the PCID */
	uint64_t root;  /* their first entry on the way to the stack of its begin */
	unsigned stack; /* that entry's number */
	uint64_t number; /* of its life, in the book */
	uint64_t area;  /* the variables of the thread whose policy this is; 0: not known yet */
	struct policy policy;
	struct program *program;
	uint64_t first_rip, first_rsp; /* of its first instruction */
	uint64_t hash; /* of the program, whose place another may have taken; 0: nothing is to be told */
	enum habit_life life;
	uint64_t direct, translated; /* ticks of all its threads in ring 3, with what the border cost */
	bool was_long; /* its program has been told that it lives long */
	enum policy_mode told; /* to other CPUs */
};

struct book {
	struct book_entry entries[BOOK_ENTRIES];
	struct programs programs;
	struct threads threads; /* but for the first ones of their spaces */
	uint64_t lives;         /* that have begun */
	struct experiences *experiences; /* the VM's */
	struct book_entry *last; /* the one that was found last, if CR3 has not been loaded since */
};

/* CPL is 3 again: whose stay begins. `crossing`: ticks. Any state of the vector registers. */
struct book_entry *book_find(struct book *book, struct cpu *cpu, uint64_t crossing);
/* Then: the policy of the thread that begins it, until the stay is noted. */
struct policy *book_policy(struct book *book, struct book_entry *entry, const struct cpu *cpu);
/* A stay of so many ticks has ended: directly, with so many crossings, or translated. */
void book_note(struct book *book, struct book_entry *entry, const struct policy *policy, uint64_t ticks, uint64_t crossings,
	       bool was_direct, uint64_t crossing);

/*
 * It has asked its kernel to end it. What its life was like is told now: until the memory of its tables is another's, on
 * this CPU, tens of other lives may begin.
 */
void book_end(struct book *book, struct book_entry *entry, uint64_t crossing);

/* CR3 was loaded. */
static inline void book_switched(struct book *book)
{
	book->last = 0;
}

#endif
