/*
 * Looks through a page of code, as what the CPU executes at present (64-bit or 32-bit), for instructions that would
 * tell ring 3 what is the host's, or do to the host what the guest's kernel cannot see, without a trap (sensitive.h). Such a page is not run directly as it
 * stands: where they are few, and certainly code, a copy of it runs in which they are traps (copies.h).
 *
 * This is for fidelity alone: a guest that hides such an instruction, in the middle of another or by
 * writing it by another mapping after the scan, learns something of the host's CPU. What it can reach
 * is decided elsewhere (docs/security.md).
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_SCAN_H
#define KVIK_ENGINE_RUN_DIRECT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/direct/sensitive.h"

struct cpu;

#define SCAN_ENTRIES 16384u

enum scan_verdict {
	SCAN_CLEAN,     /* it may run as it stands */
	SCAN_SENSITIVE, /* it may not run directly */
	SCAN_TRAPS_DO,  /* it may with traps */
};

#define SCAN_TRAPS 32u /* ld.so has some 30 CPUIDs in a page */

/* Where in a page the bytes 0F are of instructions that are to be traps. */
struct scan_traps {
	uint32_t count;
	uint16_t at[SCAN_TRAPS];
};

struct scan_entry {
	uint64_t key;    /* guest-physical page, and in its low bits the verdict and what was allowed */
	uint64_t hash;   /* of its bytes */
	uint64_t sample; /* of some */
	/* 1 + cpu->code_epoch when the bytes were compared, if writes to the page are seen (scan_forget); else 0. */
	uint64_t compared;
};

/* What was found about pages before. */
struct scan_cache {
	struct scan_entry entries[SCAN_ENTRIES];
	uint64_t scans, hits;
};

/* How the page at `bytes`, in which code at gpa is, may run; `allowed` is of enum
 * scan_allowed. `is_marked`: all of it is marked in the code index, so that scan_forget is called when it is written
 * to. The CPU's own thread, vector registers free. */
enum scan_verdict scan_page(struct scan_cache *cache, struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
			    unsigned allowed, bool is_marked);

/* Which traps a page takes of which SCAN_TRAPS_DO was found. False: it does not do, as it is entered now. */
bool scan_find_traps(struct scan_cache *cache, struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
		     unsigned allowed, struct scan_traps *traps);

/* Bytes in [gpa, last] were written. The CPU's own thread, or inside an exclusive section. */
void scan_forget(struct scan_cache *cache, uint64_t gpa, uint64_t last);

/* Whether a page that was found clean at this gpa seems to be still what it was: a look at some of its
 * bytes, for a page that nothing says has changed. */
bool scan_seems_same(const struct scan_cache *cache, const struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
		     unsigned allowed);

#endif
