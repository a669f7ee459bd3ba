/*
 * The dispatcher: cpu_run, the loop around the execution of instructions, and which tier executes them.
 *
 * Between blocks (or instructions, while something watches each of them) the loop does what the
 * CPU does between instructions, in the order of Intel SDM vol. 3 §6.9, table 6-2: requests of the
 * platform, events that were being delivered, NMI, maskable interrupts (events.c). Traps of an
 * instruction are raised by debug.c right behind it, and so come before any of these.
 *
 * What is left is a tier's: the fastest first, and the next where one declines (tier/tier.h).
 *
 * Every exception and every exit to user space from inside an instruction or a delivery arrives
 * here (exception.h, tier/catch.h). An exit leaves the instruction undone; mmio.h tells how it is
 * restarted with user space's answer, which happens before any event is looked at.
 */
#include "engine/run/events.h"
#include "engine/run/runner.h"
#include "engine/run/tier/catch.h"
#include "engine/x86/exception.h"
#include "engine/x86/platform.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/instructions/operand.h"
#include "engine/x86/system.h"
#include "engine/x86/mmu/tlb.h"

/* What Intel's VM entry reports for a bad guest state: "VM-entry failure due to invalid guest
 * state" (SDM vol. 3 appendix C, basic reason 33, bit 31). */
#define FAIL_ENTRY_GUEST_STATE 0x80000021ull

/* Requests that do not show in the guest: obeyed even inside an unfinished instruction. */
#define HOUSEKEEPING (CPU_REQUEST_PAUSE | CPU_REQUEST_TLB_FLUSH)

/* State that only user space can have made, and that has no meaning (SDM vol. 3 §26.3.1). */
static bool state_is_valid(const struct cpu *cpu)
{
	const struct kvm_segment *cs = &cpu->segment[CPU_CS];

	if (!(cpu->rflags & RFLAGS_ONE) || (cpu->rflags & ~RFLAGS_ALL))
		return false;
	if ((cpu->cr0 & CR0_PG) && !(cpu->cr0 & CR0_PE))
		return false;
	if (cpu->mode & CPU_MODE_LONG) {
		if (!(cpu->cr0 & CR0_PG) || !(cpu->cr4 & CR4_PAE) || (cpu->rflags & RFLAGS_VM))
			return false;
		if (cs->l && cs->db)
			return false;
	}
	if (cpu->mode & CPU_MODE_PROTECTED) {
		if (cs->unusable || !cs->present || !cs->s || !(cs->type & 8))
			return false;
		if (!(cs->type & 4) && cs->dpl != cpu->cpl)
			return false;
	}
	/* Where RIP is not canonical the fetch faults: guests can get there by running on. */
	return cpu_is_64(cpu) || !(cpu->rip >> 32);
}

static bool io_is_unfinished(const struct cpu *cpu)
{
	return cpu->io.done || cpu->io.string_count;
}

/* What is the same on every way out of cpu_run. */
static enum cpu_exit leave(struct cpu *cpu, enum cpu_exit exit)
{
	struct kvm_run *run = cpu->run;

	fpu_leave(cpu);
	cpu->delivering = EVENT_NONE;
	cpu->io.is_reset_after = cpu->exits_softly = cpu->is_leaving = false;
	cpu->io.linear_rip = cpu_linear_rip(cpu);
	if (!event_shadow_is_active(cpu))
		cpu->interrupt_shadow = 0;
	if (run) {
		run->if_flag = (cpu->rflags & RFLAGS_IF) != 0;
		run->ready_for_interrupt_injection =
			event_interrupts_open(cpu) && !cpu->interrupt.pending && !cpu->exception.pending;
	}
	return exit;
}

/* One instruction with everything that may watch it. */
static void step(struct cpu *cpu)
{
	bool was_shadow = event_shadow_is_active(cpu);
	bool was_resumed = io_is_unfinished(cpu);

	if (cpu->debug_pending & DR6_BT)
		debug_raise(cpu, cpu->debug_pending); /* of the task switch before */
	if (!was_resumed)
		debug_before(cpu);
	cpu->single_step_pending = cpu->rflags & RFLAGS_TF;
	cpu->rflags &= ~RFLAGS_RF;
	tier_last(cpu)->run_one(cpu);
	event_io_forget(cpu);
	if (was_shadow && cpu->shadow_rip != cpu->rip)
		cpu->interrupt_shadow = 0;
	debug_after(cpu);
}

static bool window_is_requested(struct cpu *cpu)
{
	return cpu->run && cpu->run->request_interrupt_window && platform_injection_possible(cpu);
}

/* Obey the requests in `mask`; true when cpu_run must return CPU_EXIT_INTERRUPTED. */
static bool obey_requests(struct cpu *cpu, uint32_t mask)
{
	uint32_t flags = mask & ~(uint32_t)CPU_REQUEST_TLB_FLUSH; /* which comes during a pause */
	uint32_t requests = flags & atomic_fetch_and(&cpu->requests, ~flags);

	if (requests & CPU_REQUEST_YIELD)
		platform_yield(cpu);
	if (requests & CPU_REQUEST_PAUSE)
		platform_pause(cpu);
	tlb_obey_flush(cpu);
	if (requests & CPU_REQUEST_EVENT) {
		cpu->interrupt_waiting = true;
		if (!platform_process_events(cpu))
			return true;
	}
	return requests & CPU_REQUEST_EXIT;
}

/* IN or OUT has its answer: what step would do, had it anything else to look at. */
static bool complete_port_access(struct cpu *cpu)
{
	struct cpu_io *io = &cpu->io;

	if (!io->is_plain_port || io->mode != cpu->mode || cpu->interrupt_shadow ||
	    debug_is_stepping(cpu))
		return false;
	if (!io->fragments[0].is_write)
		register_write(&cpu->gpr[CPU_RAX], bytes_load32(io->fragments[0].data),
			       io->fragments[0].size);
	cpu->rip = cpu_wrap_rip(cpu, io->next_rip);
	cpu->rflags &= ~RFLAGS_RF;
	event_io_forget(cpu);
	return true;
}

/* Finish what the last exit to user space left open, before anything else. */
static void resume(struct cpu *cpu)
{
	if (!io_is_unfinished(cpu) || cpu->io.is_delivery || complete_port_access(cpu))
		return;
	while (atomic_load_explicit(&cpu->requests, memory_order_relaxed) & HOUSEKEEPING)
		obey_requests(cpu, HOUSEKEEPING);
	step(cpu);
}

/* All but the last tier in order, until one has not declined. */
static enum tier_stop run_fastest(struct cpu *cpu)
{
	enum tier_stop stop = TIER_DECLINES;

	for (unsigned i = 0; stop == TIER_DECLINES && i + 1 < cpu->tiers->count; i++)
		stop = cpu->tiers->order[i]->run(cpu);
	return stop;
}

void tiers_run(struct cpu *cpu)
{
	const struct tiers *tiers = cpu->tiers;
	const struct tier *last = tier_last(cpu);

	for (unsigned i = tiers->count; i-- > 0;)
		if (tiers->order[i]->enter)
			tiers->order[i]->enter(cpu);
	if (tiers->count == 1)
		last->run(cpu);
	while (!cpu->requests && !cpu->is_leaving)
		if (run_fastest(cpu) == TIER_DECLINES)
			last->run_piece(cpu);
	for (unsigned i = 0; i < tiers->count; i++)
		if (tiers->order[i]->leave)
			tiers->order[i]->leave(cpu);
}

static enum cpu_exit run_loop(struct cpu *cpu)
{
	resume(cpu);
	for (;;) {
		cpu_begins(cpu, CPU_DISPATCHES);
		if (cpu->debug_pending)
			debug_trap(cpu);
		if (atomic_load_explicit(&cpu->requests, memory_order_relaxed)) {
			if (!cpu->io.is_delivery)
				io_reset(cpu);
			if (obey_requests(cpu, UINT32_MAX))
				return CPU_EXIT_INTERRUPTED;
			if (atomic_load_explicit(&cpu->requests, memory_order_relaxed))
				continue;
		}
		if (event_deliver(cpu))
			continue;
		if (cpu->io.is_delivery)
			event_io_forget(cpu); /* user space took the event back */
		if (window_is_requested(cpu)) {
			if (event_interrupts_open(cpu)) {
				cpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
				return CPU_EXIT_USER;
			}
			cpu->interrupt_waiting = true;
		}
		if (cpu->halted)
			return CPU_EXIT_HALTED;
		cpu_begins(cpu, CPU_INTERPRETS);
		if (debug_is_stepping(cpu) ||
		    (event_shadow_is_active(cpu) && (cpu->interrupt_waiting || cpu->nmis_pending)))
			step(cpu);
		else
			tiers_run(cpu);
		if (cpu->is_leaving)
			return CPU_EXIT_USER;
	}
}

static void enter(struct cpu *cpu)
{
	/* User space may have written code, changed registers, raised interrupts. */
	if (!cpu->is_reentry && cpu->tells_outside_writes)
		event_see_outside_writes(cpu);
	else if (!cpu->is_reentry)
		cpu->code_epoch++;
	cpu->is_reentry = false;
	cpu->interrupt_waiting = true;
	cpu->delivering = EVENT_NONE;
	if (cpu->interrupt_shadow)
		cpu->shadow_rip = cpu->rip;
	cpu_update_mode(cpu);
	debug_update(cpu);
	if (cpu->io.linear_rip != cpu_linear_rip(cpu)) {
		/* User space went elsewhere: nobody waits for the answer any more. */
		cpu->io.mmio_pending = cpu->io.pio_pending = cpu->io.msr_pending = false;
		event_io_forget(cpu);
	}
	io_resume(cpu);
}

static enum cpu_exit run_catching(struct cpu *cpu, struct catch *catch)
{
	switch (setjmp(catch->place)) {
	case 0:
		enter(cpu);
		if (!state_is_valid(cpu)) {
			if (cpu->run) {
				cpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
				cpu->run->fail_entry.hardware_entry_failure_reason =
					FAIL_ENTRY_GUEST_STATE;
				cpu->run->fail_entry.cpu = 0;
			}
			return leave(cpu, CPU_EXIT_USER);
		}
		break;
	case UNWIND_EVENT:
		event_abandon(cpu);
		cpu->io.is_reset_after = cpu->exits_softly = false;
		cpu->debug_pending = 0;
		event_io_forget(cpu);
		break;
	case UNWIND_EXIT:
		cpu->io.is_delivery = cpu->delivering != EVENT_NONE;
		return leave(cpu, CPU_EXIT_USER);
	case UNWIND_SHUTDOWN:
		cpu->exception.pending = cpu->interrupt.pending = false;
		event_io_forget(cpu);
		if (cpu->run)
			cpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return leave(cpu, CPU_EXIT_USER);
	}
	return leave(cpu, run_loop(cpu));
}

enum cpu_exit cpu_run(struct cpu *cpu)
{
	struct catch catch;
	enum cpu_exit exit;

	catch_begin(&catch, cpu);
	exit = run_catching(cpu, &catch);
	catch_end(&catch, cpu);
	return exit;
}
