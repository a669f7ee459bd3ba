/*
 * A virtual CPU: the x86 CPU (struct cpu), with its tiers, and what the KVM API puts around it.
 *
 * Threads: KVM_RUN and every other request hold `lock`, so whoever has it owns all fields but the
 * atomic ones. Other threads (interrupt controllers, engine_kick, the watcher of signals, exclusive
 * sections) touch only the atomic fields, cpu.requests and wake_fd.
 */
#ifndef KVIK_ENGINE_VCPU_VCPU_H
#define KVIK_ENGINE_VCPU_VCPU_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/irqchip/irqchip.h"
#include "engine/run/runner.h"
#include "engine/vm/clock.h"
#include "engine/vm/member.h"
#include "engine/vm/vm.h"
#include "engine/x86/cpu.h"

/* The file that user space maps: kvm_run, the data of port I/O, the ring of coalesced MMIO; and from
 * DIRTY_RING_OFFSET on the dirty ring, if the VM has them. */
#define VCPU_PAGE_SIZE 4096
#define VCPU_MMAP_SIZE (3 * VCPU_PAGE_SIZE)

/* Of pv_clock.c. The vCPU's own thread's, or anybody's while it is outside KVM_RUN. */
struct vcpu_clock {
	uint64_t msr;            /* the system time MSR: gpa | enabled */
	uint64_t tsc_offset;     /* that the page was computed with ... */
	uint32_t tsc_khz;        /* ... and the frequency */
	bool guest_was_stopped;  /* PVCLOCK_GUEST_STOPPED, KVM_KVMCLOCK_CTRL */
};

/* Of steal_time.c; likewise. */
struct vcpu_steal {
	uint64_t msr;       /* gpa | enabled */
	bool is_counting;   /* the rest is since some moment, on `thread` */
	pthread_t thread;
	uint64_t since;     /* host_tsc, then; likewise the next two */
	uint64_t left;      /* when the guest was left last; 0: it is inside */
	uint64_t outside;   /* ticks since then outside the guest */
	uint64_t used_ns;   /* the thread's CPU time, then */
	uint64_t elsewhere; /* cpu.ticks_elsewhere, then */
};

/* What KVM_GET_STATS_FD shows. */
enum vcpu_counter {
	VCPU_COUNT_EXITS,
	VCPU_COUNT_IO,
	VCPU_COUNT_MMIO,
	VCPU_COUNT_HALT,
	VCPU_COUNT_SIGNAL,
	VCPU_COUNT_WINDOW,
	VCPU_COUNT_INJECTIONS, /* the CPU counts them */
	VCPU_COUNTERS,
};

struct vcpu {
	struct vm *vm;
	struct vm_member member; /* of vm */
	pthread_mutex_t lock;
	union {
		struct cpu cpu; /* its first part */
		struct runner runner;
	};
	struct kvm_run *run;
	size_t file_size; /* of the mapping that begins with run */
	struct dirty_ring dirty_ring; /* behind it */
	struct kvm_coalesced_mmio_ring *coalesced; /* in the VM's first vCPU only, else NULL */
	struct lapic *lapic; /* NULL when the VM has no interrupt controllers in the engine */

	/* -- between threads -- */
	_Atomic bool is_kicked;   /* engine_kick, until KVM_RUN has returned EINTR for it */
	/* 1 while it sleeps, or is about to: signals_sleep. A futex where it ignores signals. */
	_Atomic uint32_t is_sleeping;
	_Atomic bool pv_unhalted; /* KVM_HC_KICK_CPU */
	int wake_fd; /* eventfd, in whose stead */
	_Atomic uint64_t eoi_exits[4]; /* vectors whose EOI user space must learn of */
	struct vcpu *watched_next;     /* signals.c's list; its lock */
	struct vcpu *sampled_next;     /* sampler.c's list; its lock */
	uint64_t times_ns[CPU_ACTIVITIES]; /* likewise */

	/* -- for --stats: its thread's -- */
	uint64_t sections, sections_ticks; /* exclusive ones that it began; host TSC until the others stood still */
	uint64_t stops;  /* for those of others */
	uint64_t sleeps; /* in HLT or before it was started */

	/* -- vcpu_counters.c -- */
	uint64_t counters[VCPU_COUNTERS];
	struct statistics statistics;

	/* -- what runs -- */
	uint32_t mp_state; /* KVM_MP_STATE_* */
	uint32_t sipi_vector;
	bool is_sipi_pending;  /* set by KVM_SET_MP_STATE */
	bool has_entered;      /* the guest, in this KVM_RUN */
	bool has_run;          /* CPUID may not change any more */
	bool triple_fault_pending; /* set by KVM_SET_VCPU_EVENTS */
	uint64_t apic_base;    /* without lapic */
	uint8_t cr8;           /* without lapic */

	/* -- time -- */
	uint32_t tsc_khz;
	uint64_t tsc_ratio; /* guest ticks a host tick, 16.48 fixed point; 0: equal */
	struct vcpu_clock clock;
	struct vcpu_steal steal;

	/* -- signals (signals.c) -- */
	_Atomic bool ignores_signals; /* read by the watcher */
	bool has_signal_mask;
	sigset_t signal_mask; /* KVM_SET_SIGNAL_MASK: blocked while KVM_RUN runs */
	int cancel_state;     /* the thread's own, likewise */
	sigset_t thread_mask; /* the thread's own, to be restored when KVM_RUN returns */
	sigset_t wanted;      /* signals that interrupt KVM_RUN */
	bool wanted_is_stale; /* signal_mask changed */
	int signal_fd;        /* signalfd for `watched`, or -1 */
	sigset_t watched;
};

/* The interrupt controllers' way to vCPUs. */
extern const struct irqchip_host vcpu_irqchip_host;
/* The CPU's way to the VM (platform.c). */
extern const struct cpu_platform vcpu_platform;

/* KVM_CREATE_VCPU: a descriptor or -errno. */
int vcpu_create(struct vm *vm, unsigned long id);

/* One request on a vCPU's descriptor. */
int vcpu_ioctl(struct vcpu *vcpu, unsigned long request, void *argument);

/* Around the execution of guest code: sections wait for the vCPU in between (exclusive.h). */
static inline void vcpu_enter_guest(struct vcpu *vcpu)
{
	exclusive_enter(&vcpu->vm->exclusive, &vcpu->member.exclusive);
}

static inline void vcpu_leave_guest(struct vcpu *vcpu)
{
	exclusive_leave(&vcpu->vm->exclusive, &vcpu->member.exclusive);
}

/* An event may be pending: end the present block, or wake it from sleep. Any thread. */
void vcpu_notify(void *vcpu);
/* As a signal would: KVM_RUN returns EINTR. Any thread, async-signal-safe. */
void vcpu_kick(struct vcpu *vcpu);
/* See engine_ignore_signals. */
void vcpu_ignore_signals(struct vcpu *vcpu);

/* INIT or power-up: state and mp_state. */
void vcpu_reset(struct vcpu *vcpu, bool is_init);
/* Take NMI, INIT and SIPI from the local APIC. False when the vCPU was reset or waits for SIPI. */
bool vcpu_process_events(struct vcpu *vcpu);
/* Whether this is the bootstrap processor. */
bool vcpu_is_bsp(const struct vcpu *vcpu);

/* Every counter of the CPU and its translator: see engine_read_statistics. */
void vcpu_read_statistics(struct vcpu *vcpu,
			  void (*visit)(void *context, const char *name, uint64_t value),
			  void *context);

/* -- vcpu_counters.c -- */
void vcpu_count_exit(struct vcpu *vcpu); /* KVM_RUN returns */
int vcpu_open_counters(struct vcpu *vcpu); /* KVM_GET_STATS_FD: a descriptor or -errno */

/* -- vcpu_run.c -- */
int vcpu_run(struct vcpu *vcpu); /* KVM_RUN: 0, -EINTR, -EAGAIN, -EINVAL */

/* -- vcpu_state.c, vcpu_config.c: the requests behind KVM_GET_* and KVM_SET_* -- */
void vcpu_get_regs(struct vcpu *vcpu, struct kvm_regs *regs);
void vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs);
void vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs);
int vcpu_set_sregs(struct vcpu *vcpu, const struct kvm_sregs *sregs);
void vcpu_get_sregs2(struct vcpu *vcpu, struct kvm_sregs2 *sregs);
int vcpu_set_sregs2(struct vcpu *vcpu, const struct kvm_sregs2 *sregs);
void vcpu_get_events(struct vcpu *vcpu, struct kvm_vcpu_events *events);
int vcpu_set_events(struct vcpu *vcpu, const struct kvm_vcpu_events *events);
void vcpu_get_debugregs(struct vcpu *vcpu, struct kvm_debugregs *regs);
int vcpu_set_debugregs(struct vcpu *vcpu, const struct kvm_debugregs *regs);
int vcpu_get_mp_state(struct vcpu *vcpu, struct kvm_mp_state *state);
int vcpu_set_mp_state(struct vcpu *vcpu, const struct kvm_mp_state *state);

int vcpu_get_msrs(struct vcpu *vcpu, struct kvm_msrs *user);
int vcpu_set_msrs(struct vcpu *vcpu, struct kvm_msrs *user);
int vcpu_get_cpuid(struct vcpu *vcpu, struct kvm_cpuid2 *user);
int vcpu_set_cpuid(struct vcpu *vcpu, const struct kvm_cpuid2 *user);
int vcpu_set_guest_debug(struct vcpu *vcpu, const struct kvm_guest_debug *debug);
int vcpu_set_tsc_khz(struct vcpu *vcpu, unsigned long khz);
int vcpu_interrupt(struct vcpu *vcpu, const struct kvm_interrupt *interrupt);

/* -- vcpu_mce.c: KVM_X86_SETUP_MCE and KVM_X86_SET_MCE. 0, -EINVAL -- */
int vcpu_setup_mce(struct vcpu *vcpu, uint64_t mcg_cap);
int vcpu_set_mce(struct vcpu *vcpu, const struct kvm_x86_mce *mce);

/* The vCPU that a VM knows as its member. All members of a VM are vCPUs of this kind. */
static inline struct vcpu *vcpu_of(struct vm_member *member)
{
	return (struct vcpu *)((char *)member - offsetof(struct vcpu, member));
}

/* The host's TSC as this vCPU's frequency makes it, without offset. */
static inline uint64_t vcpu_scale_tsc(const struct vcpu *vcpu, uint64_t tsc)
{
	return vcpu->tsc_ratio ? (unsigned __int128)tsc * vcpu->tsc_ratio >> 48 : tsc;
}

/* Whether IA32_APIC_BASE may be that, transitions apart. */
bool vcpu_apic_base_is_valid(const struct vcpu *vcpu, uint64_t base);

/* Set it as user space may: from any mode to any other. 0, -EINVAL. */
int vcpu_set_apic_base(struct vcpu *vcpu, uint64_t base);

static inline uint64_t vcpu_get_apic_base(struct vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_base(vcpu->lapic) : vcpu->apic_base;
}

static inline uint8_t vcpu_get_cr8(struct vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_cr8(vcpu->lapic) : vcpu->cr8;
}

#endif
