/*
 * Near control transfers: JMP, CALL, RET, Jcc, LOOP, JCXZ (Intel SDM vol. 1 §7.3.8), and XBEGIN,
 * whose transactions always abort here.
 *
 * A branch assigns cpu->next_rip. In 64-bit mode the target must be canonical, elsewhere it is cut
 * to the operand size and must lie within CS's limit; #GP(0) is the branch's own fault.
 */
#include "engine/x86/instructions/stack.h"

ALWAYS_INLINE uint64_t branch_check(struct cpu *cpu, const struct insn *insn, uint64_t target)
{
	if (__builtin_expect(insn->operand_size == 2, 0))
		target = (uint16_t)target;
	if (cpu_is_64(cpu)) {
		if (__builtin_expect(!cpu_is_canonical(target), 0))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		return target;
	}
	target = (uint32_t)target;
	if (__builtin_expect(target > cpu->segment[CPU_CS].limit, 0))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	return target;
}

ALWAYS_INLINE void branch_relative(struct cpu *cpu, const struct insn *insn)
{
	cpu->next_rip = branch_check(cpu, insn, cpu->next_rip + (uint64_t)insn->immediate);
}

#define JCC(condition)                                                                             \
	static void jcc_##condition(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		if (condition_holds(cpu, condition))                                               \
			branch_relative(cpu, insn);                                                \
	}

JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)

static void jmp_relative(struct cpu *cpu, const struct insn *insn)
{
	branch_relative(cpu, insn);
}

static void jmp_register(struct cpu *cpu, const struct insn *insn)
{
	cpu->next_rip = branch_check(cpu, insn, *(uint64_t *)INSN_GPR(cpu, insn, 0));
}

ALWAYS_INLINE uint64_t load_target(struct cpu *cpu, const struct insn *insn)
{
	switch (insn->operand_size) {
	case 2: return operand_load(cpu, insn, 2);
	case 4: return operand_load(cpu, insn, 4);
	default: return operand_load(cpu, insn, 8);
	}
}

static void jmp_memory(struct cpu *cpu, const struct insn *insn)
{
	cpu->next_rip = branch_check(cpu, insn, load_target(cpu, insn));
}

ALWAYS_INLINE void call(struct cpu *cpu, const struct insn *insn, uint64_t target)
{
	target = branch_check(cpu, insn, target);
	switch (insn->stack_width) {
	case 2: stack_push(cpu, cpu->next_rip, 2); break;
	case 4: stack_push(cpu, cpu->next_rip, 4); break;
	default: stack_push(cpu, cpu->next_rip, 8); break;
	}
	cpu->next_rip = target;
}

static void call_relative(struct cpu *cpu, const struct insn *insn)
{
	call(cpu, insn, cpu->next_rip + (uint64_t)insn->immediate);
}

static void call_register(struct cpu *cpu, const struct insn *insn)
{
	call(cpu, insn, *(uint64_t *)INSN_GPR(cpu, insn, 0));
}

static void call_memory(struct cpu *cpu, const struct insn *insn)
{
	call(cpu, insn, load_target(cpu, insn));
}

/* The immediate, if any, is what the callee's arguments take. */
static void ret(struct cpu *cpu, const struct insn *insn)
{
	uint64_t target;

	switch (insn->stack_width) {
	case 2: target = stack_top(cpu, 2); break;
	case 4: target = stack_top(cpu, 4); break;
	default: target = stack_top(cpu, 8); break;
	}
	cpu->next_rip = branch_check(cpu, insn, target);
	stack_skip(cpu, insn->stack_width + (uint16_t)insn->immediate);
}

static insn_handler *bind_branch(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static insn_handler *const handlers[2][3] = {
		{jmp_relative, jmp_register, jmp_memory},
		{call_relative, call_register, call_memory},
	};

	(void)decoded;
	switch (insn->kind[0]) {
	case INSN_OPERAND_RELATIVE: return handlers[row->argument][0];
	case INSN_OPERAND_REGISTER: return handlers[row->argument][1];
	case INSN_OPERAND_MEMORY: return handlers[row->argument][2];
	default: return NULL;
	}
}

/* -- LOOP and JCXZ: the count register has the address size -- */

ALWAYS_INLINE void loop(struct cpu *cpu, const struct insn *insn, bool condition)
{
	unsigned size = insn->address_size;
	uint64_t count = truncate_to(cpu->gpr[CPU_RCX] - 1, size);

	if (count && condition)
		branch_relative(cpu, insn);
	register_write(&cpu->gpr[CPU_RCX], count, size);
}

static void loop_always(struct cpu *cpu, const struct insn *insn)
{
	loop(cpu, insn, true);
}

static void loope(struct cpu *cpu, const struct insn *insn)
{
	loop(cpu, insn, cpu->rflags & RFLAGS_ZF);
}

static void loopne(struct cpu *cpu, const struct insn *insn)
{
	loop(cpu, insn, !(cpu->rflags & RFLAGS_ZF));
}

/* On AMD's processors the last of F2 and F3 says which of the two it is, whatever the opcode. */
static insn_handler *bind_loop(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	if (decoded->rules->is_amd && (insn->prefixes & INSN_REP))
		return loope;
	if (decoded->rules->is_amd && (insn->prefixes & INSN_REPNE))
		return loopne;
	return row->mnemonic == ZYDIS_MNEMONIC_LOOPE ? loope : loopne;
}

static void jcxz(struct cpu *cpu, const struct insn *insn)
{
	if (!truncate_to(cpu->gpr[CPU_RCX], insn->address_size))
		branch_relative(cpu, insn);
}

/* Outside transactions it does nothing, and there are none (SDM vol. 1 §16.3). */
static void xabort(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_JO, 1, .execute = jcc_0, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNO, 1, .execute = jcc_1, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JB, 1, .execute = jcc_2, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNB, 1, .execute = jcc_3, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JZ, 1, .execute = jcc_4, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNZ, 1, .execute = jcc_5, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JBE, 1, .execute = jcc_6, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNBE, 1, .execute = jcc_7, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JS, 1, .execute = jcc_8, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNS, 1, .execute = jcc_9, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JP, 1, .execute = jcc_10, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNP, 1, .execute = jcc_11, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JL, 1, .execute = jcc_12, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNL, 1, .execute = jcc_13, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JLE, 1, .execute = jcc_14, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JNLE, 1, .execute = jcc_15, .class = INSN_JUMP_IF},
	{ZYDIS_MNEMONIC_JMP, 1, .argument = 0, .bind = bind_branch, .class = INSN_JUMP},
	{ZYDIS_MNEMONIC_CALL, 1, .argument = 1, .bind = bind_branch, .class = INSN_CALL},
	{ZYDIS_MNEMONIC_RET, 1, .execute = ret, .class = INSN_RETURN},
	{ZYDIS_MNEMONIC_LOOP, 1, .execute = loop_always, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_LOOPE, 1, .bind = bind_loop, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_LOOPNE, 1, .bind = bind_loop, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_JCXZ, 1, .execute = jcxz, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_JECXZ, 1, .execute = jcxz, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_JRCXZ, 1, .execute = jcxz, .class = INSN_JUMP_COUNT},
	{ZYDIS_MNEMONIC_XABORT, .execute = xabort},
};

const struct isa_table isa_branch = {rows, sizeof(rows) / sizeof(rows[0])};
