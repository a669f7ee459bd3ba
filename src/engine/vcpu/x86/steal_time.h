/*
 * The page by which a vCPU tells its guest that its thread did not run: for how long in all, and whether
 * it stands still now (Linux's Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME; KVM_FEATURE_STEAL_TIME,
 * KVM_FEATURE_PV_TLB_FLUSH).
 *
 * Stolen is the time inside KVM_RUN, sleep in HLT apart, in which the host gave the thread no processor:
 * wall time less the thread's CPU time, looked at once in a millisecond at most. What the thread uses
 * outside the guest counts as the guest's use, so that it is rather too little; so does all the time in which
 * user code runs directly, in a process of its own (run/direct), whose CPU time is not looked at.
 *
 * `preempted` is set where the vCPU leaves the guest although it has work there: to give way, to return
 * to user space between two instructions. It is not when the host takes the processor away in the
 * guest's midst, which nobody in user space is told of; nor in HLT, where Linux's KVM sets it: a vCPU that
 * sleeps there runs as soon as it is woken, and guests that are told otherwise wake others (a loop of
 * shell pipelines on four vCPUs took a quarter more). While it stands, other vCPUs may leave word in it
 * that translations have changed, instead of sending an IPI: that is obeyed before the next
 * instruction.
 */
#ifndef KVIK_ENGINE_VCPU_X86_STEAL_TIME_H
#define KVIK_ENGINE_VCPU_X86_STEAL_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define MSR_STEAL_TIME 0x4b564d03

struct x86_vcpu;

/* The MSR: 0, -EINVAL for reserved bits. */
int steal_time_set_msr(struct x86_vcpu *vcpu, uint64_t value);

/* The three on the vCPU's thread, where exclusive sections wait for it (vcpu_enter_guest). */

/* It is about to execute: it is not preempted any more, and obeys what was left for it. */
void steal_time_enter(struct x86_vcpu *vcpu);
/* It leaves the guest; `is_preempted`: with work to do there, and between two instructions. */
void steal_time_leave(struct x86_vcpu *vcpu, bool is_preempted);
/* A good moment, between two instructions, to tell the guest what was stolen. */
void steal_time_update(struct x86_vcpu *vcpu);

#endif
