/*
 * A virtual machine of the engine, whatever its architecture: memory slots, eventfds, vCPUs and what they
 * share. Interrupt controllers, clocks and all else that guests see of the machine belong to an architecture
 * (struct vm_architecture): x86's is in vm/x86.
 *
 * Lifetime: a VM lives while its own descriptor or one of a vCPU's is open, each holding one
 * reference, as in Linux. vCPUs belong to the VM and go with it: closing a vCPU's descriptor leaves
 * the vCPU in the VM, and its id taken.
 *
 * Lock order, outermost first:
 *   1. vcpu.lock      one request on a vCPU at a time, KVM_RUN included
 *   2. vm.lock        configuration: slots, ioeventfds, creation of vCPUs and controllers
 *   3. exclusive      (exclusive.h) every vCPU between instructions
 *   4. the architecture's: x86's clock.lock
 *   5. interrupt controllers' (irqchip/internal.h), leaves
 * A vCPU that executes guest code holds only its own 1 and takes none but 4 and 5: so a thread with
 * 2 may wait for it to pause. What such a vCPU reads without a lock (memory slots, ioeventfds, the
 * list of vCPUs) changes only inside an exclusive section.
 */
#ifndef KVIK_ENGINE_VM_VM_H
#define KVIK_ENGINE_VM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/limits.h"
#include "engine/options.h"
#include "engine/vm/ahead.h"
#include "engine/vm/coalesced.h"
#include "engine/vm/exclusive.h"
#include "engine/vm/ioeventfd.h"
#include "engine/vm/member.h"
#include "engine/vm/memslot.h"
#include "engine/vm/statistics.h"

#define VM_VCPUS_ADVISED   64   /* KVM_CAP_NR_VCPUS */

struct vm;

/* What an architecture provides. Its struct begins with struct vm. */
struct vm_architecture {
	size_t size; /* of that struct, bytes; it comes as zeroes */

	/* Make its part of a new VM, whose rest is there. `type` is KVM_CREATE_VM's. 0 or -errno. */
	int (*create)(struct vm *vm, unsigned long type);
	/* The VM ends. Its threads go first: nothing asks members for anything any more ... */
	void (*stop)(struct vm *vm);
	/* ... and, when members have gone, the rest. For a VM that had none, without `stop` before. */
	void (*destroy)(struct vm *vm);

	/* One request on the VM's descriptor: what it returns, or -ENOTTY for one that it does not know, with
	 * nothing done. It is asked before vm_ioctl's own. */
	int (*ioctl)(struct vm *vm, unsigned long request, void *argument);
	/* KVM_CHECK_EXTENSION, for what capability_check does not know itself; 0 for an unknown one. */
	int (*check_capability)(long capability);
	/* KVM_ENABLE_CAP, likewise, with vm->lock held; -EINVAL for an unknown one. */
	int (*enable_capability)(struct vm *vm, const struct kvm_enable_cap *capability);
};

struct vm {
	const struct vm_architecture *architecture; /* constant, as the next two */
	const struct vm_member_operations *member_operations; /* of all members */
	struct engine_options options; /* the system handle's */
	_Atomic unsigned references;
	pthread_mutex_t lock;
	struct memslots memslots;     /* changed under lock and inside an exclusive section */
	struct ioeventfds ioeventfds; /* likewise */
	struct coalesced coalesced;   /* likewise */
	struct exclusive exclusive;

	struct vm_execution *_Atomic execution; /* made with the first vCPU; NULL before. Owned */
	struct vm_member *members[VM_VCPUS_MAX]; /* vCPUs in order of creation; member_count are set */
	_Atomic unsigned member_count;

	/* -- configuration, under lock -- */
	uint32_t max_vcpu_id;         /* KVM_CAP_MAX_VCPU_ID enabled, else VM_VCPU_ID_MAX */
	uint32_t dirty_ring_bytes;    /* KVM_CAP_DIRTY_LOG_RING: of each vCPU; 0: none */
	struct statistics statistics; /* KVM_GET_STATS_FD */
	bool owns_memory;             /* engine_own_memory */
	bool tells_writes;            /* engine_tell_writes */
	struct {
		void *base; /* NULL: nothing */
		uint64_t size;
		int fd;
	} shared; /* engine_share_memory */
	struct ahead ahead;           /* of the shared memory */
};

/* KVM_CREATE_VM: a descriptor, or -errno. Architecture and operations outlive the VM. */
int vm_create(const struct vm_architecture *architecture, const struct vm_member_operations *member_operations,
	      const struct engine_options *options, unsigned long type);
void vm_get(struct vm *vm);
void vm_put(void *vm); /* the last one destroys it */

/* One request on a VM's descriptor. */
int vm_ioctl(struct vm *vm, unsigned long request, void *argument);
/* KVM_CHECK_EXTENSION. */
int capability_check(const struct vm_architecture *architecture, long capability);
int vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *capability);

/* The vCPU with this id, or NULL. */
struct vm_member *vm_find_member(struct vm *vm, unsigned id);
/* A new vCPU, whole but for its place here: it belongs to the VM now. With vm->lock held. */
void vm_add_member(struct vm *vm, struct vm_member *member);

/* See engine_own_memory. */
void vm_own_memory(struct vm *vm);
/* See engine_tell_writes. */
void vm_tell_writes(struct vm *vm);
/* See engine_written. Any thread, vCPUs' included. */
void vm_written(struct vm *vm, uint64_t gpa, uint64_t size);
/* See engine_share_memory. */
void vm_share_memory(struct vm *vm, void *base, uint64_t size, int fd);
/* Requests of memory slots, with every vCPU stopped, and what was made from memory that goes dropped. */
int vm_set_memory_region(struct vm *vm, const struct kvm_userspace_memory_region *region);
int vm_get_dirty_log(struct vm *vm, struct kvm_dirty_log *log);
/* KVM_GET_STATS_FD. With vm->lock held. */
int vm_open_statistics(struct vm *vm);
/* KVM_RESET_DIRTY_RINGS: how many entries were given back; -EINVAL without rings. */
int vm_reset_dirty_rings(struct vm *vm);
int vm_clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log);

#endif
