/*
 * PUSH, POP, PUSHA, POPA, ENTER, LEAVE (Intel SDM vol. 1 §6.2, §6.5, §7.3.1.5). Segment registers
 * are pushed and popped by isa_segment.c.
 */
#include "engine/x86/instructions/stack.h"

#define STACK_SIZE(size)                                                                           \
	static void push_register##size(struct cpu *cpu, const struct insn *insn)                  \
	{                                                                                          \
		stack_push(cpu, gpr_read(cpu, insn, 0, size), size);                               \
	}                                                                                          \
	static void push_memory##size(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		stack_push(cpu, operand_load(cpu, insn, size), size);                              \
	}                                                                                          \
	static void push_immediate##size(struct cpu *cpu, const struct insn *insn)                 \
	{                                                                                          \
		stack_push(cpu, (uint64_t)insn->immediate, size);                                  \
	}                                                                                          \
	static void pop_register##size(struct cpu *cpu, const struct insn *insn)                   \
	{                                                                                          \
		uint64_t value = stack_top(cpu, size);                                             \
                                                                                                   \
		stack_skip(cpu, size);                                                             \
		gpr_write(cpu, insn, 0, value, size);                                              \
	}                                                                                          \
	/* An address based on rSP uses its value after the pop. */                                \
	static void pop_memory##size(struct cpu *cpu, const struct insn *insn)                     \
	{                                                                                          \
		uint64_t value = stack_top(cpu, size), offset = mem_offset(cpu, insn);             \
                                                                                                   \
		if (insn->base == CPU_RSP)                                                         \
			offset = truncate_to(offset + size, insn->address_size);                   \
		mem_write(cpu, insn->segment, offset, value, size);                                \
		stack_skip(cpu, size);                                                             \
	}

STACK_SIZE(2)
STACK_SIZE(4)
STACK_SIZE(8)

static insn_handler *bind_stack(struct insn *insn, const struct decoded *decoded,
				const struct isa_row *row)
{
	static insn_handler *const push[3][3] = {
		{push_register2, push_register4, push_register8},
		{push_memory2, push_memory4, push_memory8},
		{push_immediate2, push_immediate4, push_immediate8},
	};
	static insn_handler *const pop[2][3] = {
		{pop_register2, pop_register4, pop_register8},
		{pop_memory2, pop_memory4, pop_memory8},
	};
	unsigned size = size_index(insn->stack_width) - 1, form;

	(void)decoded;
	switch (insn->kind[0]) {
	case INSN_OPERAND_REGISTER: form = 0; break;
	case INSN_OPERAND_MEMORY: form = 1; break;
	case INSN_OPERAND_IMMEDIATE: form = 2; break;
	default: return NULL;
	}
	if (row->mnemonic == ZYDIS_MNEMONIC_PUSH)
		return push[form][size];
	return form < 2 ? pop[form][size] : NULL;
}

ALWAYS_INLINE uint64_t stack_read(struct cpu *cpu, uint64_t sp, unsigned size)
{
	sp = stack_wrap(cpu, sp);
	switch (size) {
	case 2: return mem_read(cpu, CPU_SS, sp, 2);
	case 4: return mem_read(cpu, CPU_SS, sp, 4);
	default: return mem_read(cpu, CPU_SS, sp, 8);
	}
}

ALWAYS_INLINE void stack_write(struct cpu *cpu, uint64_t sp, uint64_t value, unsigned size)
{
	sp = stack_wrap(cpu, sp);
	switch (size) {
	case 2: mem_write(cpu, CPU_SS, sp, value, 2); break;
	case 4: mem_write(cpu, CPU_SS, sp, value, 4); break;
	default: mem_write(cpu, CPU_SS, sp, value, 8); break;
	}
}

static void pusha(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->stack_width;
	uint64_t sp = cpu->gpr[CPU_RSP];

	for (unsigned i = CPU_RAX; i <= CPU_RDI; i++) {
		sp -= size;
		stack_write(cpu, sp, cpu->gpr[i], size);
	}
	stack_set_pointer(cpu, stack_wrap(cpu, sp));
}

static void popa(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->stack_width;
	uint64_t values[8];

	for (unsigned i = 0; i < 8; i++)
		values[i] = stack_read(cpu, cpu->gpr[CPU_RSP] + i * size, size);
	for (unsigned i = 0; i < 8; i++)
		if (7 - i != CPU_RSP)
			register_write(&cpu->gpr[7 - i], values[i], size);
	stack_skip(cpu, 8 * size);
}

/* The display of enclosing frames is copied for nesting levels above 1. */
static void enter(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->stack_width, level = insn->immediate2 & 31;
	uint64_t sp = cpu->gpr[CPU_RSP] - size, bp = cpu->gpr[CPU_RBP], frame;

	stack_write(cpu, sp, bp, size);
	/* The frame pointer is all of rSP, also the part that a narrow stack leaves alone. */
	frame = stack_wrap(cpu, sp) | (cpu->gpr[CPU_RSP] & ~stack_wrap(cpu, UINT64_MAX));
	for (unsigned i = 1; i < level; i++) {
		uint64_t display;

		bp -= size;
		display = stack_read(cpu, bp, size);
		sp -= size;
		stack_write(cpu, sp, display, size);
	}
	if (level) {
		sp -= size;
		stack_write(cpu, sp, frame, size);
	}
	sp = stack_wrap(cpu, sp - (uint16_t)insn->immediate);
	/* The new top must be writable (SDM vol. 2, ENTER). */
	lin_pointer(cpu, segment_linear(cpu, CPU_SS, sp, size, true), size, true, CPU_SS);
	register_write(&cpu->gpr[CPU_RBP], frame, size);
	stack_set_pointer(cpu, sp);
}

static void leave(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->stack_width;
	uint64_t bp = stack_read(cpu, cpu->gpr[CPU_RBP], size);

	stack_set_pointer(cpu, stack_wrap(cpu, cpu->gpr[CPU_RBP] + size));
	register_write(&cpu->gpr[CPU_RBP], bp, size);
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_PUSH, .bind = bind_stack, .class = INSN_PUSHED},
	{ZYDIS_MNEMONIC_POP, .bind = bind_stack, .class = INSN_POPPED},
	{ZYDIS_MNEMONIC_PUSHA, .execute = pusha},
	{ZYDIS_MNEMONIC_PUSHAD, .execute = pusha},
	{ZYDIS_MNEMONIC_POPA, .execute = popa},
	{ZYDIS_MNEMONIC_POPAD, .execute = popa},
	{ZYDIS_MNEMONIC_ENTER, .execute = enter},
	{ZYDIS_MNEMONIC_LEAVE, .execute = leave, .class = INSN_LEFT},
};

const struct isa_table isa_stack = {rows, sizeof(rows) / sizeof(rows[0])};
