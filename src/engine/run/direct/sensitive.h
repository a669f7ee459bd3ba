/*
 * Instructions that would tell ring 3 what is the host's, or do to the host what the guest's kernel cannot see,
 * without a trap: what they look like, which of them do no harm where they stand, and which stand where no
 * data does.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_SENSITIVE_H
#define KVIK_ENGINE_RUN_DIRECT_SENSITIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/page.h"

struct cpu;

/* What ring 3 may execute all the same. */
enum sensitive_allowed {
	ALLOW_RDTSC = 1 << 0,
	ALLOW_CPUID = 1 << 1, /* it faults */
	ALLOW_PKRU = 1 << 2,  /* RDPKRU and WRPKRU are undefined */
	ALLOW_FSGSBASE = 1 << 5, /* the guest's CR4 allows RDFSBASE and its kin, and the host's does */
	/* Not that: */
	SENSITIVE_CODE32 = 1 << 3, /* it is 32-bit code, of which other instructions are sensitive, too */
	SENSITIVE_RANDOM = 1 << 4, /* RDRAND and RDSEED are, too */
	SENSITIVE_CUT = 1 << 6,    /* the one that the page's end cuts off is one by its other half: sensitive_is_cut */
};

/* Whether the instruction at bytes[at], cut off at the page's end or not, is one; `allowed` is of enum
 * sensitive_allowed. *escape: where its byte 0F, 8C or 8E is, behind its prefixes. */
bool sensitive_begins(const uint8_t *bytes, unsigned at, unsigned allowed, unsigned *escape);

/* Whether one may go on in the next page; and whether one does, whose first bytes are `next`, SENSITIVE_AHEAD of them. */
#define SENSITIVE_AHEAD 16u
bool sensitive_may_be_cut(const uint8_t *bytes, unsigned allowed);
bool sensitive_is_cut(const uint8_t *bytes, const uint8_t *next, unsigned allowed);

/* Whether any byte begins one: most pages have none, and need no decoding. */
bool sensitive_may_begin(const uint8_t *bytes, unsigned allowed);

/* Whether what nobody should see of this one's result is overwritten before it is read. Decodes as the CPU
 * does. */
bool sensitive_is_harmless(struct cpu *cpu, const uint8_t *bytes, unsigned escape, unsigned allowed);

/* Whether it is of a kind that may be a trap instead. */
bool sensitive_is_trappable(const uint8_t *bytes, unsigned escape);

/* Whether it is code by what stands around it, and not bytes of something else that look like it. */
bool sensitive_is_certain(const uint8_t *bytes, unsigned escape);

#endif
