/*
 * The page by which a vCPU tells its guest the time (kvm-clock; Linux's
 * Documentation/virt/kvm/x86/msr.rst). It is written when its MSR is, and again only when the VM's clock
 * is set or the vCPU's TSC changes.
 */
#ifndef KVIK_ENGINE_VCPU_PV_CLOCK_H
#define KVIK_ENGINE_VCPU_PV_CLOCK_H

#include <stdint.h>

#define MSR_WALL_CLOCK_OLD  0x11
#define MSR_SYSTEM_TIME_OLD 0x12
#define MSR_WALL_CLOCK      0x4b564d00
#define MSR_SYSTEM_TIME     0x4b564d01

struct vcpu;

/* The four MSRs: 0, or -ENOENT for another. */
int vcpu_clock_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value);
int vcpu_clock_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* KVM_KVMCLOCK_CTRL: 0, -EINVAL without an enabled page. */
int vcpu_clock_set_stopped(struct vcpu *vcpu);
/* Write the vCPU's page again if its TSC differs from the page's. */
void vcpu_clock_refresh(struct vcpu *vcpu);

/* The VM's clock was set: write the page again. Inside an exclusive section. */
void vcpu_clock_write(struct vcpu *vcpu);

#endif
