/*
 * The page by which a vCPU tells its guest the time (kvm-clock; Linux's
 * Documentation/virt/kvm/x86/msr.rst). It is written when its MSR is, and again only when the VM's clock
 * is set or the vCPU's TSC changes.
 */
#ifndef KVIK_ENGINE_VCPU_X86_PV_CLOCK_H
#define KVIK_ENGINE_VCPU_X86_PV_CLOCK_H

#include <stdint.h>

#define MSR_WALL_CLOCK_OLD  0x11
#define MSR_SYSTEM_TIME_OLD 0x12
#define MSR_WALL_CLOCK      0x4b564d00
#define MSR_SYSTEM_TIME     0x4b564d01

struct x86_vcpu;

/* The four MSRs: 0, or -ENOENT for another. */
int pv_clock_msr_read(struct x86_vcpu *vcpu, uint32_t index, uint64_t *value);
int pv_clock_msr_write(struct x86_vcpu *vcpu, uint32_t index, uint64_t value);
/* KVM_KVMCLOCK_CTRL: 0, -EINVAL without an enabled page. */
int pv_clock_set_stopped(struct x86_vcpu *vcpu);
/* Write the vCPU's page again if its TSC differs from the page's. */
void pv_clock_refresh(struct x86_vcpu *vcpu);

/* The VM's clock was set: write the page again. Inside an exclusive section. */
void pv_clock_write(struct x86_vcpu *vcpu);

#endif
