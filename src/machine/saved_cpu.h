/*
 * A vCPU in a saved machine: all that the contract lets be read and set of it, and the CPUID that its
 * guest relies on.
 */
#ifndef KVIK_MACHINE_SAVED_CPU_H
#define KVIK_MACHINE_SAVED_CPU_H

#include "kvm/kvm.h"
#include "machine/vcpu.h"
#include "util/state.h"

/* A section named `name`; the vCPU isn't running. Reading failures fail the stream. */
void saved_cpu_save(const struct machine_vcpu *vcpu, const char *name, struct state_stream *state);

/*
 * Take over such a section. Fails, and names it, when the guest relies on something that this CPU or
 * this backend hasn't. Time is set apart: *deadline is what the local APIC's timer waits for, 0 for
 * nothing, and counts once the time-stamp counter is right.
 */
void saved_cpu_load(struct machine_vcpu *vcpu, const char *name, uint64_t *deadline,
		    struct state_stream *state);

/* A vCPU's counter now. */
uint64_t saved_cpu_read_tsc(const struct kvm_vcpu *vcpu);
/*
 * Set it. All CPUs of a machine are set to the same, at once one after the other, the first one first, so
 * that the backend sees that they are one clock (kvm_synchronize_tsc: within a second).
 */
void saved_cpu_set_tsc(const struct kvm_vcpu *vcpu, uint64_t tsc);
/* Arm the local APIC's timer with saved_cpu_load's `deadline`, by the counter as it is now. */
void saved_cpu_arm(const struct kvm_vcpu *vcpu, uint64_t deadline);

#endif
