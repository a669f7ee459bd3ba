/* The code that every block shares: the way in, the ways out, and lookups that many make. */
#ifndef KVIK_ENGINE_JIT_EMIT_STUBS_H
#define KVIK_ENGINE_JIT_EMIT_STUBS_H

#include <stdint.h>

#include "engine/run/jit/frame.h"
#include "engine/x86/cpu.h"
#include "engine/x86/host/code_memory.h"

#define JIT_STUBS_SIZE 16384 /* bytes, at the start of the code's memory */
#define JIT_SLOT_STUBS 8
#define JIT_ENTRY_PAGE_AT 12 /* in a block's entry: 8 * its page's index (emit_entry) */
#define JIT_ACCESS_SIZE_MAX 64
#define JIT_ACCESS_STUBS (7 * 8) /* by size, and three bits: lean.c */

/*
 * What the slow stub calls: executes the instruction of the site that would return to `at`. Returns where
 * translated code goes on, or NULL: leave to the dispatcher.
 */
typedef const uint8_t *jit_fallback(struct cpu *cpu, const uint8_t *at);

/* All executable addresses. */
struct jit_stubs {
	void *(*enter)(const uint8_t *code); /* returns the link that was left through, or NULL */
	const uint8_t *exit, *exit_link;
	const uint8_t *slow;         /* called from a site; returns elsewhere, if at all */
	const uint8_t *go_on;        /* to the block's entry in frame.spill[2], for cpu->rip, with no pairs */
	const uint8_t *return_exit;  /* exit to R13 */
	const uint8_t *return_lookup[JIT_JUMP_SETS]; /* return.c */
	const uint8_t *slot_fill[JIT_SLOT_STUBS]; /* slot.c */
	const uint8_t *access[JIT_ACCESS_STUBS];  /* lean.c */
	const uint8_t *string[2][4]; /* string.c: STOS and MOVS, by size */
};

void jit_build_stubs(struct jit_stubs *stubs, const struct code_memory *memory,
		     jit_fallback *fallback);

#endif
