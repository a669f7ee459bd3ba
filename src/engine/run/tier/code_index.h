/*
 * The code index of a VM: where in guest-physical memory somebody has decoded or translated code, and
 * the one way on which that is dropped again.
 *
 * A page has a word whose bits say which of its granules of 64 bytes hold code of any CPU or tier. Who
 * keeps code is a *holder*: the VM's decoded blocks, its translations. How a holder's code stays equal
 * to the bytes that it came from:
 *
 * - Stores by guest CPUs. When a page's first code is announced (code_mark) every CPU drops its write
 *   translations of the page, inside an exclusive section if others than the announcing one have any, so that
 *   stores to it take x86/mmu's slow path from then on. A store that meets a marked granule has code_changed called: every holder drops
 *   what it has of the store's granules, and their bits are cleared. Both sections are beside CPUs that are apart, but where
 *   these could store to the page, or execute a copy of it (vm/exclusive.h).
 * - Memory that goes away, because a slot is deleted or moved: code_gone, for that range and no other.
 * - Anything else (devices, user space) becomes visible to the guest when KVM_RUN is entered, and with an interrupt from
 *   outside the engine. Where user space tells of its writes (engine_tell_writes), what was made of these bytes is
 *   dropped then (code_outside.h). Elsewhere each holder keeps a copy of its code's
 *   bytes and compares it before it runs for the first time in each cpu->code_epoch, which the dispatcher
 *   counts up then. A guest that learns of the write by looking at
 *   memory still has to map the page before it runs what is new there, so holders compare, too, when
 *   its translation for fetches is made (tier.fetch_mapped).
 * - Pages whose code is written again and again are *hot*: their code is not marked. Who executes it
 *   compares it each time, so that stores to the page stay cheap. Heat fades.
 */
#ifndef KVIK_ENGINE_RUN_TIER_CODE_INDEX_H
#define KVIK_ENGINE_RUN_TIER_CODE_INDEX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/run/tier/tier.h"

#define CODE_GRANULE   64u
#define CODE_RUN_SHIFT 21 /* the index grows by 2 MiB of guest memory */
#define CODE_RUN_PAGES (1u << (CODE_RUN_SHIFT - 12))
#define CODE_RUN_HASHES 1024u
#define CODE_OUTSIDE_RANGES 128u
#define CODE_OUTSIDE_BYTES (UINT64_C(64) << 20) /* more is not looked through page by page */
#define CODE_HEAT_LIMIT 64u /* times that a page lost code, from which on it is hot */

/* Who keeps code that was made from guest memory. */
struct code_holder {
	/* Drop all code that has looked at a byte of [gpa, gpa + size - 1]; these are whole granules. Code
	 * under way ends behind its present instruction. Whether there was any. Inside an exclusive section,
	 * with the index's lock held, vector registers free. */
	bool (*drop)(struct code_holder *holder, uint64_t gpa, uint64_t last);
	/* Whether `drop` would not do for a CPU that is apart (vm/exclusive.h): it may execute code of [gpa, last] as it was when
	 * that was made, or write there. Likewise called; NULL: no. */
	bool (*runs_apart)(const struct code_holder *holder, uint64_t gpa, uint64_t last);
	struct code_holder *next; /* the index's */
};

struct code_run {
	uint64_t number; /* gpa >> CODE_RUN_SHIFT */
	struct code_run *_Atomic next;
	_Atomic uint64_t words[CODE_RUN_PAGES];
	_Atomic uint8_t heat[CODE_RUN_PAGES];
	_Atomic uint8_t losses[CODE_RUN_PAGES]; /* as heat, but nothing fades */
	_Atomic uint8_t is_unsettled[CODE_RUN_PAGES]; /* first code is being announced: stores may not see the word yet */
};

struct code_range {
	uint64_t gpa, last;
};

/* See code_outside.h. The lists under the index's lock. */
struct code_outside {
	_Atomic uint32_t told;   /* writes to what code was made of that were listed */
	_Atomic uint32_t obeyed; /* of these, the ones by which code was dropped */
	_Atomic uint32_t doubts; /* times that a write was not listed */
	unsigned count;
	struct code_range ranges[CODE_OUTSIDE_RANGES];
};

/*
 * CPUs that run look runs up without a lock, and add some; they are taken away inside exclusive sections.
 * `lock` guards the two lists, and is a leaf but for what holders lock. Exclusive sections begin before
 * it is taken.
 */
struct code_index {
	struct code_run *_Atomic runs[CODE_RUN_HASHES];
	pthread_mutex_t lock;
	struct code_holder *holders;
	struct tiers *cpus;
	struct code_outside outside;
};

void code_index_init(struct code_index *index);
void code_index_destroy(struct code_index *index); /* without CPUs and holders */

/* A CPU's TLB hears of first code on a page from now on; no longer. Any thread. */
void code_index_add_cpu(struct code_index *index, struct tiers *tiers);
void code_index_remove_cpu(struct code_index *index, struct tiers *tiers);
/* Any thread. */
void code_index_add_holder(struct code_index *index, struct code_holder *holder);
void code_index_remove_holder(struct code_index *index, struct code_holder *holder);

/*
 * Announce decoded or translated code in [gpa, gpa + size), inside one page: stores to it are seen
 * from then on. The host address of the code may have changed afterwards, and its bytes too: they
 * are read, or compared, after this. The CPU's own thread.
 */
void code_mark(struct cpu *cpu, uint64_t gpa, unsigned size);

/*
 * Inside an exclusive section of the CPU's, perhaps beside others, before code of [gpa, last] is dropped: CPUs that are
 * apart and would go on with it stop. Vector registers free.
 */
void code_stop_apart(struct cpu *cpu, uint64_t gpa, uint64_t last);

/* These bytes were written. Inside an exclusive section, or by the only CPU; vector registers free. */
void code_changed(struct code_index *index, uint64_t gpa, unsigned size);

/* Forget all about [gpa, last]: it is memory no longer, or other memory. As code_changed. */
void code_gone(struct code_index *index, uint64_t gpa, uint64_t last);

/* Code that was made of bytes in there may be others': it goes, which is no reason to take the page for hot. As code_changed,
 * but with the lock held. */
void code_forget(struct code_index *index, uint64_t gpa, uint64_t last);

/* Whether code was made of a byte of [gpa, gpa + size), which others than the CPUs have written just now. Any thread. */
bool code_is_made_of(struct code_index *index, uint64_t gpa, uint64_t size);

/* All pages' heat fades by half. A CPU that runs. */
void code_cool(struct code_index *index);

/* -- code_lookup.c: no vector registers, no calls; by a CPU that runs -- */

/* What there is of gpa's 2 MiB, or NULL. */
struct code_run *code_run_find(const struct code_index *index, uint64_t gpa);
/* The granules of gpa's page that hold code. */
uint64_t code_word(const struct code_index *index, uint64_t gpa);
/* How often gpa's page has lost code to stores, up to 255. */
unsigned code_losses(const struct code_index *index, uint64_t gpa);
/* Whether the code of gpa's page changes so often that it is not to be marked. */
bool code_is_hot(const struct code_index *index, uint64_t gpa);

/* The granules of the page of `gpa` that [gpa, gpa + size) touches, as bits; up to the page's end. */
static inline uint64_t code_granules(uint64_t gpa, uint64_t size)
{
	unsigned first = (gpa & 0xfff) / CODE_GRANULE;
	uint64_t last = ((gpa & 0xfff) + size - 1) / CODE_GRANULE;

	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - (last > 63 ? 63 : last)));
}

#endif
