/*
 * The decoder's side doors.
 */
#ifndef KVIK_ENGINE_X86_DECODE_DECODE_H
#define KVIK_ENGINE_X86_DECODE_DECODE_H

#include "engine/x86/decode/insn.h"

#define INSN_LENGTH_MAX 15 /* bytes (Intel SDM vol. 2 §2.3.11) */

/* Zydis as it decodes for `mode` (enum cpu_mode). */
const ZydisDecoder *insn_decoder(uint32_t mode, const struct insn_rules *rules);

/*
 * What insn_decode_form would say of flags and the way on at bytes[0..size), at a lower price and
 * without a handler. False: it cannot be decoded, or is undefined.
 */
struct insn_glance {
	uint32_t traits;           /* INSN_BRANCHES, INSN_PLAIN */
	uint16_t flags_read, flags_written;
	uint8_t length;
};
bool insn_glance(struct insn_glance *glance, const uint8_t *bytes, size_t size, uint32_t mode,
                 const struct insn_rules *rules);

/* What stands for an instruction that cannot be decoded: `length` bytes, `execute` raises. */
void insn_make_bad(struct insn *insn, struct insn_form *form, insn_handler *execute,
                   size_t length);

/* Raises #UD: the handler of every undefined instruction. */
void insn_undefined(struct cpu *cpu, const struct insn *insn);

#endif
