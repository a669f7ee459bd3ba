/*
 * Copying a guest instruction as a host instruction, with its registers renamed and its memory
 * operand redirected.
 */
#ifndef KVIK_ENGINE_JIT_EMIT_REENCODE_H
#define KVIK_ENGINE_JIT_EMIT_REENCODE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/run/jit/analyse/copy.h"
#include "engine/run/jit/emit/emitter.h"

/* Which encoding fields of an instruction name general registers, and what the renaming is. */
struct reencode {
	uint8_t map[16];      /* guest register number -> host register */
	struct host_memory memory; /* the redirected memory operand */
	bool without_lock;         /* leave the LOCK prefix out */
};

/* Emit the copy. False when this combination has no encoding (AH with a REX prefix). */
bool reencode_emit(struct emitter *e, const ZydisDecodedInstruction *instruction,
		   const uint8_t *bytes, const struct reencode_info *info,
		   const struct reencode *rename);

#endif
