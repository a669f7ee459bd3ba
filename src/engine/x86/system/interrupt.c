/*
 * Delivery of interrupts and exceptions through the IVT (real mode, Intel SDM vol. 3 §20.1.4), the
 * IDT (§6.11-6.12), out of virtual-8086 mode (§20.3) and in IA-32e mode (§6.14).
 */
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system/transfer.h"

enum {
	GATE_TASK = 5,
	GATE_INTERRUPT_16 = 6,
	GATE_TRAP_16 = 7,
	GATE_INTERRUPT_32 = 14,
	GATE_TRAP_32 = 15,
};

struct gate {
	uint8_t type, dpl, ist;
	uint16_t selector;
	uint64_t offset;
};

/*
 * Faults are pushed with RF set, so that their instruction can be resumed past its breakpoint; #DB
 * is not, it may be a trap or that very breakpoint (SDM vol. 3 §17.3.1.1).
 */
static uint64_t pushed_flags(const struct cpu *cpu, uint8_t vector, enum interrupt_source source)
{
	if (source != INTERRUPT_EXCEPTION)
		return cpu->rflags;
	switch (vector) {
	case EXCEPTION_DB:
	case EXCEPTION_NMI:
	case EXCEPTION_BP:
	case EXCEPTION_OF:
	case EXCEPTION_DF:
	case EXCEPTION_MC:
		return cpu->rflags;
	default:
		return cpu->rflags | RFLAGS_RF;
	}
}

static void deliver_real(struct cpu *cpu, uint8_t vector, uint64_t return_rip)
{
	uint32_t entry = vector * 4u;
	struct stack_frame frame;
	uint32_t target;

	if (entry + 3 > cpu->idt.limit)
		cpu_raise_error(cpu, EXCEPTION_GP, vector * 8u + 2);
	target = sys_read(cpu, cpu->idt.base + entry, 4);

	frame_current(&frame, cpu);
	frame_push(&frame, cpu->rflags, 2);
	frame_push(&frame, cpu->segment[CPU_CS].selector, 2);
	frame_push(&frame, return_rip, 2);
	frame_commit(&frame);
	cpu_write_rflags(cpu, 0, RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
	segment_load_real(&cpu->segment[CPU_CS], target >> 16);
	cpu->next_rip = target & 0xffff;
	cpu_update_mode(cpu);
}

static void gate_read(struct cpu *cpu, uint8_t vector, enum interrupt_source source,
		      uint32_t external, struct gate *gate)
{
	bool is_long = cpu_is_long(cpu);
	unsigned size = is_long ? 16 : 8;
	uint32_t error = vector * 8u + 2 + external;
	uint64_t address = cpu->idt.base + vector * size;
	uint64_t low;

	if (vector * size + size - 1 > cpu->idt.limit)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	low = sys_read(cpu, address, 8);
	gate->type = low >> 40 & 0x1f;
	gate->dpl = low >> 45 & 3;
	gate->ist = is_long ? low >> 32 & 7 : 0;
	gate->selector = low >> 16;
	gate->offset = (low & 0xffff) | (low >> 48) << 16;
	if (is_long)
		gate->offset |= sys_read(cpu, address + 8, 4) << 32;

	switch (gate->type) {
	case GATE_TASK:
	case GATE_INTERRUPT_16:
	case GATE_TRAP_16:
		if (is_long)
			cpu_raise_error(cpu, EXCEPTION_GP, error);
		break;
	case GATE_INTERRUPT_32:
	case GATE_TRAP_32:
		break;
	default:
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	}
	if (source == INTERRUPT_SOFTWARE && gate->dpl < cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!(low >> 47 & 1))
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	/* 16-bit gates have 16-bit offsets; a task gate has none. */
	if (!(gate->type & 8))
		gate->offset &= 0xffff;
}

static void handler_resolve(struct cpu *cpu, const struct gate *gate, uint32_t external,
			    struct kvm_segment *cs)
{
	uint32_t error = (gate->selector & 0xfffc) | external;
	uint64_t descriptor;

	if (segment_is_null(gate->selector))
		cpu_raise_error(cpu, EXCEPTION_GP, external);
	if (!descriptor_read(cpu, gate->selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	descriptor_unpack(cs, gate->selector, descriptor);
	if (!cs->s || !(cs->type & 8) || cs->dpl > cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (cpu_is_long(cpu) && (!cs->l || cs->db))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (!cs->present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	descriptor_set_accessed(cpu, gate->selector, descriptor);
}

static void deliver_gate(struct cpu *cpu, const struct gate *gate, uint64_t flags,
			 uint32_t external, bool has_error_code, uint32_t error_code,
			 uint64_t return_rip)
{
	bool is_long = cpu_is_long(cpu);
	bool is_vm86 = cpu->mode & CPU_MODE_VM86;
	unsigned size = is_long ? 8 : gate->type & 8 ? 4 : 2;
	uint64_t cleared = RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM;
	struct kvm_segment cs;
	struct stack_frame frame;
	unsigned cpl = cpu->cpl;
	bool is_inner;

	handler_resolve(cpu, gate, external, &cs);
	is_inner = !(cs.type & 4) && cs.dpl < cpl;
	if (is_vm86 && (!is_inner || cs.dpl != 0))
		cpu_raise_error(cpu, EXCEPTION_GP, (gate->selector & 0xfffc) | external);
	if (is_inner)
		cpl = cs.dpl;
	if (is_inner || gate->ist) {
		frame_from_tss(&frame, cpu, cpl, gate->ist, external);
		if (!is_inner)
			frame.ss = cpu->segment[CPU_SS];
	} else {
		frame_current(&frame, cpu);
		frame.is_64 = is_long;
		frame.error = external;
	}
	if (is_long)
		frame.sp &= ~0xfull;
	transfer_check_offset(cpu, &cs, gate->offset, external);

	if (is_vm86) {
		frame_push(&frame, cpu->segment[CPU_GS].selector, size);
		frame_push(&frame, cpu->segment[CPU_FS].selector, size);
		frame_push(&frame, cpu->segment[CPU_DS].selector, size);
		frame_push(&frame, cpu->segment[CPU_ES].selector, size);
	}
	if (is_inner || is_long) {
		frame_push(&frame, cpu->segment[CPU_SS].selector, size);
		frame_push(&frame, cpu->gpr[CPU_RSP], size);
	}
	frame_push(&frame, flags, size);
	frame_push(&frame, cpu->segment[CPU_CS].selector, size);
	frame_push(&frame, return_rip, size);
	if (has_error_code)
		frame_push(&frame, error_code, size);

	frame_commit(&frame);
	if (is_vm86) {
		segment_make_null(&cpu->segment[CPU_GS], 0);
		segment_make_null(&cpu->segment[CPU_FS], 0);
		segment_make_null(&cpu->segment[CPU_DS], 0);
		segment_make_null(&cpu->segment[CPU_ES], 0);
	}
	if (gate->type == GATE_INTERRUPT_32 || gate->type == GATE_INTERRUPT_16)
		cleared |= RFLAGS_IF;
	cpu->rflags &= ~cleared;
	cs.selector = (gate->selector & 0xfffc) | cpl;
	transfer_commit(cpu, &cs, gate->offset);
}

void interrupt_deliver(struct cpu *cpu, uint8_t vector, enum interrupt_source source,
		       bool has_error_code, uint32_t error_code, uint64_t return_rip)
{
	uint32_t external = source != INTERRUPT_SOFTWARE;
	struct gate gate;

	if (!(cpu->cr0 & CR0_PE)) {
		deliver_real(cpu, vector, return_rip);
	} else {
		uint64_t flags = pushed_flags(cpu, vector, source);

		gate_read(cpu, vector, source, external, &gate);
		if (gate.type == GATE_TASK) {
			cpu->rflags = flags;
			task_switch(cpu, gate.selector, TASK_INTERRUPT, return_rip, has_error_code,
				    error_code, external);
		} else {
			deliver_gate(cpu, &gate, flags, external, has_error_code, error_code,
				     return_rip);
		}
	}
	/* The handler's first instruction is not stepped: TF was cleared with the delivery. */
	cpu->single_step_pending = false;
	cpu->interrupt_shadow = 0;
}
