/*
 * A vCPU's and the interrupt controllers' state at power-on, kept so that a reset can bring it
 * back: KVM has no request that resets a vCPU, but lets all of its state be set.
 */
#ifndef KVIK_MACHINE_POWER_ON_STATE_H
#define KVIK_MACHINE_POWER_ON_STATE_H

#include <stdbool.h>

#include "kvm/kvm.h"

struct power_on_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_xsave *xsave; /* owned; NULL when the backend has none */
	size_t xsave_bytes;
	struct kvm_xcrs xcrs;
	bool has_xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_msrs *msrs; /* owned */
};

struct power_on_chips {
	struct kvm_irqchip chips[3]; /* two PICs and the I/O APIC */
	struct kvm_pit_state2 pit;
};

/* Read a new vCPU's state; `msrs` lists what to keep. */
int power_on_state_capture(struct power_on_state *state, const struct kvm_vcpu *vcpu,
			   struct error *error);
/* Bring it back; the vCPU isn't running. */
int power_on_state_restore(const struct power_on_state *state, const struct kvm_vcpu *vcpu,
			   struct error *error);
void power_on_state_free(struct power_on_state *state);

int power_on_chips_capture(struct power_on_chips *chips, const struct kvm_vm *vm,
			   struct error *error);
int power_on_chips_restore(const struct power_on_chips *chips, const struct kvm_vm *vm,
			   struct error *error);

#endif
