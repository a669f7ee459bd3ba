/* The code that every block shares: the way in, the ways out, and lookups that many make. */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_STUBS_H
#define KVIK_ENGINE_RUN_JIT_EMIT_STUBS_H

#include <stdint.h>

#include "engine/run/jit/frame.h"
#include "engine/x86/cpu.h"
#include "engine/x86/host/code_memory.h"

#define JIT_STUBS_SIZE 32768 /* bytes, at the start of the code's memory */
#define JIT_SLOT_STUBS 8
/* Where in a block's entry 8 * its page's index is (emit_entry). */
#define JIT_ENTRY_PAGE_AT      12
#define JIT_LEAN_ENTRY_PAGE_AT 2
#define JIT_ACCESS_SIZE_MAX 64
#define JIT_ACCESS_STUBS (7 * 8) /* by size, and three bits: lean.c */

/*
 * What the slow stub calls: executes the instruction of the site that would return to `at`. Returns where
 * translated code goes on, JIT_GO_ON, or NULL: leave to the dispatcher.
 */
typedef const uint8_t *jit_fallback(struct cpu *cpu, const uint8_t *at);

/* To the block's entry in frame.spill[2], for cpu->rip, with no pairs. */
#define JIT_GO_ON ((const uint8_t *)1)

/* What has a stub of the string instructions. */
enum jit_string { JIT_STRING_FILL, JIT_STRING_COPY, JIT_STRING_SCAN_WHILE, JIT_STRING_SCAN_UNTIL, JIT_STRINGS };

/* What a lean block is of: a kernel that starts, one that has programs, a program. */
enum jit_heat { JIT_HEAT_START, JIT_HEAT_KERNEL, JIT_HEAT_PROGRAM, JIT_HEAT_KINDS };

/* All executable addresses. */
struct jit_stubs {
	/* Returns the offset of the link that was left through in the cache's data, or 0. */
	uint64_t (*enter)(const uint8_t *code);
	bool counts; /* lookups, as struct jit_options has it */
	uint16_t heat_step[JIT_HEAT_KINDS]; /* what each run of a lean block adds to its heat */
	const uint8_t *exit, *exit_link;
	const uint8_t *slow;         /* called from a site; returns elsewhere, if at all */
	const uint8_t *return_exit;  /* exit to R13 */
	const uint8_t *return_lookup[JIT_JUMP_SETS]; /* return.c */
	const uint8_t *slot_fill[JIT_SLOT_STUBS]; /* slot.c */
	/* lean.c; the last index of many tells whether they keep the flags. */
	const uint8_t *access[JIT_ACCESS_STUBS];
	const uint8_t *poll, *landing, *heat[JIT_HEAT_KINDS];
	const uint8_t *entry[2];          /* by privilege: [1] is the user's */
	const uint8_t *push_return[2][2]; /* by mode: [1] is 32-bit code's */
	const uint8_t *return_load[2];    /* likewise */
	const uint8_t *return_go[JIT_JUMP_SETS];
	const uint8_t *find_jump[JIT_JUMP_SETS][2];
	const uint8_t *string[JIT_STRINGS][4]; /* string.c: by size */
	const uint8_t *system_call, *system_return; /* system_call.c */
};

/* `counts` and `heat_step` are given. */
void jit_build_stubs(struct jit_stubs *stubs, const struct code_memory *memory,
		     jit_fallback *fallback);

/* The number of an access's stub; `size` is a power of 2. */
static inline unsigned access_stub_number(unsigned size, bool is_write, bool aligned, bool keeps_flags)
{
	return (unsigned)__builtin_ctz(size) << 3 | is_write | aligned << 1 | keeps_flags << 2;
}

#endif
