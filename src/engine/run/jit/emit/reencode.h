/*
 * Copying a guest instruction as a host instruction, with its registers renamed and its memory
 * operand redirected.
 */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_REENCODE_H
#define KVIK_ENGINE_RUN_JIT_EMIT_REENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/jit/emit/emitter.h"
#include "engine/x86/decode/insn.h"

/* Which encoding fields of an instruction name general registers, and what the renaming is. */
struct reencode {
	uint8_t map[16];      /* guest register number -> host register */
	struct host_memory memory; /* the redirected memory operand */
	bool without_lock;         /* leave the LOCK prefix out */
};

/* Emit the copy of the instruction at `bytes`. False when this combination has no encoding (AH with a
 * REX prefix). */
bool reencode_emit(struct emitter *e, const struct insn *insn, const struct insn_form *form,
		   const uint8_t *bytes, const struct reencode *rename);

#endif
