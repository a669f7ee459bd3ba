/*
 * What the block builder learns from the decoder besides struct insn; internal to src/engine/x86.
 */
#ifndef KVIK_ENGINE_X86_DECODE_H
#define KVIK_ENGINE_X86_DECODE_H

#include "engine/x86/decode/insn.h"

#define INSN_LENGTH_MAX 15 /* bytes (Intel SDM vol. 2 §2.3.11) */

/* OF, SF, ZF, AF, PF, CF in RFLAGS. */
#define FLAGS_ARITHMETIC 0x8d5u

struct insn_effects {
	uint32_t flags_read;    /* of FLAGS_ARITHMETIC */
	uint32_t flags_written; /* of FLAGS_ARITHMETIC, on every path of the instruction */
	bool may_fault;         /* or may look at all of the CPU's state */
	bool writes_memory;
};

/* Zydis as it decodes for `mode` (enum cpu_mode). */
const ZydisDecoder *insn_decoder(uint32_t mode, const struct insn_rules *rules);

/* Whether the guest's CPUID says that it is not there: #UD. */
bool insn_is_hidden(const ZydisDecodedInstruction *instruction, uint32_t mode,
                    const struct insn_rules *rules);

/* As insn_decode; *effects is filled when it returns 0. */
int insn_decode_effects(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                        const struct insn_rules *rules, struct insn_effects *effects);

/* The same of what insn_decoder's decoder has made of the bytes, without an error. */
void insn_describe(struct insn *insn, const struct decoded *decoded, struct insn_effects *effects);

/* Raises #UD: the handler of every undefined instruction. */
void insn_undefined(struct cpu *cpu, const struct insn *insn);

#endif
