/*
 * A virtual CPU as the KVM API knows it, whatever its architecture: a descriptor with a page of kvm_run,
 * KVM_RUN with its signals, kicks and sleep, and a place among its VM's vCPUs. What executes, and every
 * request about registers, belongs to an architecture (struct vcpu_architecture): x86's is in vcpu/x86.
 *
 * Threads: KVM_RUN and every other request hold `lock`, so whoever has it owns all fields but the
 * atomic ones. Other threads (interrupt controllers, engine_kick, the watcher of signals, exclusive
 * sections) touch only the atomic fields and wake_fd, and ask by the architecture's `request`.
 */
#ifndef KVIK_ENGINE_VCPU_VCPU_H
#define KVIK_ENGINE_VCPU_VCPU_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/activity.h"
#include "engine/vcpu/group.h"
#include "engine/vm/member.h"
#include "engine/vm/vm.h"
#include "util/page.h"

/* The file that user space maps: kvm_run, the data of port I/O, the ring of coalesced MMIO; and from
 * DIRTY_RING_OFFSET on the dirty ring, if the VM has them. */
#define VCPU_MMAP_SIZE ((int)(3 * PAGE_SIZE))

struct vcpu;

/* What a CPU that executes is to do soon, between two instructions. */
enum vcpu_request {
	VCPU_LOOK_FOR_EVENTS, /* something may be pending for it */
	VCPU_LEAVE_GUEST,     /* `execute` returns */
	VCPU_PAUSE,           /* stand still while a section lasts (vm/exclusive.h) */
};

/* Why `execute` returned. */
enum vcpu_stop {
	VCPU_STOPS_FOR_USER, /* kvm_run holds an exit */
	VCPU_WAS_INTERRUPTED,
	VCPU_HALTED,         /* it waits for an event */
};

typedef void vcpu_visitor(void *context, const char *name, uint64_t value);

/*
 * What an architecture provides. Where nothing else is said a function is called with vcpu->lock held, by
 * whoever has called KVM_RUN or another request. The architecture's struct begins with struct vcpu.
 */
struct vcpu_architecture {
	size_t size; /* of that struct, bytes; it comes as zeroes */
	/* For vm_create; its `destroy` is vcpu_destroy. */
	const struct vm_member_operations *member;

	/* Make the CPU, in the state after power-up, once the rest is there. From then on `request` may be
	 * called. With vm->lock held. 0 or -errno. */
	int (*create)(struct vcpu *vcpu);
	/* The VM ends; nobody asks it anything any more. */
	void (*destroy)(struct vcpu *vcpu);

	/* Any thread, async-signal-safe. */
	void (*request)(struct vcpu *vcpu, enum vcpu_request request);

	/* -- KVM_RUN -- */

	/* Take over what user space has left in kvm_run: 0, or -errno for KVM_RUN. */
	int (*begin)(struct vcpu *vcpu);
	/* Fill in what user space finds in kvm_run besides the exit. */
	void (*end)(struct vcpu *vcpu);
	/* Whether kvm_run holds the answer to an access of an instruction that is under way: `execute` ends
	 * that instruction before it looks at requests. */
	bool (*has_answer)(const struct vcpu *vcpu);
	/* Whether user space has to be told of something before the guest goes on ... */
	bool (*has_exit)(struct vcpu *vcpu);
	/* ... and telling it: fills kvm_run and returns true, or false if there is nothing. */
	bool (*take_exit)(struct vcpu *vcpu);
	/* Run guest code, inside vcpu_enter_guest and vcpu_leave_guest. */
	enum vcpu_stop (*execute)(struct vcpu *vcpu);
	/* While mp_state is not RUNNABLE: whether what it waits for is there. A thread that makes it so calls
	 * vcpu_notify behind that. */
	bool (*has_event)(struct vcpu *vcpu);
	/* Take it: mp_state changes accordingly. */
	void (*take_event)(struct vcpu *vcpu);

	/* -- other requests -- */

	/* One that vcpu_ioctl does not know itself: what the request returns, -EINVAL for an unknown one. */
	int (*ioctl)(struct vcpu *vcpu, unsigned long request, void *argument);
	/* Whether it reads or writes guest memory: vm->lock is held during `ioctl`, so that slots hold still. */
	bool (*touches_memory)(unsigned long request);

	/* What vCPUs do besides what all do (activity.h), for people, from ACTIVITIES_COMMON on: "ms in ..." */
	const char *const *activities;
	unsigned activity_count;
	/* Show counters for people. Any thread; numbers may be a little old. */
	void (*visit_counters)(const struct vcpu *vcpu, vcpu_visitor *visit, void *context);
};

/* What KVM_GET_STATS_FD shows. */
enum vcpu_counter {
	VCPU_COUNT_EXITS,
	VCPU_COUNT_IO,
	VCPU_COUNT_MMIO,
	VCPU_COUNT_HALT,
	VCPU_COUNT_SIGNAL,
	VCPU_COUNT_WINDOW,
	VCPU_COUNT_INJECTIONS, /* the architecture's: `end` sets it */
	VCPU_COUNTERS,
};

struct vcpu {
	const struct vcpu_architecture *architecture; /* constant, as the next three */
	struct vm *vm;
	struct vcpu_group *group; /* likewise; its own share of it */
	struct activity *activity; /* of what executes */
	struct vm_member member; /* of vm */
	pthread_mutex_t lock;
	struct kvm_run *run;
	size_t file_size; /* of the mapping that begins with run; bytes */
	struct dirty_ring dirty_ring; /* behind it */
	struct kvm_coalesced_mmio_ring *coalesced; /* in the VM's first vCPU only, else NULL */

	/* -- between threads -- */
	_Atomic bool is_kicked;   /* engine_kick, until KVM_RUN has returned EINTR for it */
	/* 1 while it sleeps, or is about to: signals_sleep. A futex where it ignores signals. */
	_Atomic uint32_t is_sleeping;
	int wake_fd; /* eventfd, in whose stead */
	struct vcpu *watched_next;     /* of the group's watcher; its lock */
	struct vcpu *sampled_next;     /* of the group's sampler; its lock */
	uint64_t times_ns[ACTIVITIES_MAX]; /* likewise */

	/* -- for --stats: its thread's -- */
	uint64_t sections; /* exclusive ones that it began */
	uint64_t sections_beside, sections_widened; /* of these, ones beside vCPUs that are apart, and that did not stay so */
	uint64_t stops;  /* for those of others */
	uint64_t sleeps; /* in HLT or before it was started */

	/* -- vcpu_counters.c -- */
	uint64_t counters[VCPU_COUNTERS];
	struct statistics statistics;

	/* -- what runs -- */
	uint32_t mp_state; /* KVM_MP_STATE_* */
	bool has_entered;  /* the guest, in this KVM_RUN */
	bool has_run;      /* what the guest has seen of the CPU may not change any more */

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

/* KVM_CREATE_VCPU, of an architecture that outlives the VM, which was made for its members: a descriptor or -errno. */
int vcpu_create(struct vm *vm, const struct vcpu_architecture *architecture, unsigned long id);
/* vm_member_operations.destroy. */
void vcpu_destroy(struct vm_member *member);

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
void vcpu_notify(struct vcpu *vcpu);
/* As a signal would: KVM_RUN returns EINTR. Any thread, async-signal-safe. */
void vcpu_kick(struct vcpu *vcpu);
/* See engine_ignore_signals. */
void vcpu_ignore_signals(struct vcpu *vcpu);

/* -- vcpu_statistics.c: every counter of the CPU and what executes it, see engine_read_statistics -- */
void vcpu_read_statistics(struct vcpu *vcpu, vcpu_visitor *visit, void *context);

/* -- vcpu_counters.c -- */
void vcpu_count_exit(struct vcpu *vcpu); /* KVM_RUN returns */
int vcpu_open_counters(struct vcpu *vcpu); /* KVM_GET_STATS_FD: a descriptor or -errno */

/* -- vcpu_run.c -- */
int vcpu_run(struct vcpu *vcpu); /* KVM_RUN: 0, -EINTR, -EAGAIN, -EINVAL */

/* The vCPU that a VM knows as its member. All members of a VM are vCPUs of this kind. */
static inline struct vcpu *vcpu_of(struct vm_member *member)
{
	return (struct vcpu *)((char *)member - offsetof(struct vcpu, member));
}

#endif
