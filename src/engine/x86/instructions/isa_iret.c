/*
 * IRET, IRETD, IRETQ in every mode (Intel SDM vol. 2, IRET; vol. 3 §7.4 for nested tasks, §20.2.4 and
 * §20.3.3 for virtual-8086 mode).
 */
#include "engine/x86/instructions/isa_iret.h"

#include "engine/x86/privilege.h"
#include "engine/x86/system/transfer.h"

/* What every IRET may change, and what its operand size adds. */
#define FLAGS_BASIC                                                                                \
	(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_DF |       \
	 RFLAGS_OF | RFLAGS_NT)
#define FLAGS_WIDE (RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)

/*
 * RF holds off instruction breakpoints for one instruction. Without any armed it would only send the
 * run loop the slow way after each fault's IRET, so it is not loaded then.
 */
static void load_flags(struct cpu *cpu, uint64_t flags, uint64_t mask)
{
	if (!cpu->code_breakpoints)
		flags &= ~RFLAGS_RF;
	else if (flags & mask & RFLAGS_RF)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
	cpu_write_rflags(cpu, flags, mask);
	cpu->nmi_blocked = false;
	if (cpu->nmis_pending)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

static uint64_t flags_mask(const struct cpu *cpu, unsigned size)
{
	uint64_t mask = FLAGS_BASIC;

	if (size > 2)
		mask |= FLAGS_WIDE;
	if (cpu->cpl <= cpu_iopl(cpu))
		mask |= RFLAGS_IF;
	if (cpu->cpl == 0) {
		mask |= RFLAGS_IOPL;
		if (size > 2)
			mask |= RFLAGS_VIF | RFLAGS_VIP;
	}
	return mask;
}

/* Where an IRET of real or virtual-8086 mode goes, once its frame is committed. */
struct way_back {
	struct stack_frame frame;
	uint64_t offset, flags;
	uint16_t selector;
};

static void pop_way_back(struct cpu *cpu, unsigned size, struct way_back *back)
{
	frame_current(&back->frame, cpu);
	back->offset = frame_pop(&back->frame, size);
	back->selector = frame_pop(&back->frame, size);
	back->flags = frame_pop(&back->frame, size);
	if (back->offset > cpu->segment[CPU_CS].limit)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static void iret_real(struct cpu *cpu, unsigned size)
{
	uint64_t mask = FLAGS_BASIC | RFLAGS_IF | RFLAGS_IOPL;
	struct way_back back;

	pop_way_back(cpu, size, &back);
	if (size > 2)
		mask |= FLAGS_WIDE;
	frame_commit(&back.frame);
	segment_load_real(&cpu->segment[CPU_CS], back.selector);
	cpu->next_rip = back.offset;
	cpu_update_mode(cpu);
	load_flags(cpu, back.flags, mask);
}

static void iret_vm86(struct cpu *cpu, unsigned size)
{
	bool is_virtual = cpu_iopl(cpu) < 3;
	uint64_t mask = FLAGS_BASIC;
	struct way_back back;

	if (is_virtual && (!(cpu->cr4 & CR4_VME) || size != 2))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	pop_way_back(cpu, size, &back);
	if (is_virtual) {
		if ((back.flags & RFLAGS_TF) ||
		    ((back.flags & RFLAGS_IF) && (cpu->rflags & RFLAGS_VIP)))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		mask |= RFLAGS_VIF;
		if (back.flags & RFLAGS_IF)
			back.flags |= RFLAGS_VIF;
	} else {
		mask |= RFLAGS_IF;
		if (size > 2)
			mask |= FLAGS_WIDE;
	}
	frame_commit(&back.frame);
	segment_load_vm86(&cpu->segment[CPU_CS], back.selector);
	cpu->next_rip = back.offset;
	cpu_update_mode(cpu);
	load_flags(cpu, back.flags, mask);
}

/* From ring 0 into virtual-8086 mode: the frame that an interrupt out of it left. */
static void iret_to_vm86(struct cpu *cpu, struct stack_frame *frame, uint64_t offset, uint16_t cs,
			 uint64_t flags)
{
	static const uint8_t order[] = {CPU_SS, CPU_ES, CPU_DS, CPU_FS, CPU_GS};
	uint16_t selectors[sizeof(order)];
	uint64_t sp = frame_pop(frame, 4);

	for (unsigned i = 0; i < sizeof(order); i++)
		selectors[i] = frame_pop(frame, 4);
	if (offset > 0xffff)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);

	for (unsigned i = 0; i < sizeof(order); i++)
		segment_load_vm86(&cpu->segment[order[i]], selectors[i]);
	segment_load_vm86(&cpu->segment[CPU_CS], cs);
	cpu->gpr[CPU_RSP] = sp;
	cpu->next_rip = offset;
	load_flags(cpu, flags, RFLAGS_ALL & ~RFLAGS_ONE);
	cpu_update_mode(cpu);
}

static void iret_nested_task(struct cpu *cpu)
{
	uint16_t link;

	if (cpu_is_long(cpu))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	link = sys_read(cpu, cpu->tr.base, 2);
	task_switch(cpu, link, TASK_IRET, cpu->next_rip, false, 0, 0);
	cpu->nmi_blocked = false;
}

static void iret_protected(struct cpu *cpu, unsigned size)
{
	uint64_t mask = flags_mask(cpu, size);
	struct kvm_segment cs;
	struct stack_frame frame, outer;
	uint64_t offset, flags;
	uint16_t selector;
	bool is_outer;

	if (cpu->rflags & RFLAGS_NT) {
		iret_nested_task(cpu);
		return;
	}
	frame_current(&frame, cpu);
	offset = frame_pop(&frame, size);
	selector = frame_pop(&frame, size);
	flags = frame_pop(&frame, size);
	if ((flags & RFLAGS_VM) && size == 4 && cpu->cpl == 0 && !cpu_is_long(cpu)) {
		iret_to_vm86(cpu, &frame, offset, selector, flags);
		return;
	}

	transfer_resolve_return(cpu, selector, &cs);
	is_outer = (selector & 3) > cpu->cpl;
	if (is_outer || cpu_is_64(cpu)) {
		uint64_t sp = frame_pop(&frame, size);
		uint16_t ss = frame_pop(&frame, size);

		transfer_return_stack(cpu, &outer, &cs, ss, sp);
		frame = outer;
	}
	transfer_check_offset(cpu, &cs, offset, 0);
	frame_commit(&frame);
	transfer_commit(cpu, &cs, offset);
	if (is_outer) {
		transfer_drop_segments(cpu);
		cpu_update_mode(cpu);
	}
	load_flags(cpu, flags, mask);
}

void execute_iret(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->mode & CPU_MODE_PROTECTED)
		iret_protected(cpu, insn->operand_size);
	else if (cpu->mode & CPU_MODE_VM86)
		iret_vm86(cpu, insn->operand_size);
	else
		iret_real(cpu, insn->operand_size);
}
