/*
 * KVM_RUN (api.rst 4.10 and section 5): execute the guest until user space is needed, a signal or
 * kick asks for the thread, or the vCPU waits for an event.
 */
#include <errno.h>

#include "engine/vcpu/pv_clock.h"
#include "engine/vcpu/signals.h"
#include "engine/vcpu/steal_time.h"
#include "engine/vcpu/vcpu.h"
#include "engine/vm/vm.h"

#define RFLAGS_IF (UINT64_C(1) << 9)

static bool accepts_interrupts(const struct cpu *cpu)
{
	return (cpu->rflags & RFLAGS_IF) && !cpu->interrupt_shadow;
}

/* Whether user space may inject with KVM_INTERRUPT now (kvm_vcpu_ready_for_interrupt_injection). */
static bool is_ready_for_interrupt(struct vcpu *vcpu)
{
	const struct cpu *cpu = &vcpu->cpu;

	return accepts_interrupts(cpu) && !cpu->interrupt.pending && !cpu->exception.pending &&
	       (!vcpu->lapic || lapic_accepts_extint(vcpu->lapic));
}

/* Whether user space asked for KVM_RUN to return EINTR. */
static bool is_exit_asked(struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST) ||
	       atomic_load(&vcpu->is_kicked);
}

/* The same, or a signal. */
static bool is_interrupted(struct vcpu *vcpu)
{
	return is_exit_asked(vcpu) || signals_pending(vcpu);
}

/*
 * At the beginning of KVM_RUN only signals that the thread blocks and KVM_SET_SIGNAL_MASK does not
 * can be pending already; for one that arrives right now the watcher will call.
 */
static bool is_interrupted_at_entry(struct vcpu *vcpu)
{
	return is_exit_asked(vcpu) || (vcpu->has_signal_mask && signals_pending(vcpu));
}

/* Whether the present mp_state has ended. */
static bool has_event(struct vcpu *vcpu)
{
	struct cpu *cpu = &vcpu->cpu;

	if (vcpu->is_sipi_pending || (vcpu->lapic && lapic_event_pending(vcpu->lapic)))
		return true;
	if (vcpu->mp_state != KVM_MP_STATE_HALTED)
		return false;
	if (atomic_load(&vcpu->pv_unhalted) || cpu->exception.pending ||
	    (cpu->nmis_pending && !cpu->nmi_blocked))
		return true;
	return accepts_interrupts(cpu) &&
	       (cpu->interrupt.pending || vcpu_platform.interrupt_pending(vcpu));
}

/* Sleep in HALTED, UNINITIALIZED or INIT_RECEIVED. 0 after an event, -EINTR. */
static int wait_for_event(struct vcpu *vcpu)
{
	int result;

	cpu_begins(&vcpu->cpu, CPU_IS_IDLE);
	for (;;) {
		atomic_store(&vcpu->is_sleeping, 1);
		result = 0;
		if (has_event(vcpu))
			break;
		if (is_interrupted(vcpu)) {
			result = -EINTR;
			break;
		}
		vcpu->sleeps++;
		result = signals_sleep(vcpu);
		if (result < 0)
			break;
	}
	atomic_store(&vcpu->is_sleeping, 0);
	if (result < 0)
		return result;
	vcpu_process_events(vcpu);
	if (vcpu->mp_state == KVM_MP_STATE_HALTED && has_event(vcpu)) {
		atomic_store(&vcpu->pv_unhalted, false);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
	return 0;
}

static bool has_eoi_exit(struct vcpu *vcpu)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		if (atomic_load(&vcpu->eoi_exits[i]))
			return true;
	return false;
}

/* An EOI that user space's I/O APIC must learn of: fills kvm_run and returns true. */
static bool take_eoi_exit(struct vcpu *vcpu)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		uint64_t vectors = atomic_load(&vcpu->eoi_exits[i]);
		unsigned bit;

		if (!vectors)
			continue;
		bit = __builtin_ctzll(vectors);
		atomic_fetch_and(&vcpu->eoi_exits[i], ~(UINT64_C(1) << bit));
		vcpu->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		vcpu->run->eoi.vector = i * 64 + bit;
		return true;
	}
	return false;
}

static bool is_io_pending(const struct vcpu *vcpu)
{
	const struct cpu_io *io = &vcpu->cpu.io;

	return io->mmio_pending || io->pio_pending || io->msr_pending;
}

static enum cpu_exit enter_guest(struct vcpu *vcpu)
{
	enum cpu_exit exit;

	vcpu->cpu.halted = false;
	vcpu_enter_guest(vcpu);
	signals_watch(vcpu);
	vcpu_clock_refresh(vcpu);
	vcpu_steal_enter(vcpu);
	vcpu->cpu.is_reentry = vcpu->has_entered;
	vcpu->has_entered = true;
	exit = cpu_run(&vcpu->cpu);
	fpu_leave(&vcpu->cpu);
	vcpu_steal_leave(vcpu, exit == CPU_EXIT_INTERRUPTED);
	vcpu_leave_guest(vcpu);
	/* A request that came with a HLT must not lose it: what asked stays to be seen. */
	if (exit == CPU_EXIT_INTERRUPTED && vcpu->cpu.halted)
		return CPU_EXIT_HALTED;
	return exit;
}

/*
 * Finish the instruction whose port or memory access user space has answered, and no other. True
 * when it leads to an exit of its own.
 */
static bool complete_io(struct vcpu *vcpu)
{
	/* cpu_run executes an instruction that waits for its answer before it looks at requests. */
	cpu_request(&vcpu->cpu, CPU_REQUEST_EXIT);
	return enter_guest(vcpu) == CPU_EXIT_USER;
}

/* Pages that user space must take before there are more: fills kvm_run and returns true. */
static bool take_ring_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (!dirty_ring_is_full(&vcpu->dirty_ring))
		return false;
	run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	if (atomic_load(&vcpu->dirty_ring.is_overrun)) {
		/* A log with holes is none. */
		run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
		run->internal.ndata = 0;
	}
	return true;
}

/* Run until there is an exit for user space: 0, or -EINTR. */
static int run_loop(struct vcpu *vcpu)
{
	int result;

	if (is_io_pending(vcpu) &&
	    (is_interrupted_at_entry(vcpu) || has_eoi_exit(vcpu) ||
	     dirty_ring_is_full(&vcpu->dirty_ring)) &&
	    complete_io(vcpu))
		return 0;
	if (is_interrupted_at_entry(vcpu))
		return -EINTR;
	for (;;) {
		if (take_eoi_exit(vcpu) || take_ring_exit(vcpu))
			return 0;
		if (vcpu->triple_fault_pending) {
			vcpu->triple_fault_pending = false;
			vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
			return 0;
		}
		if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE) {
			result = wait_for_event(vcpu);
			if (result < 0)
				return result;
			continue;
		}
		switch (enter_guest(vcpu)) {
		case CPU_EXIT_USER:
			return 0;
		case CPU_EXIT_INTERRUPTED:
			if (is_interrupted(vcpu))
				return -EINTR;
			break;
		case CPU_EXIT_HALTED:
			if (!vcpu->lapic) {
				vcpu->run->exit_reason = KVM_EXIT_HLT;
				return 0;
			}
			vcpu->mp_state = KVM_MP_STATE_HALTED;
			break;
		}
	}
}

static int load_synced_registers(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t dirty = run->kvm_dirty_regs;
	int result;

	if (dirty & KVM_SYNC_X86_REGS)
		vcpu_set_regs(vcpu, &run->s.regs.regs);
	if (dirty & KVM_SYNC_X86_SREGS) {
		result = vcpu_set_sregs(vcpu, &run->s.regs.sregs);
		if (result < 0)
			return result;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		result = vcpu_set_events(vcpu, &run->s.regs.events);
		if (result < 0)
			return result;
	}
	run->kvm_dirty_regs = 0;
	return 0;
}

static void store_synced_registers(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->kvm_valid_regs & KVM_SYNC_X86_REGS)
		vcpu_get_regs(vcpu, &run->s.regs.regs);
	if (run->kvm_valid_regs & KVM_SYNC_X86_SREGS)
		vcpu_get_sregs(vcpu, &run->s.regs.sregs);
	if (run->kvm_valid_regs & KVM_SYNC_X86_EVENTS)
		vcpu_get_events(vcpu, &run->s.regs.events);
}

/* UNINITIALIZED: wait for INIT; user space is told to call again (EAGAIN), as by Linux. */
static int run_uninitialized(struct vcpu *vcpu)
{
	if (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
		return -EINTR;
	return wait_for_event(vcpu) < 0 ? -EINTR : -EAGAIN;
}

static int run_initialized(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int result;

	if ((run->kvm_valid_regs | run->kvm_dirty_regs) & ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (run->kvm_dirty_regs) {
		/* Some of it reads guest memory, whose slots must hold still. */
		pthread_mutex_lock(&vcpu->vm->lock);
		result = load_synced_registers(vcpu);
		pthread_mutex_unlock(&vcpu->vm->lock);
		if (result < 0)
			return result;
	}
	if (!vcpu->lapic) {
		if (run->cr8 & ~UINT64_C(15))
			return -EINVAL;
		vcpu->cr8 = run->cr8;
	}
	return run_loop(vcpu);
}

int vcpu_run(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int result;

	cpu_begins(&vcpu->cpu, CPU_DISPATCHES);
	signals_enter(vcpu);
	vcpu->has_entered = false;
	run->flags = 0;
	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED)
		result = run_uninitialized(vcpu);
	else
		result = run_initialized(vcpu);
	if (result == -EINTR) {
		run->exit_reason = KVM_EXIT_INTR;
		atomic_store(&vcpu->is_kicked, false);
	}
	if (run->kvm_valid_regs)
		store_synced_registers(vcpu);
	run->if_flag = (vcpu->cpu.rflags & RFLAGS_IF) != 0;
	run->cr8 = vcpu_get_cr8(vcpu);
	run->apic_base = vcpu_get_apic_base(vcpu);
	run->ready_for_interrupt_injection =
		irqchip_is_full(vcpu->vm->irqchip) || is_ready_for_interrupt(vcpu);
	vcpu->has_run = true;
	vcpu_count_exit(vcpu);
	signals_leave(vcpu);
	cpu_begins(&vcpu->cpu, CPU_IS_OUTSIDE);
	return result;
}
