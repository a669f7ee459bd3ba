/* One virtual CPU of a machine: its thread, and what its exits mean. */
#ifndef KVIK_MACHINE_VCPU_H
#define KVIK_MACHINE_VCPU_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/bus/mmio.h"
#include "device/bus/pio.h"
#include "device/power.h"
#include "kvm/kvm.h"
#include "machine/interrupts.h"
#include "machine/power_on_state.h"

/* Exit reasons are small integers; what lies beyond is counted together. */
#define VCPU_EXIT_REASONS 48

struct vcpu_statistics {
	uint64_t exits[VCPU_EXIT_REASONS];
	uint64_t port_accesses, mmio_accesses;
	uint64_t kicks;
};

struct machine_vcpu;

/* What a vCPU thread asks of its machine. */
struct vcpu_host {
	/* Before each entry into the guest; parks while the machine is paused, after
	 * vcpu_complete_access. False: end. */
	bool (*may_run)(void *context, struct machine_vcpu *vcpu);
	/* KVM_EXIT_DEBUG. */
	void (*debug)(void *context, struct machine_vcpu *vcpu);
	/* After a kick: is the vCPU halted with interrupts off, or not started yet? */
	void (*report_idle)(void *context, unsigned id, bool is_idle);
	void *context;
};

struct machine_vcpu {
	struct kvm_vcpu kvm; /* whose id is its APIC id */
	unsigned index;	     /* its number among the machine's */
	struct kvm_cpuid2 *cpuid; /* what it was given; owned */
	struct kvm_cpuid2 *made_cpuid; /* ... when it was made, if a saved machine came with another; NULL, or owned */
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct interrupts *interrupts;
	struct power power;
	struct vcpu_host host;
	bool reports_idle;
	bool resets_at_triple_fault; /* the machine, as a PC's chipset does */
	bool has_crashed; /* has asked for POWER_CRASH; its thread, until it is parked */
	bool is_held; /* parks although the machine runs; the machine's lock, and atomic as a hint */
	bool is_absent; /* it may come: likewise parked. Likewise */
	struct power_on_state power_on;
	struct vcpu_statistics statistics; /* the vCPU's thread, until it is joined */
	pthread_t thread;
	bool has_thread;
	pid_t thread_id; /* the host's number of it; atomic, 0 before vcpu_start */
	sem_t has_started;
};

int vcpu_start(struct machine_vcpu *vcpu, struct error *error); /* create its thread */
void vcpu_force_exit(struct machine_vcpu *vcpu);		/* make it leave the guest. Any thread */
void vcpu_join(struct machine_vcpu *vcpu);

/*
 * An access that exited is complete only when KVM_RUN is entered again (KVM api.rst, section 5).
 * Enter without running the guest, so that a parked vCPU has consistent registers; serve what that
 * leads to. Its own thread.
 */
void vcpu_complete_access(struct machine_vcpu *vcpu);

#endif
