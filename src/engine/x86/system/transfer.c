/*
 * Stacks and code segments of control transfers (Intel SDM vol. 3 §5.8, §6.12, §7.2).
 */
#include "engine/x86/system/transfer.h"

#include "engine/x86/mmu/memory.h"

void frame_current(struct stack_frame *frame, struct cpu *cpu)
{
	frame->cpu = cpu;
	frame->ss = cpu->segment[CPU_SS];
	frame->sp = cpu->gpr[CPU_RSP];
	frame->error = 0;
	frame->cpl = cpu->cpl;
	frame->is_64 = cpu_is_64(cpu);
}

/* The stack pointer after a change: its width is the stack segment's. */
static void frame_move(struct stack_frame *frame, uint64_t sp)
{
	if (frame->is_64)
		frame->sp = sp;
	else if (frame->ss.db)
		frame->sp = (uint32_t)sp;
	else
		frame->sp = (frame->sp & ~0xffffull) | (uint16_t)sp;
}

static uint64_t frame_linear(struct stack_frame *frame, unsigned size, bool is_write)
{
	struct cpu *cpu = frame->cpu;
	uint64_t offset = frame->sp;

	if (frame->is_64) {
		if (!cpu_is_canonical(offset) || !cpu_is_canonical(offset + size - 1))
			cpu_raise_error(cpu, EXCEPTION_SS, frame->error);
		return offset;
	}
	if (!frame->ss.db)
		offset = (uint16_t)offset;
	else
		offset = (uint32_t)offset;
	if (cpu->mode & CPU_MODE_PROTECTED) {
		if (!segment_allows(&frame->ss, offset, size, is_write))
			cpu_raise_error(cpu, EXCEPTION_SS, frame->error);
	} else if (frame->cpl == cpu->cpl) {
		/* Real or virtual-8086 mode's own stack: limits only. */
		if (offset + size - 1 > frame->ss.limit)
			cpu_raise_error(cpu, EXCEPTION_SS, frame->error);
	} else if (!segment_allows(&frame->ss, offset, size, is_write)) {
		cpu_raise_error(cpu, EXCEPTION_SS, frame->error);
	}
	return (uint32_t)(frame->ss.base + offset);
}

/* A stack of a more privileged level is accessed with that level's rights. */
static bool frame_is_user(const struct stack_frame *frame)
{
	return frame->cpl == 3;
}

void frame_push(struct stack_frame *frame, uint64_t value, unsigned size)
{
	struct cpu *cpu = frame->cpu;
	uint64_t linear;

	frame_move(frame, frame->sp - size);
	linear = frame_linear(frame, size, true);
	if (frame_is_user(frame) == (cpu->cpl == 3))
		lin_write(cpu, linear, value, size, CPU_SS);
	else
		sys_write(cpu, linear, value, size);
}

uint64_t frame_pop(struct stack_frame *frame, unsigned size)
{
	struct cpu *cpu = frame->cpu;
	uint64_t linear = frame_linear(frame, size, false);
	uint64_t value;

	if (frame_is_user(frame) == (cpu->cpl == 3))
		value = lin_read(cpu, linear, size, CPU_SS);
	else
		value = sys_read(cpu, linear, size);
	frame_move(frame, frame->sp + size);
	return value;
}

void frame_add(struct stack_frame *frame, uint64_t bytes)
{
	frame_move(frame, frame->sp + bytes);
}

void frame_commit(const struct stack_frame *frame)
{
	struct cpu *cpu = frame->cpu;

	cpu->segment[CPU_SS] = frame->ss;
	cpu->gpr[CPU_RSP] = frame->sp;
}

void frame_from_tss(struct stack_frame *frame, struct cpu *cpu, unsigned cpl, unsigned ist,
		    uint32_t external)
{
	const struct kvm_segment *tr = &cpu->tr;
	uint32_t ts_error = (tr->selector & 0xfffc) | external;
	uint64_t address;
	uint16_t selector;

	frame->cpu = cpu;
	frame->cpl = cpl;
	if (cpu->mode & CPU_MODE_LONG) {
		uint32_t offset = ist ? 36 + (ist - 1) * 8 : 4 + cpl * 8;

		if (tr->unusable || offset + 7 > tr->limit)
			cpu_raise_error(cpu, EXCEPTION_TS, ts_error);
		frame->sp = sys_read(cpu, tr->base + offset, 8);
		segment_make_null(&frame->ss, cpl);
		frame->ss.dpl = cpl;
		frame->is_64 = true;
		frame->error = external;
		return;
	}

	frame->is_64 = false;
	if (tr->type & 8) {
		address = cpl * 8 + 4;
		if (tr->unusable || address + 5 > tr->limit)
			cpu_raise_error(cpu, EXCEPTION_TS, ts_error);
		frame->sp = sys_read(cpu, tr->base + address, 4);
		selector = sys_read(cpu, tr->base + address + 4, 2);
	} else {
		address = cpl * 4 + 2;
		if (tr->unusable || address + 3 > tr->limit)
			cpu_raise_error(cpu, EXCEPTION_TS, ts_error);
		frame->sp = sys_read(cpu, tr->base + address, 2);
		selector = sys_read(cpu, tr->base + address + 2, 2);
	}
	segment_resolve_stack(cpu, selector, cpl, EXCEPTION_TS, external, &frame->ss);
	frame->error = (selector & 0xfffc) | external;
}

void transfer_resolve_code(struct cpu *cpu, uint16_t selector, uint64_t descriptor,
			   struct kvm_segment *cs)
{
	uint32_t error = selector & 0xfffc;
	unsigned rpl = selector & 3;

	descriptor_unpack(cs, selector, descriptor);
	if (cs->type & 4) { /* conforming: runs at the caller's level */
		if (cs->dpl > cpu->cpl)
			cpu_raise_error(cpu, EXCEPTION_GP, error);
	} else if (rpl > cpu->cpl || cs->dpl != cpu->cpl) {
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	}
	if (!cs->present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	if (cpu_is_long(cpu) && cs->l && cs->db)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	cs->selector = (selector & 0xfffc) | cpu->cpl;
}

void transfer_resolve_return(struct cpu *cpu, uint16_t selector, struct kvm_segment *cs)
{
	uint32_t error = selector & 0xfffc;
	unsigned rpl = selector & 3;
	uint64_t descriptor;

	if (segment_is_null(selector))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (!descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	descriptor_unpack(cs, selector, descriptor);
	if (!cs->s || !(cs->type & 8) || rpl < cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (cs->type & 4 ? cs->dpl > rpl : cs->dpl != rpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (cpu_is_long(cpu) && cs->l && cs->db)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!cs->present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	descriptor_set_accessed(cpu, selector, descriptor);
}

void transfer_return_stack(struct cpu *cpu, struct stack_frame *frame, const struct kvm_segment *cs,
			   uint16_t selector, uint64_t sp)
{
	unsigned cpl = cs->selector & 3;

	frame->cpu = cpu;
	frame->cpl = cpl;
	frame->error = 0;
	frame->is_64 = cpu_is_long(cpu) && cs->l;
	if (segment_is_null(selector) && frame->is_64 && cpl != 3 && (selector & 3) == cpl) {
		segment_make_null(&frame->ss, selector);
		frame->ss.dpl = cpl;
	} else {
		segment_resolve_stack(cpu, selector, cpl, EXCEPTION_GP, 0, &frame->ss);
	}
	frame->sp = cpu->gpr[CPU_RSP]; /* a 16-bit stack keeps the upper half */
	frame_move(frame, sp);
}

void transfer_check_offset(struct cpu *cpu, const struct kvm_segment *cs, uint64_t offset,
			   uint32_t error)
{
	if (cpu_is_long(cpu) && cs->l ? !cpu_is_canonical(offset) : offset > cs->limit)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
}

void transfer_commit(struct cpu *cpu, const struct kvm_segment *cs, uint64_t offset)
{
	cpu->segment[CPU_CS] = *cs;
	cpu->next_rip = offset;
	cpu_update_mode(cpu);
}

void transfer_drop_segments(struct cpu *cpu)
{
	static const uint8_t data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};

	for (unsigned i = 0; i < sizeof(data); i++) {
		struct kvm_segment *segment = &cpu->segment[data[i]];
		bool is_conforming = (segment->type & 0xc) == 0xc;
		uint64_t base = segment->base;

		if (segment->unusable || is_conforming || segment->dpl >= cpu->cpl)
			continue;
		/* Nothing is loaded: the base stays, and with it what IA32_GS_BASE says. */
		segment_make_null(segment, 0);
		segment->base = base;
	}
}
