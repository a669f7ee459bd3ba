/*
 * Hardware task switches with 16 and 32-bit TSSs (Intel SDM vol. 3 §7.2.1, §7.3, figures 7-2, 7-10).
 *
 * Up to the point of commitment faults belong to the old task; from the loading of the new task's
 * LDT and segments on they belong to the new one, at its first instruction.
 */
#include "engine/x86/system/control.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/paging.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system/transfer.h"

enum {
	TSS32_CR3 = 0x1c, TSS32_EIP = 0x20, TSS32_EFLAGS = 0x24, TSS32_GPR = 0x28,
	TSS32_SEGMENTS = 0x48, TSS32_LDT = 0x60, TSS32_TRAP = 0x64, TSS32_LIMIT = 0x67,
	TSS16_IP = 14, TSS16_FLAGS = 16, TSS16_GPR = 18, TSS16_SEGMENTS = 34, TSS16_LDT = 42,
	TSS16_LIMIT = 43,
};

#define TYPE_BUSY 2
#define TYPE_32   8

/* The dynamic part of a TSS, whatever its size. */
struct task_state {
	uint32_t cr3, eip, eflags, gpr[8];
	uint16_t segment[CPU_SEGMENTS], ldt;
	bool trap;
};

static void task_read(struct cpu *cpu, const struct kvm_segment *tss, struct task_state *state)
{
	uint64_t base = tss->base;

	*state = (struct task_state){0};
	if (tss->type & TYPE_32) {
		state->cr3 = sys_read(cpu, base + TSS32_CR3, 4);
		state->eip = sys_read(cpu, base + TSS32_EIP, 4);
		state->eflags = sys_read(cpu, base + TSS32_EFLAGS, 4);
		for (unsigned i = 0; i < 8; i++)
			state->gpr[i] = sys_read(cpu, base + TSS32_GPR + 4 * i, 4);
		for (unsigned i = 0; i < CPU_SEGMENTS; i++)
			state->segment[i] = sys_read(cpu, base + TSS32_SEGMENTS + 4 * i, 2);
		state->ldt = sys_read(cpu, base + TSS32_LDT, 2);
		state->trap = sys_read(cpu, base + TSS32_TRAP, 2) & 1;
	} else {
		state->eip = sys_read(cpu, base + TSS16_IP, 2);
		state->eflags = sys_read(cpu, base + TSS16_FLAGS, 2);
		for (unsigned i = 0; i < 8; i++)
			state->gpr[i] = sys_read(cpu, base + TSS16_GPR + 2 * i, 2) | 0xffff0000;
		for (unsigned i = 0; i < CPU_FS; i++)
			state->segment[i] = sys_read(cpu, base + TSS16_SEGMENTS + 2 * i, 2);
		state->ldt = sys_read(cpu, base + TSS16_LDT, 2);
	}
}

static void task_write(struct cpu *cpu, uint64_t rip, uint64_t flags)
{
	bool is_32 = cpu->tr.type & TYPE_32;
	unsigned size = is_32 ? 4 : 2;
	uint64_t base = cpu->tr.base;
	unsigned gpr = is_32 ? TSS32_GPR : TSS16_GPR;
	unsigned segments = is_32 ? TSS32_SEGMENTS : TSS16_SEGMENTS;

	sys_write(cpu, base + (is_32 ? TSS32_EIP : TSS16_IP), rip, size);
	sys_write(cpu, base + (is_32 ? TSS32_EFLAGS : TSS16_FLAGS), flags, size);
	for (unsigned i = 0; i < 8; i++)
		sys_write(cpu, base + gpr + size * i, cpu->gpr[i], size);
	for (unsigned i = 0; i < (is_32 ? CPU_SEGMENTS : CPU_FS); i++)
		sys_write(cpu, base + segments + size * i, cpu->segment[i].selector, 2);
}

static void load_ldt(struct cpu *cpu, uint16_t selector)
{
	uint32_t error = selector & 0xfffc;
	struct kvm_segment ldt = {.selector = selector, .type = 2, .unusable = 1};
	uint64_t descriptor;

	if (!segment_is_null(selector)) {
		if ((selector & 4) || !descriptor_read(cpu, selector, &descriptor))
			cpu_raise_error(cpu, EXCEPTION_TS, error);
		descriptor_unpack(&ldt, selector, descriptor);
		if (ldt.s || ldt.type != 2 || !ldt.present)
			cpu_raise_error(cpu, EXCEPTION_TS, error);
	}
	cpu->ldt = ldt;
}

static void load_code(struct cpu *cpu, uint16_t selector)
{
	uint32_t error = selector & 0xfffc;
	unsigned rpl = selector & 3;
	struct kvm_segment cs;
	uint64_t descriptor;

	if (segment_is_null(selector) || !descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_TS, error);
	descriptor_unpack(&cs, selector, descriptor);
	if (!cs.s || !(cs.type & 8) || (cs.type & 4 ? cs.dpl > rpl : cs.dpl != rpl))
		cpu_raise_error(cpu, EXCEPTION_TS, error);
	if (!cs.present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	descriptor_set_accessed(cpu, selector, descriptor);
	cpu->segment[CPU_CS] = cs;
}

/* The new task's segments; what faults here is delivered in its context. */
static void load_segments(struct cpu *cpu, const struct task_state *state)
{
	static const uint8_t data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};
	unsigned cpl = state->segment[CPU_CS] & 3;

	/* Selectors are there, their descriptors not yet: usable for nothing. */
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		segment_make_null(&cpu->segment[i], state->segment[i]);
	cpu->ldt = (struct kvm_segment){.selector = state->ldt, .type = 2, .unusable = 1};
	cpu->segment[CPU_SS].dpl = cpl;

	if (cpu->rflags & RFLAGS_VM) {
		for (unsigned i = 0; i < CPU_SEGMENTS; i++)
			segment_load_vm86(&cpu->segment[i], state->segment[i]);
		cpu_update_mode(cpu);
		load_ldt(cpu, state->ldt);
		return;
	}
	cpu_update_mode(cpu);
	load_ldt(cpu, state->ldt);
	load_code(cpu, state->segment[CPU_CS]);
	segment_resolve_stack(cpu, state->segment[CPU_SS], cpl, EXCEPTION_TS, 0,
			      &cpu->segment[CPU_SS]);
	for (unsigned i = 0; i < sizeof(data); i++)
		segment_resolve_data(cpu, state->segment[data[i]], cpl, EXCEPTION_TS, 0,
				     &cpu->segment[data[i]]);
	cpu_update_mode(cpu);
}

static void load_cr3(struct cpu *cpu, uint64_t cr3)
{
	if (cpu->cr4 & CR4_PAE) {
		if (!paging_load_pdptrs(cpu, cr3, cpu->pdptr))
			cpu_raise_error(cpu, EXCEPTION_TS, cpu->tr.selector & 0xfffc);
	}
	cpu->cr3 = cr3;
	tlb_switch(cpu, false);
}

/* The TSS that is switched to, checked. */
static void resolve_tss(struct cpu *cpu, uint16_t selector, enum task_reason reason,
			uint32_t external, struct kvm_segment *tss)
{
	enum exception vector = reason == TASK_IRET ? EXCEPTION_TS : EXCEPTION_GP;
	uint32_t error = (selector & 0xfffc) | external;
	uint8_t busy = reason == TASK_IRET ? TYPE_BUSY : 0;
	uint64_t descriptor;

	if ((selector & 4) || !descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, vector, error);
	descriptor_unpack(tss, selector, descriptor);
	if (tss->s || (tss->type & ~TYPE_32) != (1 | busy))
		cpu_raise_error(cpu, vector, error);
	if (!tss->present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	if (tss->limit < (tss->type & TYPE_32 ? TSS32_LIMIT : TSS16_LIMIT))
		cpu_raise_error(cpu, EXCEPTION_TS, error);
}

void task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t return_rip,
		 bool has_error_code, uint32_t error_code, uint32_t external)
{
	bool is_nesting = reason == TASK_CALL || reason == TASK_INTERRUPT;
	uint16_t old_selector = cpu->tr.selector;
	uint64_t old_flags = cpu->rflags;
	bool is_paging = cpu->cr0 & CR0_PG;
	struct task_state state;
	struct kvm_segment tss;

	resolve_tss(cpu, selector, reason, external, &tss);
	/* Read and probe all there is before anything is written. */
	task_read(cpu, &tss, &state);
	sys_check_write(cpu, cpu->tr.base, (cpu->tr.type & TYPE_32 ? TSS32_LDT : TSS16_LDT));
	if (is_nesting)
		sys_check_write(cpu, tss.base, 2);

	if (reason == TASK_IRET)
		old_flags &= ~RFLAGS_NT;
	if (!is_nesting)
		descriptor_set_busy(cpu, old_selector, false);
	task_write(cpu, return_rip, old_flags);
	if (is_nesting) {
		sys_write(cpu, tss.base, old_selector, 2);
		state.eflags |= RFLAGS_NT;
	}
	if (reason != TASK_IRET)
		descriptor_set_busy(cpu, selector, true);

	/* The new task from here on. */
	tss.type |= TYPE_BUSY;
	cpu->tr = tss;
	cpu->cr0 |= CR0_TS;
	cpu->dr7 &= ~0x155ull; /* local breakpoint enables: §17.2.4 */
	cpu->rip = cpu->next_rip = state.eip;
	for (unsigned i = 0; i < 8; i++)
		cpu->gpr[i] = state.gpr[i];
	cpu_write_rflags(cpu, state.eflags, RFLAGS_ALL & ~RFLAGS_ONE);
	if (is_paging && (tss.type & TYPE_32))
		load_cr3(cpu, state.cr3);
	load_segments(cpu, &state);
	debug_update(cpu);

	if (has_error_code) {
		struct stack_frame frame;

		frame_current(&frame, cpu);
		frame_push(&frame, error_code, tss.type & TYPE_32 ? 4 : 2);
		frame_commit(&frame);
	}
	if (state.eip > cpu->segment[CPU_CS].limit)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	cpu->single_step_pending = false;
	if (state.trap)
		cpu->debug_pending |= DR6_BT;
	if (cpu->debug_pending)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}
