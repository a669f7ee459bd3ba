/*
 * Operands and flags, as the general instructions' handlers use them.
 *
 * Flags are never modelled: handlers execute the same operation on the host and take its flags with
 * LAHF and SETO. `ax` below is their form in between: SF, ZF, AF, PF, CF in AH as LAHF has them, OF
 * in AL as 0 or 1. FLAGS_IN gives the guest's flags to the host where an operation reads some or
 * leaves some alone (undefined ones included: what the host does with them is right).
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_OPERAND_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_OPERAND_H

#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define FLAGS_IN    "addb $127, %%al\n\tsahf\n\t"
#define FLAGS_IN_AH "sahf\n\t" /* all but OF */
#define FLAGS_OUT   "\n\tlahf\n\tseto %%al"

/* Only bytes 0 and 1 of RFLAGS are touched: narrow stores keep instructions independent. */
ALWAYS_INLINE unsigned flags_pack(const struct cpu *cpu)
{
	const uint8_t *rflags = (const uint8_t *)&cpu->rflags;

	return (unsigned)rflags[0] << 8 | (rflags[1] >> 3 & 1);
}

ALWAYS_INLINE void flags_unpack(struct cpu *cpu, unsigned ax)
{
	uint8_t *rflags = (uint8_t *)&cpu->rflags;

	rflags[0] = (uint8_t)(ax >> 8);
	rflags[1] = (uint8_t)((rflags[1] & ~8u) | (ax & 1) << 3);
}

/* Condition codes 0..15 of Jcc, SETcc, CMOVcc (Intel SDM vol. 1 appendix B). */
ALWAYS_INLINE bool condition_holds(const struct cpu *cpu, unsigned condition)
{
	const uint8_t *rflags = (const uint8_t *)&cpu->rflags;
	bool holds;

	switch (condition >> 1) {
	case 0: holds = rflags[1] & 8; break;                               /* O */
	case 1: holds = rflags[0] & 1; break;                               /* B */
	case 2: holds = rflags[0] & 0x40; break;                            /* Z */
	case 3: holds = rflags[0] & 0x41; break;                            /* BE */
	case 4: holds = rflags[0] & 0x80; break;                            /* S */
	case 5: holds = rflags[0] & 4; break;                               /* P */
	case 6: holds = (rflags[0] >> 7 ^ rflags[1] >> 3) & 1; break;       /* L */
	default:                                                            /* LE */
		holds = ((rflags[0] >> 7 ^ rflags[1] >> 3) & 1) | (rflags[0] & 0x40);
		break;
	}
	return holds ^ (condition & 1);
}

/* General registers: operand n of the instruction. Writing 32 bits clears the upper half. */
ALWAYS_INLINE uint64_t gpr_read(const struct cpu *cpu, const struct insn *insn, unsigned n,
				unsigned size)
{
	const void *reg = (const uint8_t *)cpu->gpr + insn->reg[n];

	switch (size) {
	case 1: return *(const uint8_t *)reg;
	case 2: return *(const uint16_t *)reg;
	case 4: return *(const uint32_t *)reg;
	default: return *(const uint64_t *)reg;
	}
}

ALWAYS_INLINE void register_write(void *reg, uint64_t value, unsigned size)
{
	switch (size) {
	case 1: *(uint8_t *)reg = (uint8_t)value; break;
	case 2: *(uint16_t *)reg = (uint16_t)value; break;
	case 4: *(uint64_t *)reg = (uint32_t)value; break;
	default: *(uint64_t *)reg = value; break;
	}
}

ALWAYS_INLINE void gpr_write(struct cpu *cpu, const struct insn *insn, unsigned n, uint64_t value,
			     unsigned size)
{
	register_write(INSN_GPR(cpu, insn, n), value, size);
}

/* Zero-extended value of `size` bytes. */
ALWAYS_INLINE uint64_t truncate_to(uint64_t value, unsigned size)
{
	switch (size) {
	case 1: return (uint8_t)value;
	case 2: return (uint16_t)value;
	case 4: return (uint32_t)value;
	default: return value;
	}
}

/* The memory operand. */
ALWAYS_INLINE uint64_t operand_linear(struct cpu *cpu, const struct insn *insn, unsigned size,
				      bool is_write)
{
	return segment_linear(cpu, insn->segment, mem_offset(cpu, insn), size, is_write);
}

ALWAYS_INLINE uint64_t operand_load(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	return lin_read(cpu, operand_linear(cpu, insn, size, false), size, insn->segment);
}

ALWAYS_INLINE void operand_store(struct cpu *cpu, const struct insn *insn, uint64_t value,
				 unsigned size)
{
	lin_write(cpu, operand_linear(cpu, insn, size, true), value, size, insn->segment);
}

/* Operand n, register or memory. */
ALWAYS_INLINE uint64_t operand_read(struct cpu *cpu, const struct insn *insn, unsigned n,
				    unsigned size)
{
	return insn->kind[n] == INSN_OPERAND_MEMORY ? operand_load(cpu, insn, size)
						    : gpr_read(cpu, insn, n, size);
}

/* Operand n, register, memory or immediate. */
ALWAYS_INLINE uint64_t source_read(struct cpu *cpu, const struct insn *insn, unsigned n,
				   unsigned size)
{
	return insn->kind[n] == INSN_OPERAND_IMMEDIATE ? (uint64_t)insn->immediate
						       : operand_read(cpu, insn, n, size);
}

ALWAYS_INLINE void operand_write(struct cpu *cpu, const struct insn *insn, unsigned n,
				 uint64_t value, unsigned size)
{
	if (insn->kind[n] == INSN_OPERAND_MEMORY)
		operand_store(cpu, insn, value, size);
	else
		gpr_write(cpu, insn, n, value, size);
}

/*
 * A memory operand that is read and then written. `pointer` is where to operate directly, or NULL:
 * then read and write it with modify_read and modify_write. Faults are those of a write, and all
 * page faults have been raised. LOCK makes the slow way exclusive, and takes it across cache lines: there
 * the host's own LOCK would stop all of the host's CPUs for a while, or raise SIGBUS where its
 * kernel does not put up with that (split_lock_detect).
 */
struct modify {
	void *pointer;
	uint64_t gva;
	bool began;
};

ALWAYS_INLINE bool is_split(uint64_t gva, unsigned size)
{
	return (gva & 63) + size > 64;
}

ALWAYS_INLINE struct modify modify_begin_at(struct cpu *cpu, const struct insn *insn, uint64_t gva,
					    unsigned size)
{
	struct modify modify = {.gva = gva};

	modify.pointer = lin_pointer(cpu, gva, size, true, insn->segment);
	if (!(insn->prefixes & INSN_LOCK))
		return modify;
	if (__builtin_expect(!modify.pointer || is_split(gva, size), 0)) {
		modify.pointer = NULL;
		modify.began = cpu_exclusive_begin(cpu);
	}
	return modify;
}

ALWAYS_INLINE struct modify modify_begin(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	return modify_begin_at(cpu, insn, operand_linear(cpu, insn, size, true), size);
}

ALWAYS_INLINE uint64_t modify_read(struct cpu *cpu, const struct insn *insn,
				   const struct modify *modify, unsigned size)
{
	return lin_read(cpu, modify->gva, size, insn->segment);
}

ALWAYS_INLINE void modify_write(struct cpu *cpu, const struct insn *insn,
				const struct modify *modify, uint64_t value, unsigned size)
{
	lin_write(cpu, modify->gva, value, size, insn->segment);
	if (modify->began)
		cpu_exclusive_end(cpu);
}

/* The index of a size in tables of handlers: 1, 2, 4, 8 bytes are 0, 1, 2, 3. */
static inline unsigned size_index(unsigned size)
{
	return (unsigned)__builtin_ctz(size) & 3;
}

#endif
