/*
 * What is derived of a CPU's state.
 *
 * `mode`, `cpl` and `tlb` are summaries of the segments, control registers and RFLAGS; whoever
 * changes one of those calls cpu_update_mode, which is the only place that derives them.
 */
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"

/* Base 0 and 4 GiB, so that an offset is its own linear address and every access is allowed. */
static bool segment_is_flat(const struct kvm_segment *segment, bool is_code)
{
	/* Code: readable; data: writable and expand-up. */
	uint8_t mask = is_code ? 0xa : 0xe;
	uint8_t type = is_code ? 0xa : 0x2;

	return segment->base == 0 && segment->limit == 0xffffffff && segment->present &&
	       !segment->unusable && segment->s && (segment->type & mask) == type;
}

void cpu_update_mode(struct cpu *cpu)
{
	const struct kvm_segment *cs = &cpu->segment[CPU_CS], *ss = &cpu->segment[CPU_SS];
	uint32_t mode = 0;

	if (!(cpu->cr0 & CR0_PE)) {
		cpu->cpl = 0;
	} else if (cpu->rflags & RFLAGS_VM) {
		mode |= CPU_MODE_VM86;
		cpu->cpl = 3;
	} else {
		mode |= CPU_MODE_PROTECTED;
		cpu->cpl = ss->dpl & 3;
	}
	if (cpu->efer & EFER_LMA)
		mode |= CPU_MODE_LONG;
	if ((mode & CPU_MODE_LONG) && cs->l) {
		mode |= CPU_MODE_CODE64 | CPU_MODE_STACK32;
	} else {
		if (cs->db)
			mode |= CPU_MODE_CODE32;
		if (ss->db)
			mode |= CPU_MODE_STACK32;
		if (segment_is_flat(cs, true) && segment_is_flat(ss, false) &&
		    segment_is_flat(&cpu->segment[CPU_DS], false) &&
		    segment_is_flat(&cpu->segment[CPU_ES], false))
			mode |= CPU_MODE_FLAT;
	}
	cpu->mode = mode;
	tlb_update(cpu);
}

void cpu_write_rflags(struct cpu *cpu, uint64_t value, uint64_t mask)
{
	uint64_t old = cpu->rflags;
	uint64_t changed;

	cpu->rflags = (old & ~mask) | (value & mask) | RFLAGS_ONE;
	changed = cpu->rflags ^ old;
	if (changed & RFLAGS_VM)
		cpu_update_mode(cpu);
	else if (changed & RFLAGS_AC)
		tlb_update(cpu);
	if ((changed & RFLAGS_TF) ||
	    ((changed & RFLAGS_IF) && (cpu->rflags & RFLAGS_IF) && cpu->interrupt_waiting))
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}
