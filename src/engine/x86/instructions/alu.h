/*
 * Two-operand instructions of the ADD kind, and one-operand ones of the INC kind: a handler for each
 * operation, operand form and size, written once as macros. isa_arithmetic.c and isa_logic.c make
 * their instructions with them.
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_ALU_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_ALU_H

#include "engine/x86/instructions/operand.h"

/* Destination and source. The quiet forms leave the flags alone, where nobody reads them. */
enum alu_form {
	ALU_REGISTER_REGISTER,
	ALU_REGISTER_IMMEDIATE,
	ALU_REGISTER_MEMORY,
	ALU_MEMORY_REGISTER,
	ALU_MEMORY_IMMEDIATE,
	ALU_LOCK,
	ALU_QUIET_REGISTER,
	ALU_QUIET_IMMEDIATE,
	ALU_QUIET_MEMORY,
	ALU_FORMS,
};

typedef insn_handler *alu_handlers[ALU_FORMS][4];

/* The operation on values, on memory and on memory with LOCK; ax: see operand.h. */
#define ALU_OPERATION(op, T, bits, in)                                                             \
	ALWAYS_INLINE T op##_value##bits(unsigned *ax, T a, T b)                                   \
	{                                                                                          \
		__asm__(in #op " %[b], %[a]" FLAGS_OUT                                             \
			: [a] "+r"(a), "+&a"(*ax) : [b] "r"(b) : "cc");                            \
		return a;                                                                          \
	}                                                                                          \
	ALWAYS_INLINE void op##_memory##bits(unsigned *ax, T *p, T b)                              \
	{                                                                                          \
		__asm__ volatile(in #op " %[b], %[p]" FLAGS_OUT                                    \
				 : [p] "+m"(*p), "+&a"(*ax) : [b] "r"(b) : "cc", "memory");        \
	}                                                                                          \
	ALWAYS_INLINE void op##_locked##bits(unsigned *ax, T *p, T b)                              \
	{                                                                                          \
		__asm__ volatile(in "lock " #op " %[b], %[p]" FLAGS_OUT                            \
				 : [p] "+m"(*p), "+&a"(*ax) : [b] "r"(b) : "cc", "memory");        \
	}

#define ALU_REGISTER_FORM(op, T, bits, name, source)                                               \
	static void op##bits##_##name(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		T b = (T)(source);                                                                 \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		a = op##_value##bits(&ax, a, b);                                                   \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}

#define ALU_QUIET_FORM(op, T, bits, name, source, expression)                                      \
	static void op##bits##_quiet_##name(struct cpu *cpu, const struct insn *insn)              \
	{                                                                                          \
		T b = (T)(source);                                                                 \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
                                                                                                   \
		gpr_write(cpu, insn, 0, (T)(expression), sizeof(T));                               \
	}

#define ALU_MEMORY_FORM(op, T, bits, name, source, how)                                            \
	static void op##bits##_##name(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		struct modify modify = modify_begin(cpu, insn, sizeof(T));                         \
		unsigned ax = flags_pack(cpu);                                                     \
		T b = (T)(source);                                                                 \
                                                                                                   \
		if (__builtin_expect(modify.pointer != NULL, 1)) {                                 \
			op##_##how##bits(&ax, modify.pointer, b);                                  \
		} else {                                                                           \
			T a = (T)modify_read(cpu, insn, &modify, sizeof(T));                       \
                                                                                                   \
			a = op##_value##bits(&ax, a, b);                                           \
			modify_write(cpu, insn, &modify, a, sizeof(T));                            \
		}                                                                                  \
		flags_unpack(cpu, ax);                                                             \
	}

#define ALU_SOURCE_LOCK(T)                                                                         \
	(insn->kind[1] == INSN_OPERAND_IMMEDIATE ? (uint64_t)insn->immediate                       \
						 : gpr_read(cpu, insn, 1, sizeof(T)))

#define ALU_SIZE(op, T, bits, in, expression)                                                      \
	ALU_OPERATION(op, T, bits, in)                                                             \
	ALU_REGISTER_FORM(op, T, bits, rr, gpr_read(cpu, insn, 1, sizeof(T)))                      \
	ALU_REGISTER_FORM(op, T, bits, ri, insn->immediate)                                        \
	ALU_REGISTER_FORM(op, T, bits, rm, operand_load(cpu, insn, sizeof(T)))                     \
	ALU_MEMORY_FORM(op, T, bits, mr, gpr_read(cpu, insn, 1, sizeof(T)), memory)                \
	ALU_MEMORY_FORM(op, T, bits, mi, insn->immediate, memory)                                  \
	ALU_MEMORY_FORM(op, T, bits, lock, ALU_SOURCE_LOCK(T), locked)                             \
	ALU_QUIET_FORM(op, T, bits, rr, gpr_read(cpu, insn, 1, sizeof(T)), expression)             \
	ALU_QUIET_FORM(op, T, bits, ri, insn->immediate, expression)                               \
	ALU_QUIET_FORM(op, T, bits, rm, operand_load(cpu, insn, sizeof(T)), expression)

#define ALU_ROW(op, name) {op##8_##name, op##16_##name, op##32_##name, op##64_##name}

/* All handlers of one operation: `in` is FLAGS_IN_AH where it reads CF, `expression` its value. */
#define ALU_DEFINE(op, in, expression)                                                             \
	ALU_SIZE(op, uint8_t, 8, in, expression)                                                   \
	ALU_SIZE(op, uint16_t, 16, in, expression)                                                 \
	ALU_SIZE(op, uint32_t, 32, in, expression)                                                 \
	ALU_SIZE(op, uint64_t, 64, in, expression)                                                 \
	static const alu_handlers op##_handlers = {                                                \
		[ALU_REGISTER_REGISTER] = ALU_ROW(op, rr),                                         \
		[ALU_REGISTER_IMMEDIATE] = ALU_ROW(op, ri),                                        \
		[ALU_REGISTER_MEMORY] = ALU_ROW(op, rm),                                           \
		[ALU_MEMORY_REGISTER] = ALU_ROW(op, mr),                                           \
		[ALU_MEMORY_IMMEDIATE] = ALU_ROW(op, mi),                                          \
		[ALU_LOCK] = ALU_ROW(op, lock),                                                    \
		[ALU_QUIET_REGISTER] = ALU_ROW(op, quiet_rr),                                      \
		[ALU_QUIET_IMMEDIATE] = ALU_ROW(op, quiet_ri),                                     \
		[ALU_QUIET_MEMORY] = ALU_ROW(op, quiet_rm),                                        \
	};

/* CMP and TEST: flags only, memory is only read. */
#define ALU_COMPARE_FORM(op, T, bits, name, first, second)                                         \
	static void op##bits##_##name(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		T a = (T)(first), b = (T)(second);                                                 \
		unsigned ax;                                                                       \
                                                                                                   \
		__asm__(#op " %[b], %[a]" FLAGS_OUT                                                \
			: "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");                              \
		flags_unpack(cpu, ax);                                                             \
	}

#define ALU_COMPARE_SIZE(op, T, bits)                                                              \
	ALU_COMPARE_FORM(op, T, bits, rr, gpr_read(cpu, insn, 0, sizeof(T)),                       \
			 gpr_read(cpu, insn, 1, sizeof(T)))                                        \
	ALU_COMPARE_FORM(op, T, bits, ri, gpr_read(cpu, insn, 0, sizeof(T)), insn->immediate)      \
	ALU_COMPARE_FORM(op, T, bits, rm, gpr_read(cpu, insn, 0, sizeof(T)),                       \
			 operand_load(cpu, insn, sizeof(T)))                                       \
	ALU_COMPARE_FORM(op, T, bits, mr, operand_load(cpu, insn, sizeof(T)),                      \
			 gpr_read(cpu, insn, 1, sizeof(T)))                                        \
	ALU_COMPARE_FORM(op, T, bits, mi, operand_load(cpu, insn, sizeof(T)), insn->immediate)

#define ALU_COMPARE_DEFINE(op)                                                                     \
	ALU_COMPARE_SIZE(op, uint8_t, 8)                                                           \
	ALU_COMPARE_SIZE(op, uint16_t, 16)                                                         \
	ALU_COMPARE_SIZE(op, uint32_t, 32)                                                         \
	ALU_COMPARE_SIZE(op, uint64_t, 64)                                                         \
	static const alu_handlers op##_handlers = {                                                \
		[ALU_REGISTER_REGISTER] = ALU_ROW(op, rr),                                         \
		[ALU_REGISTER_IMMEDIATE] = ALU_ROW(op, ri),                                        \
		[ALU_REGISTER_MEMORY] = ALU_ROW(op, rm),                                           \
		[ALU_MEMORY_REGISTER] = ALU_ROW(op, mr),                                           \
		[ALU_MEMORY_IMMEDIATE] = ALU_ROW(op, mi),                                          \
	};

/* The handler for the operands at hand; NULL when there is none (LOCK CMP is not decoded). */
static inline insn_handler *alu_bind(struct insn *insn, const struct decoded *decoded,
				     const alu_handlers *handlers)
{
	unsigned size = size_index(insn->operand_size);
	enum alu_form form;

	if (insn->prefixes & INSN_LOCK)
		return (*handlers)[ALU_LOCK][size];
	if (insn->kind[0] == INSN_OPERAND_MEMORY)
		form = insn->kind[1] == INSN_OPERAND_IMMEDIATE ? ALU_MEMORY_IMMEDIATE
							       : ALU_MEMORY_REGISTER;
	else if (insn->kind[1] == INSN_OPERAND_MEMORY)
		form = ALU_REGISTER_MEMORY;
	else
		form = insn->kind[1] == INSN_OPERAND_IMMEDIATE ? ALU_REGISTER_IMMEDIATE
							       : ALU_REGISTER_REGISTER;
	if (form <= ALU_REGISTER_MEMORY)
		*decoded->flagless =
			(*handlers)[form - ALU_REGISTER_REGISTER + ALU_QUIET_REGISTER][size];
	return (*handlers)[form][size];
}

/* One operand, read and written. */
enum unary_form { UNARY_REGISTER, UNARY_MEMORY, UNARY_LOCK, UNARY_QUIET, UNARY_FORMS };

typedef insn_handler *unary_handlers[UNARY_FORMS][4];

#define UNARY_SIZE(op, suffix, T, bits, expression)                                                \
	static void op##bits##_r(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN #op " %[a]" FLAGS_OUT : [a] "+r"(a), "+&a"(ax) : : "cc");         \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void op##bits##_quiet(struct cpu *cpu, const struct insn *insn)                     \
	{                                                                                          \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
                                                                                                   \
		gpr_write(cpu, insn, 0, (T)(expression), sizeof(T));                               \
	}                                                                                          \
	UNARY_MEMORY_FORM(op, suffix, T, bits, m, "")                                              \
	UNARY_MEMORY_FORM(op, suffix, T, bits, lock, "lock ")

#define UNARY_MEMORY_FORM(op, suffix, T, bits, name, lock)                                         \
	static void op##bits##_##name(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		struct modify modify = modify_begin(cpu, insn, sizeof(T));                         \
		unsigned ax = flags_pack(cpu);                                                     \
		T *p = modify.pointer, a;                                                          \
                                                                                                   \
		if (__builtin_expect(p != NULL, 1)) {                                              \
			__asm__ volatile(FLAGS_IN lock #op suffix " %[p]" FLAGS_OUT                \
					 : [p] "+m"(*p), "+&a"(ax) : : "cc", "memory");            \
		} else {                                                                           \
			a = (T)modify_read(cpu, insn, &modify, sizeof(T));                         \
			__asm__(FLAGS_IN #op " %[a]" FLAGS_OUT                                     \
				: [a] "+r"(a), "+&a"(ax) : : "cc");                                \
			modify_write(cpu, insn, &modify, a, sizeof(T));                            \
		}                                                                                  \
		flags_unpack(cpu, ax);                                                             \
	}

#define UNARY_DEFINE(op, expression)                                                               \
	UNARY_SIZE(op, "b", uint8_t, 8, expression)                                                \
	UNARY_SIZE(op, "w", uint16_t, 16, expression)                                              \
	UNARY_SIZE(op, "l", uint32_t, 32, expression)                                              \
	UNARY_SIZE(op, "q", uint64_t, 64, expression)                                              \
	static const unary_handlers op##_handlers = {                                              \
		[UNARY_REGISTER] = ALU_ROW(op, r),                                                 \
		[UNARY_MEMORY] = ALU_ROW(op, m),                                                   \
		[UNARY_LOCK] = ALU_ROW(op, lock),                                                  \
		[UNARY_QUIET] = ALU_ROW(op, quiet),                                                \
	};

static inline insn_handler *unary_bind(struct insn *insn, const struct decoded *decoded,
				       const unary_handlers *handlers)
{
	unsigned size = size_index(insn->operand_size);

	if (insn->kind[0] != INSN_OPERAND_MEMORY) {
		*decoded->flagless = (*handlers)[UNARY_QUIET][size];
		return (*handlers)[UNARY_REGISTER][size];
	}
	return (*handlers)[insn->prefixes & INSN_LOCK ? UNARY_LOCK : UNARY_MEMORY][size];
}

#endif
