/*
 * Breakpoints and single-stepping: the guest's own (DR0-DR7, RFLAGS.TF; Intel SDM vol. 3 §17) and
 * those of a debugger in user space (KVM_SET_GUEST_DEBUG, api.rst 4.87).
 *
 * Only what is watched is slow. The TLB keeps no entry for a page with a data breakpoint, so that
 * memory.c asks breakpoint_check_access about each access to it; an access that it stops at ends the
 * execution behind its instruction (debug_trap). Tiers execute no translated code in a page with a
 * code breakpoint, and no instruction at one: the run loop does that, between debug_before and
 * debug_after. Everything goes that way, one instruction at a time, while RFLAGS.TF is set, user space
 * steps, or a breakpoint is on a port.
 */
#include "engine/x86/breakpoint.h"
#include "engine/x86/system.h"
#include "engine/x86/mmu/tlb.h"

bool debug_is_stepping(const struct cpu *cpu)
{
	if ((cpu->rflags & RFLAGS_TF) || cpu->debug_pending || cpu->port_breakpoints ||
	    (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		return true;
	/* RF holds for one instruction, whichever it is. */
	return cpu->code_breakpoints &&
	       ((cpu->rflags & RFLAGS_RF) || breakpoint_code_hits(cpu, cpu_linear_rip(cpu), 1));
}

void debug_update(struct cpu *cpu)
{
	bool was_armed = cpu->code_breakpoints | cpu->data_breakpoints;

	if (breakpoint_arm(cpu) && (was_armed || cpu->code_breakpoints || cpu->data_breakpoints)) {
		/* Whatever tiers know of addresses is asked for anew. */
		tlb_flush_all(cpu);
		tlb_update(cpu);
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
	}
	if (debug_is_stepping(cpu))
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

void debug_exit(struct cpu *cpu, enum exception exception, uint64_t dr6)
{
	struct kvm_run *run = cpu->run;

	cpu->debug_pending = 0;
	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch = (struct kvm_debug_exit_arch){
		.exception = exception,
		.pc = cpu_linear_rip(cpu),
		.dr6 = dr6,
		.dr7 = breakpoint_dr7(cpu) | DR7_FIXED,
	};
	cpu_exit_to_user(cpu);
}

void debug_raise(struct cpu *cpu, uint64_t dr6)
{
	cpu->debug_pending = 0;
	if (cpu->run && (cpu->guest_debug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)))
		debug_exit(cpu, EXCEPTION_DB, dr6 | DR6_FIXED);
	/* B0-B3 are of this exception, BS, BT and BD accumulate until software clears them. */
	cpu->dr6 = (cpu->dr6 & ~0xfull) | dr6 | DR6_FIXED;
	cpu->dr7 &= ~DR7_GD;
	cpu_raise(cpu, EXCEPTION_DB);
}

/* The instruction before was MOV SS or POP SS. */
static bool mov_ss_is_active(const struct cpu *cpu)
{
	return cpu->interrupt_shadow == KVM_X86_SHADOW_INT_MOV_SS && cpu->shadow_rip == cpu->rip;
}

void debug_before(struct cpu *cpu)
{
	uint64_t hits;

	if (!cpu->code_breakpoints || (cpu->rflags & RFLAGS_RF))
		return;
	/* AMD's CPUs do not hold it back. STI holds back no debug exception on either. */
	if (!cpu->is_amd && mov_ss_is_active(cpu))
		return;
	hits = breakpoint_code_hits(cpu, cpu_linear_rip(cpu), 1);
	if (hits)
		debug_raise(cpu, hits);
}

void debug_trap(struct cpu *cpu)
{
	if ((cpu->debug_pending & DR6_BREAKPOINTS) && !mov_ss_is_active(cpu))
		debug_raise(cpu, cpu->debug_pending);
}

void debug_after(struct cpu *cpu)
{
	uint64_t dr6 = cpu->debug_pending;

	/* MOV SS and POP SS hold back what they triggered until the next instruction is done (SDM
	 * vol. 3 §6.8.3). */
	if (mov_ss_is_active(cpu))
		return;
	if (cpu->single_step_pending || (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		dr6 |= DR6_BS;
	cpu->single_step_pending = false;
	if (dr6)
		debug_raise(cpu, dr6);
}
