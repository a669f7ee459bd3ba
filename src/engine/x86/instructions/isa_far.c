/*
 * Far JMP, CALL and RET, with call gates and task gates, and software interrupts (Intel SDM vol. 2:
 * JMP, CALL, RET, INT n; vol. 3 §5.8, §20.3).
 */
#include "engine/x86/instructions/isa_iret.h"
#include "engine/x86/privilege.h"
#include "engine/x86/system/transfer.h"

enum {
	TYPE_TSS_16 = 1,
	TYPE_CALL_16 = 4,
	TYPE_TASK_GATE = 5,
	TYPE_TSS = 9,
	TYPE_CALL = 12, /* of 32 bits, or of 64 in IA-32e mode */
};

/* Real and virtual-8086 mode: a selector is 16 times a base. */
static void commit_real(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
	if (cpu->mode & CPU_MODE_VM86)
		segment_load_vm86(&cpu->segment[CPU_CS], selector);
	else
		segment_load_real(&cpu->segment[CPU_CS], selector);
	cpu->next_rip = offset;
	cpu_update_mode(cpu);
}

static void check_real_offset(struct cpu *cpu, uint64_t offset)
{
	if (offset > cpu->segment[CPU_CS].limit)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static uint64_t far_operand(struct cpu *cpu, const struct insn *insn, uint16_t *selector)
{
	unsigned size = insn->operand_size;
	uint64_t offset;

	if (insn->kind[0] == INSN_OPERAND_FAR) {
		*selector = insn->immediate2;
		return truncate_to(insn->immediate, size);
	}
	offset = mem_offset(cpu, insn);
	*selector = mem_read(cpu, insn->segment, offset + size, 2);
	return mem_read(cpu, insn->segment, offset, size);
}

/* A direct transfer at the present privilege; a CALL pushes with the operand size. */
static void transfer_to_code(struct cpu *cpu, uint16_t selector, uint64_t descriptor,
			     uint64_t offset, unsigned size, bool is_call)
{
	struct kvm_segment cs;
	struct stack_frame frame;

	transfer_resolve_code(cpu, selector, descriptor, &cs);
	if (is_call) {
		frame_current(&frame, cpu);
		frame_push(&frame, cpu->segment[CPU_CS].selector, size);
		frame_push(&frame, cpu->next_rip, size);
	}
	transfer_check_offset(cpu, &cs, offset, 0);
	descriptor_set_accessed(cpu, selector, descriptor);
	if (is_call)
		frame_commit(&frame);
	transfer_commit(cpu, &cs, offset);
}

/* CALL to a more privileged level: the TSS's stack, with parameters copied from the old one. */
static void call_inner(struct cpu *cpu, const struct kvm_segment *cs, uint64_t offset,
		       unsigned size, unsigned parameters)
{
	struct stack_frame inner, old;
	uint32_t values[31];

	frame_from_tss(&inner, cpu, cs->dpl, 0, 0);
	frame_current(&old, cpu);
	for (unsigned i = 0; i < parameters; i++)
		values[i] = frame_pop(&old, size);
	frame_push(&inner, cpu->segment[CPU_SS].selector, size);
	frame_push(&inner, cpu->gpr[CPU_RSP], size);
	for (unsigned i = parameters; i-- > 0;)
		frame_push(&inner, values[i], size);
	frame_push(&inner, cpu->segment[CPU_CS].selector, size);
	frame_push(&inner, cpu->next_rip, size);
	transfer_check_offset(cpu, cs, offset, 0);
	frame_commit(&inner);
	transfer_commit(cpu, cs, offset);
}

static void transfer_through_gate(struct cpu *cpu, uint16_t gate_selector, uint64_t gate,
				  bool is_call)
{
	bool is_long = cpu_is_long(cpu);
	bool is_16 = (gate >> 40 & 0xf) == TYPE_CALL_16;
	unsigned size = is_long ? 8 : is_16 ? 2 : 4;
	uint16_t selector = gate >> 16;
	uint32_t error = selector & 0xfffc;
	uint64_t offset = is_16 ? gate & 0xffff : (gate & 0xffff) | gate >> 48 << 16;
	uint64_t descriptor, high;
	struct kvm_segment cs;
	struct stack_frame frame;

	if (is_long) {
		high = descriptor_read_high(cpu, gate_selector);
		if (high >> 40 & 0x1f)
			cpu_raise_error(cpu, EXCEPTION_GP, gate_selector & 0xfffc);
		offset |= high << 32;
	}
	if (segment_is_null(selector))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (!descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	descriptor_unpack(&cs, selector, descriptor);
	if (!cs.s || !(cs.type & 8) || cs.dpl > cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!is_call && !(cs.type & 4) && cs.dpl != cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (is_long && (!cs.l || cs.db))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!cs.present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	descriptor_set_accessed(cpu, selector, descriptor);

	if (is_call && !(cs.type & 4) && cs.dpl < cpu->cpl) {
		cs.selector = (selector & 0xfffc) | cs.dpl;
		call_inner(cpu, &cs, offset, size, is_long ? 0 : gate >> 32 & 0x1f);
		return;
	}
	cs.selector = (selector & 0xfffc) | cpu->cpl;
	if (is_call) {
		frame_current(&frame, cpu);
		frame.is_64 = is_long;
		frame_push(&frame, cpu->segment[CPU_CS].selector, size);
		frame_push(&frame, cpu->next_rip, size);
	}
	transfer_check_offset(cpu, &cs, offset, 0);
	if (is_call)
		frame_commit(&frame);
	transfer_commit(cpu, &cs, offset);
}

static void far_transfer(struct cpu *cpu, const struct insn *insn, bool is_call)
{
	uint16_t selector;
	uint64_t offset = far_operand(cpu, insn, &selector);
	uint32_t error = selector & 0xfffc;
	unsigned type, dpl;
	uint64_t descriptor;

	if (segment_is_null(selector))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (!descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	type = descriptor >> 40 & 0xf;
	dpl = descriptor >> 45 & 3;
	if (descriptor >> 44 & 1) {
		if (!(type & 8))
			cpu_raise_error(cpu, EXCEPTION_GP, error);
		transfer_to_code(cpu, selector, descriptor, offset, insn->operand_size, is_call);
		return;
	}

	if (type != TYPE_CALL && (cpu_is_long(cpu) || (type != TYPE_CALL_16 && type != TYPE_TSS &&
						       type != TYPE_TSS_16 &&
						       type != TYPE_TASK_GATE)))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (dpl < cpu->cpl || dpl < (selector & 3u))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!(descriptor >> 47 & 1))
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	switch (type) {
	case TYPE_CALL:
	case TYPE_CALL_16:
		transfer_through_gate(cpu, selector, descriptor, is_call);
		break;
	case TYPE_TASK_GATE:
		selector = descriptor >> 16;
		/* fall through */
	default:
		task_switch(cpu, selector, is_call ? TASK_CALL : TASK_JUMP, cpu->next_rip, false, 0,
			    0);
	}
}

static void execute_far_jump(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	uint64_t offset;

	if (cpu->mode & CPU_MODE_PROTECTED) {
		far_transfer(cpu, insn, false);
		return;
	}
	offset = far_operand(cpu, insn, &selector);
	check_real_offset(cpu, offset);
	commit_real(cpu, selector, offset);
}

static void execute_far_call(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	uint64_t offset;
	struct stack_frame frame;

	if (cpu->mode & CPU_MODE_PROTECTED) {
		far_transfer(cpu, insn, true);
		return;
	}
	offset = far_operand(cpu, insn, &selector);
	frame_current(&frame, cpu);
	frame_push(&frame, cpu->segment[CPU_CS].selector, insn->operand_size);
	frame_push(&frame, cpu->next_rip, insn->operand_size);
	check_real_offset(cpu, offset);
	frame_commit(&frame);
	commit_real(cpu, selector, offset);
}

static void execute_far_return(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint16_t released = insn->kind[0] == INSN_OPERAND_IMMEDIATE ? insn->immediate : 0;
	struct stack_frame frame, outer;
	struct kvm_segment cs;
	uint16_t selector;
	uint64_t offset;

	frame_current(&frame, cpu);
	offset = frame_pop(&frame, size);
	selector = frame_pop(&frame, size);
	if (!(cpu->mode & CPU_MODE_PROTECTED)) {
		check_real_offset(cpu, offset);
		frame_add(&frame, released);
		frame_commit(&frame);
		commit_real(cpu, selector, offset);
		return;
	}

	transfer_resolve_return(cpu, selector, &cs);
	frame_add(&frame, released);
	if ((selector & 3) > cpu->cpl) {
		uint64_t sp = frame_pop(&frame, size);
		uint16_t ss = frame_pop(&frame, size);

		transfer_return_stack(cpu, &outer, &cs, ss, sp);
		frame_add(&outer, released);
		transfer_check_offset(cpu, &cs, offset, 0);
		frame_commit(&outer);
		transfer_commit(cpu, &cs, offset);
		transfer_drop_segments(cpu);
		cpu_update_mode(cpu);
		return;
	}
	transfer_check_offset(cpu, &cs, offset, 0);
	frame_commit(&frame);
	transfer_commit(cpu, &cs, offset);
}

/* -- software interrupts -- */

/*
 * INT n in virtual-8086 mode with CR4.VME: a clear bit in the TSS's redirection bitmap sends it to
 * the 8086 program's own handler (SDM vol. 3 §20.3.3, table 20-2).
 */
static bool redirect_vm86(struct cpu *cpu, uint8_t vector)
{
	uint16_t map = sys_read(cpu, cpu->tr.base + 102, 2);
	uint64_t byte = map - 32u + vector / 8;
	uint64_t flags = cpu->rflags;
	uint64_t cleared = RFLAGS_TF;
	struct stack_frame frame;
	uint32_t target;

	if (map < 32 || byte > cpu->tr.limit)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (sys_read(cpu, cpu->tr.base + byte, 1) >> vector % 8 & 1)
		return false;

	if (cpu_iopl(cpu) < 3) {
		flags = (flags & ~RFLAGS_IF) | RFLAGS_IOPL;
		if (cpu->rflags & RFLAGS_VIF)
			flags |= RFLAGS_IF;
		cleared |= RFLAGS_VIF;
	} else {
		cleared |= RFLAGS_IF;
	}
	target = lin_read(cpu, vector * 4, 4, CPU_DS);
	frame_current(&frame, cpu);
	frame_push(&frame, flags, 2);
	frame_push(&frame, cpu->segment[CPU_CS].selector, 2);
	frame_push(&frame, cpu->next_rip, 2);
	frame_commit(&frame);
	cpu->rflags &= ~cleared;
	cpu->single_step_pending = false;
	commit_real(cpu, target >> 16, target & 0xffff);
	return true;
}

static void execute_int(struct cpu *cpu, const struct insn *insn)
{
	uint8_t vector = insn->immediate;

	if (cpu->mode & CPU_MODE_VM86) {
		if ((cpu->cr4 & CR4_VME) && redirect_vm86(cpu, vector))
			return;
		if (cpu_iopl(cpu) < 3)
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
	}
	interrupt_deliver(cpu, vector, INTERRUPT_SOFTWARE, false, 0, cpu->next_rip);
}

static void execute_int3(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->run && (cpu->guest_debug & KVM_GUESTDBG_USE_SW_BP))
		debug_exit(cpu, EXCEPTION_BP, 0);
	interrupt_deliver(cpu, EXCEPTION_BP, INTERRUPT_SOFTWARE, false, 0, cpu->next_rip);
}

static void execute_into(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->rflags & RFLAGS_OF)
		interrupt_deliver(cpu, EXCEPTION_OF, INTERRUPT_SOFTWARE, false, 0, cpu->next_rip);
}

static void execute_int1(struct cpu *cpu, const struct insn *insn)
{
	uint64_t held_back = cpu->debug_pending;

	(void)insn;
	interrupt_deliver(cpu, EXCEPTION_DB, INTERRUPT_ICEBP, false, 0, cpu->next_rip);
	/* A data breakpoint that MOV SS held back is told with it: one #DB for both. */
	if (held_back)
		cpu->dr6 = (cpu->dr6 & ~0xfull) | held_back;
	cpu->debug_pending = 0;
}

#define ROW(name, handler) {ZYDIS_MNEMONIC_##name, 1, 0, handler, NULL}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_JMP, 1, .form = ISA_FAR, .execute = execute_far_jump, .class = INSN_JUMP},
	{ZYDIS_MNEMONIC_CALL, 1, .form = ISA_FAR, .execute = execute_far_call, .class = INSN_CALL},
	{ZYDIS_MNEMONIC_RET, 1, .form = ISA_FAR, .execute = execute_far_return, .class = INSN_RETURN},
	ROW(INT, execute_int),
	ROW(INT3, execute_int3),
	ROW(INT1, execute_int1),
	ROW(INTO, execute_into),
	ROW(IRET, execute_iret),
	ROW(IRETD, execute_iret),
	ROW(IRETQ, execute_iret),
};

const struct isa_table isa_far = {rows, sizeof(rows) / sizeof(rows[0])};
