/*
 * Time in the guest: the host's TSC frequency, and kvm-clock (Linux's
 * Documentation/virt/kvm/x86/msr.rst and api.rst 4.29, 4.30).
 *
 * kvm-clock is a linear function of host_tsc for the whole life of a VM, so every vCPU's page
 * is written when its MSR is, and again only when the clock is set or a vCPU's TSC changes.
 */
#ifndef KVIK_ENGINE_VM_CLOCK_H
#define KVIK_ENGINE_VM_CLOCK_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/host/host.h"

#define MSR_WALL_CLOCK_OLD  0x11
#define MSR_SYSTEM_TIME_OLD 0x12
#define MSR_WALL_CLOCK      0x4b564d00
#define MSR_SYSTEM_TIME     0x4b564d01

struct vm;
struct vcpu;

/* Of a VM: kvm-clock reads base_ns when the host's TSC is base_tsc. */
struct vm_clock {
	pthread_mutex_t lock;
	uint64_t base_tsc, base_ns;
	uint64_t wall_clock; /* the wall clock MSR, as last written */
};

/* Of a vCPU; its own thread, or with the vCPU outside KVM_RUN. */
struct vcpu_clock {
	uint64_t msr;            /* the system time MSR: gpa | enabled */
	uint32_t version;        /* of the page; even */
	uint64_t tsc_offset;     /* that the page was computed with ... */
	uint32_t tsc_khz;        /* ... and the frequency */
	bool guest_was_stopped;  /* PVCLOCK_GUEST_STOPPED, KVM_KVMCLOCK_CTRL */
};

uint64_t host_clock_tsc(void); /* host_tsc where the TSC is not steady */
/* The host's time stamp counter and its frequency, measured once (takes up to 10 ms). Where it is
 * not steady (host.h), the host's clock plays it, at 1 GHz; then guests' RDTSC is intercepted. */
static inline uint64_t host_tsc(void)
{
	return __builtin_expect(host.has_steady_tsc, true) ? __builtin_ia32_rdtsc() : host_clock_tsc();
}
uint32_t host_tsc_khz(void);
/* Take the measurement's first sample, as early as possible. */
void host_tsc_start_measurement(void);

void vm_clock_init(struct vm *vm);
void vm_clock_destroy(struct vm *vm);
/* What KVM_GET_CLOCK tells: KVM_CLOCK_*. */
uint32_t vm_clock_flags(void);
int vm_clock_get(struct vm *vm, struct kvm_clock_data *data); /* KVM_GET_CLOCK */
int vm_clock_set(struct vm *vm, const struct kvm_clock_data *data); /* 0, -EINVAL */

/* The four MSRs: 0, or -ENOENT for another. */
int vcpu_clock_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value);
int vcpu_clock_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* KVM_KVMCLOCK_CTRL: 0, -EINVAL without an enabled page. */
int vcpu_clock_set_stopped(struct vcpu *vcpu);
/* Write the vCPU's page again if its TSC differs from the page's. */
void vcpu_clock_refresh(struct vcpu *vcpu);

#endif
