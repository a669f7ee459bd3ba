/*
 * What a debugger's session works on: vCPUs that stand still, the guest's memory, and somebody who lets
 * them go on. The machine is one (stub.c), tests have their own.
 */
#ifndef KVIK_MONITOR_GDB_TARGET_H
#define KVIK_MONITOR_GDB_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "device/guest_memory.h"
#include "kvm/kvm.h"

#define GDB_CPUS_MAX 64

/* What one vCPU is to do when the target goes on. */
struct gdb_order {
	enum { GDB_STAY, GDB_RUN, GDB_STEP } what;
	/* Stepping goes on by itself while the instruction pointer is in [first, end). */
	uint64_t first, end;
};

struct gdb_target;

struct gdb_target_ops {
	/* Go on: vCPU i as orders[i] says, with what gdb_session_debug says for KVM_SET_GUEST_DEBUG. The
	 * session hears of the end by gdb_session_stopped. */
	void (*resume)(struct gdb_target *target, const struct gdb_order *orders);
	void (*stop)(struct gdb_target *target);  /* ask for that end */
	void (*reset)(struct gdb_target *target); /* at once if it stands still */
	void (*quit)(struct gdb_target *target);
};

struct gdb_target {
	const struct gdb_target_ops *ops;
	unsigned cpus; /* 1..GDB_CPUS_MAX */
	const struct kvm_vcpu *vcpus[GDB_CPUS_MAX];
	const struct kvm_cpuid2 *cpuid; /* of all of them; NULL: nothing is known */
	const struct guest_memory *memory; /* RAM, which can be changed */
	const struct kvm_vm *vm;	   /* of which the CPUs read what is in its memory slots */
};

#endif
