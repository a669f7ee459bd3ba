/*
 * Time of a VM: kvm-clock (Linux's Documentation/virt/kvm/x86/msr.rst
 * and api.rst 4.29, 4.30), a linear function of host_tsc for the whole life of the VM. What vCPUs tell
 * their guests of it is theirs (vcpu/x86/pv_clock.h).
 */
#ifndef KVIK_ENGINE_VM_X86_CLOCK_H
#define KVIK_ENGINE_VM_X86_CLOCK_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct memslots;

/* Of a VM: kvm-clock reads base_ns when the host's TSC is base_tsc. */
struct vm_clock {
	pthread_mutex_t lock;
	uint64_t base_tsc, base_ns;
	uint64_t wall_clock; /* the wall clock MSR, as last written */
};

/* kvm-clock begins at 0 now. */
void vm_clock_init(struct vm_clock *clock);
void vm_clock_destroy(struct vm_clock *clock);
/* What KVM_GET_CLOCK tells: KVM_CLOCK_*. */
uint32_t vm_clock_flags(void);
void vm_clock_get(struct vm_clock *clock, struct kvm_clock_data *data); /* KVM_GET_CLOCK */
/* KVM_SET_CLOCK: 0, -EINVAL. Inside an exclusive section, after which vCPUs tell of it. */
int vm_clock_set(struct vm_clock *clock, const struct kvm_clock_data *data);

/* kvm-clock in nanoseconds when the host's TSC is *host_tsc: the pair that its line goes through. */
uint64_t vm_clock_base(struct vm_clock *clock, uint64_t *host_tsc);
#define VM_WALL_CLOCK_BYTES 12u
/* The wall clock MSR: the time of day is written to guest memory at `gpa`. */
uint64_t vm_clock_get_wall(struct vm_clock *clock);
void vm_clock_set_wall(struct vm_clock *clock, struct memslots *memslots, uint64_t gpa);

#endif
