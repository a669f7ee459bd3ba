/*
 * An x86 vCPU: the CPU (struct cpu) with its tiers, its local APIC, and what the KVM API has of both. The
 * part that any architecture has is struct vcpu; this folder provides what that asks for, x86_architecture.
 *
 * Threads and locks are those of vcpu.h. Where nothing else is said a function is called with the vCPU's
 * lock held.
 */
#ifndef KVIK_ENGINE_VCPU_X86_X86_VCPU_H
#define KVIK_ENGINE_VCPU_X86_X86_VCPU_H

#include <pthread.h>
#include <stddef.h>

#include "engine/irqchip/x86/irqchip.h"
#include "engine/run/runner.h"
#include "engine/vcpu/vcpu.h"
#include "engine/vm/x86/x86_vm.h"
#include "engine/x86/cpu.h"
#include "engine/x86/host/host_tsc.h"

#define X86_CPUID_ENTRIES_MAX 256 /* Linux's KVM_MAX_CPUID_ENTRIES */

/* Of pv_clock.c: the vCPU's own thread's, or anybody's while it is outside KVM_RUN. */
struct pv_clock {
	uint64_t msr;            /* the system time MSR: gpa | enabled */
	uint64_t tsc_offset;     /* that the page was computed with ... */
	uint32_t tsc_khz;        /* ... and the frequency */
	bool guest_was_stopped;  /* PVCLOCK_GUEST_STOPPED, KVM_KVMCLOCK_CTRL */
};

/* Of steal_time.c: the vCPU's own thread's, or anybody's while it is outside KVM_RUN. */
struct steal_time {
	uint64_t msr;       /* gpa | enabled */
	bool is_counting;   /* the rest is since some moment, on `thread` */
	pthread_t thread;
	uint64_t since;     /* host_tsc, then; likewise the next two */
	uint64_t left;      /* when the guest was left last; 0: it is inside */
	uint64_t outside;   /* ticks since then outside the guest */
	uint64_t used_ns;   /* the thread's CPU time, then */
	uint64_t elsewhere; /* tiers.ticks_elsewhere, then */
};

struct x86_vcpu {
	struct vcpu common; /* first: x86_vcpu_of */
	union {
		struct cpu cpu; /* its first part */
		struct runner runner;
	};
	struct lapic *lapic; /* NULL when the VM has no interrupt controllers in the engine */

	/* -- between threads -- */
	_Atomic bool pv_unhalted; /* KVM_HC_KICK_CPU */
	_Atomic uint64_t eoi_exits[4]; /* vectors whose EOI user space must learn of */

	/* -- what runs -- */
	uint32_t sipi_vector;
	bool is_sipi_pending;  /* set by KVM_SET_MP_STATE */
	bool triple_fault_pending; /* set by KVM_SET_VCPU_EVENTS */
	uint64_t apic_base;    /* without lapic */
	uint8_t cr8;           /* without lapic */

	/* -- time -- */
	uint32_t tsc_khz;
	uint64_t tsc_ratio; /* guest ticks a host tick, 16.48 fixed point; 0: equal */
	struct pv_clock clock;
	struct steal_time steal;
	uint64_t sections_ticks; /* for --stats: host_tsc from an exclusive section's begin until the others stood still */
};

static inline struct x86_vcpu *x86_vcpu_of(struct vcpu *vcpu)
{
	return (struct x86_vcpu *)vcpu;
}

static inline struct x86_vm *x86_vcpu_vm(const struct x86_vcpu *vcpu)
{
	return x86_vm_of(vcpu->common.vm);
}

/* For vcpu_create (create.c), of an x86 VM. */
extern const struct vcpu_architecture x86_architecture;
/* The interrupt controllers' way to vCPUs (events.c). */
extern const struct irqchip_host x86_irqchip_host;
/* The CPU's way to the VM (platform.c). */
extern const struct cpu_platform x86_platform;

/* -- supported.c: one request on a system descriptor, 0, a number or -errno; -EINVAL for an unknown one -- */
int x86_system_ioctl(const struct engine_options *options, unsigned long request, void *argument);

/* -- events.c -- */
/* INIT or power-up: state and mp_state. */
void x86_reset(struct x86_vcpu *vcpu, bool is_init);
/* Take NMI, INIT and SIPI from the local APIC. False when the vCPU was reset or waits for SIPI. */
bool x86_process_events(struct x86_vcpu *vcpu);
/* Whether this is the bootstrap processor. */
bool x86_is_bsp(const struct x86_vcpu *vcpu);
/* Whether IA32_APIC_BASE may be that, transitions apart. */
bool x86_apic_base_is_valid(const struct x86_vcpu *vcpu, uint64_t base);

/* -- execute.c, statistics.c, requests.c: see struct vcpu_architecture -- */
int x86_begin_run(struct vcpu *vcpu);
void x86_end_run(struct vcpu *vcpu);
bool x86_has_answer(const struct vcpu *vcpu);
bool x86_has_exit(struct vcpu *vcpu);
bool x86_take_exit(struct vcpu *vcpu);
enum vcpu_stop x86_execute(struct vcpu *vcpu);
bool x86_has_event(struct vcpu *vcpu);
void x86_take_event(struct vcpu *vcpu);
#define X86_ACTIVITIES (CPU_ACTIVITIES - ACTIVITIES_COMMON)
extern const char *const x86_activities[X86_ACTIVITIES];
void x86_visit_counters(const struct vcpu *vcpu, vcpu_visitor *visit, void *context);
int x86_ioctl(struct vcpu *vcpu, unsigned long request, void *argument);
bool x86_touches_memory(unsigned long request);

/* -- state.c, config.c: the requests behind KVM_GET_* and KVM_SET_*; 0 or -errno as api.rst says -- */
void x86_get_regs(struct x86_vcpu *vcpu, struct kvm_regs *regs);
void x86_set_regs(struct x86_vcpu *vcpu, const struct kvm_regs *regs);
void x86_get_sregs(struct x86_vcpu *vcpu, struct kvm_sregs *sregs);
int x86_set_sregs(struct x86_vcpu *vcpu, const struct kvm_sregs *sregs);
void x86_get_sregs2(struct x86_vcpu *vcpu, struct kvm_sregs2 *sregs);
int x86_set_sregs2(struct x86_vcpu *vcpu, const struct kvm_sregs2 *sregs);
void x86_get_events(struct x86_vcpu *vcpu, struct kvm_vcpu_events *events);
int x86_set_events(struct x86_vcpu *vcpu, const struct kvm_vcpu_events *events);
void x86_get_debugregs(struct x86_vcpu *vcpu, struct kvm_debugregs *regs);
int x86_set_debugregs(struct x86_vcpu *vcpu, const struct kvm_debugregs *regs);
int x86_get_mp_state(struct x86_vcpu *vcpu, struct kvm_mp_state *state);
int x86_set_mp_state(struct x86_vcpu *vcpu, const struct kvm_mp_state *state);
/* Set IA32_APIC_BASE as user space may: from any mode to any other. 0, -EINVAL. */
int x86_set_apic_base(struct x86_vcpu *vcpu, uint64_t base);

/* With structs of user space's, of which these read and write as much as they say. */
int x86_get_msrs(struct x86_vcpu *vcpu, struct kvm_msrs *user);
int x86_set_msrs(struct x86_vcpu *vcpu, struct kvm_msrs *user);
int x86_get_cpuid(struct x86_vcpu *vcpu, struct kvm_cpuid2 *user);
int x86_set_cpuid(struct x86_vcpu *vcpu, const struct kvm_cpuid2 *user);
/* With copies. */
int x86_set_guest_debug(struct x86_vcpu *vcpu, const struct kvm_guest_debug *debug);
int x86_set_tsc_khz(struct x86_vcpu *vcpu, unsigned long khz); /* 0: the host's */
int x86_interrupt(struct x86_vcpu *vcpu, const struct kvm_interrupt *interrupt);

/* -- mce.c: KVM_X86_SETUP_MCE and KVM_X86_SET_MCE. 0, -EINVAL -- */
int x86_setup_mce(struct x86_vcpu *vcpu, uint64_t mcg_cap);
int x86_set_mce(struct x86_vcpu *vcpu, const struct kvm_x86_mce *mce);

/* The host's TSC as this vCPU's frequency makes it, without offset. */
static inline uint64_t x86_scale_tsc(const struct x86_vcpu *vcpu, uint64_t tsc)
{
	return vcpu->tsc_ratio ? (unsigned __int128)tsc * vcpu->tsc_ratio >> 48 : tsc;
}

static inline uint64_t x86_get_apic_base(struct x86_vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_base(vcpu->lapic) : vcpu->apic_base;
}

static inline uint8_t x86_get_cr8(struct x86_vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_cr8(vcpu->lapic) : vcpu->cr8;
}

#endif
