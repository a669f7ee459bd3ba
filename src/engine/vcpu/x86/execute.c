/*
 * KVM_RUN's part that is x86's: guest code until there is a reason to stop, the events that end HLT, exits
 * that need no guest code, and what kvm_run holds at both ends (api.rst section 5).
 */
#include <errno.h>

#include "engine/vcpu/x86/pv_clock.h"
#include "engine/vcpu/x86/steal_time.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "util/x86_registers.h"

static bool accepts_interrupts(const struct cpu *cpu)
{
	return (cpu->rflags & RFLAGS_IF) && !cpu->interrupt_shadow;
}

/* Whether user space may inject with KVM_INTERRUPT now (kvm_vcpu_ready_for_interrupt_injection). */
static bool is_ready_for_interrupt(struct x86_vcpu *vcpu)
{
	const struct cpu *cpu = &vcpu->cpu;

	return accepts_interrupts(cpu) && !cpu->interrupt.pending && !cpu->exception.pending &&
	       (!vcpu->lapic || lapic_accepts_extint(vcpu->lapic));
}

bool x86_has_event(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	struct cpu *cpu = &vcpu->cpu;

	if (vcpu->is_sipi_pending || (vcpu->lapic && lapic_event_pending(vcpu->lapic)))
		return true;
	if (vcpu->common.mp_state != KVM_MP_STATE_HALTED)
		return false;
	if (atomic_load(&vcpu->pv_unhalted) || cpu->exception.pending ||
	    (cpu->nmis_pending && !cpu->nmi_blocked))
		return true;
	return accepts_interrupts(cpu) &&
	       (cpu->interrupt.pending || x86_platform.interrupt_pending(vcpu));
}

void x86_take_event(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);

	x86_process_events(vcpu);
	if (common->mp_state == KVM_MP_STATE_HALTED && x86_has_event(common)) {
		atomic_store(&vcpu->pv_unhalted, false);
		common->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

bool x86_has_exit(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	unsigned i;

	for (i = 0; i < 4; i++)
		if (atomic_load(&vcpu->eoi_exits[i]))
			return true;
	return vcpu->triple_fault_pending;
}

/* An EOI that user space's I/O APIC must learn of: fills kvm_run and returns true. */
static bool take_eoi_exit(struct x86_vcpu *vcpu)
{
	unsigned i;

	for (i = 0; i < 4; i++) {
		uint64_t vectors = atomic_load(&vcpu->eoi_exits[i]);
		unsigned bit;

		if (!vectors)
			continue;
		bit = __builtin_ctzll(vectors);
		atomic_fetch_and(&vcpu->eoi_exits[i], ~(UINT64_C(1) << bit));
		vcpu->common.run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		vcpu->common.run->eoi.vector = i * 64 + bit;
		return true;
	}
	return false;
}

bool x86_take_exit(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);

	if (take_eoi_exit(vcpu))
		return true;
	if (!vcpu->triple_fault_pending)
		return false;
	vcpu->triple_fault_pending = false;
	common->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return true;
}

bool x86_has_answer(const struct vcpu *common)
{
	const struct cpu_io *io = &((const struct x86_vcpu *)common)->cpu.io;

	return io->mmio_pending || io->pio_pending || io->msr_pending;
}

/* HLT is for user space where that has the interrupt controllers. */
static enum vcpu_stop halt(struct x86_vcpu *vcpu)
{
	if (vcpu->lapic)
		return VCPU_HALTED;
	vcpu->common.run->exit_reason = KVM_EXIT_HLT;
	return VCPU_STOPS_FOR_USER;
}

enum vcpu_stop x86_execute(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	enum cpu_exit exit;

	vcpu->cpu.halted = false;
	pv_clock_refresh(vcpu);
	steal_time_enter(vcpu);
	vcpu->cpu.is_reentry = common->has_entered;
	exit = cpu_run(&vcpu->cpu);
	fpu_leave(&vcpu->cpu);
	steal_time_leave(vcpu, exit == CPU_EXIT_INTERRUPTED);
	switch (exit) {
	case CPU_EXIT_USER:
		return VCPU_STOPS_FOR_USER;
	case CPU_EXIT_INTERRUPTED:
		/* A request that came with a HLT must not lose it: what asked stays to be seen. */
		return vcpu->cpu.halted ? halt(vcpu) : VCPU_WAS_INTERRUPTED;
	case CPU_EXIT_HALTED:
		break;
	}
	return halt(vcpu);
}

static int load_synced_registers(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->common.run;
	uint64_t dirty = run->kvm_dirty_regs;
	int result;

	if (dirty & KVM_SYNC_X86_REGS)
		x86_set_regs(vcpu, &run->s.regs.regs);
	if (dirty & KVM_SYNC_X86_SREGS) {
		result = x86_set_sregs(vcpu, &run->s.regs.sregs);
		if (result < 0)
			return result;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		result = x86_set_events(vcpu, &run->s.regs.events);
		if (result < 0)
			return result;
	}
	run->kvm_dirty_regs = 0;
	return 0;
}

static void store_synced_registers(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->common.run;

	if (run->kvm_valid_regs & KVM_SYNC_X86_REGS)
		x86_get_regs(vcpu, &run->s.regs.regs);
	if (run->kvm_valid_regs & KVM_SYNC_X86_SREGS)
		x86_get_sregs(vcpu, &run->s.regs.sregs);
	if (run->kvm_valid_regs & KVM_SYNC_X86_EVENTS)
		x86_get_events(vcpu, &run->s.regs.events);
}

int x86_begin_run(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	struct kvm_run *run = vcpu->common.run;
	int result;

	if ((run->kvm_valid_regs | run->kvm_dirty_regs) & ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (run->kvm_dirty_regs) {
		/* Some of it reads guest memory, whose slots must hold still. */
		pthread_mutex_lock(&vcpu->common.vm->lock);
		result = load_synced_registers(vcpu);
		pthread_mutex_unlock(&vcpu->common.vm->lock);
		if (result < 0)
			return result;
	}
	if (!vcpu->lapic) {
		if (run->cr8 & ~UINT64_C(15))
			return -EINVAL;
		vcpu->cr8 = run->cr8;
	}
	return 0;
}

void x86_end_run(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	struct kvm_run *run = common->run;

	if (run->kvm_valid_regs)
		store_synced_registers(vcpu);
	run->if_flag = (vcpu->cpu.rflags & RFLAGS_IF) != 0;
	run->cr8 = x86_get_cr8(vcpu);
	run->apic_base = x86_get_apic_base(vcpu);
	run->ready_for_interrupt_injection =
		irqchip_is_full(x86_vcpu_vm(vcpu)->irqchip) || is_ready_for_interrupt(vcpu);
	common->counters[VCPU_COUNT_INJECTIONS] = vcpu->cpu.interrupts_delivered;
}
