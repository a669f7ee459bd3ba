/*
 * A virtual machine of the engine: memory slots, interrupt controllers, vCPUs and what they share.
 *
 * Lifetime: a VM lives while its own descriptor or one of a vCPU's is open, each holding one
 * reference, as in Linux. vCPUs belong to the VM and go with it: closing a vCPU's descriptor leaves
 * the vCPU in the VM, and its id taken.
 *
 * Lock order, outermost first:
 *   1. vcpu.lock      one request on a vCPU at a time, KVM_RUN included
 *   2. vm.lock        configuration: slots, ioeventfds, creation of vCPUs and controllers
 *   3. exclusive      (exclusive.h) every vCPU between instructions
 *   4. clock.lock
 *   5. the irqchip's  (irqchip/internal.h) leaves
 * A vCPU that executes guest code holds only its own 1 and takes none but 4 and 5: so a thread with
 * 2 may wait for it to pause. What such a vCPU reads without a lock (memory slots, ioeventfds, the
 * list of vCPUs) changes only inside an exclusive section.
 */
#ifndef KVIK_ENGINE_VM_VM_H
#define KVIK_ENGINE_VM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/irqchip/irqchip.h"
#include "engine/options.h"
#include "engine/vm/ahead.h"
#include "engine/vm/x86/clock.h"
#include "engine/vm/coalesced.h"
#include "engine/vm/exclusive.h"
#include "engine/vm/ioeventfd.h"
#include "engine/vm/member.h"
#include "engine/vm/memslot.h"
#include "engine/vm/x86/msr_filter.h"
#include "engine/vm/statistics.h"

#define VM_VCPUS_MAX       255  /* KVM_CAP_MAX_VCPUS */
#define VM_VCPU_ID_MAX     255  /* KVM_CAP_MAX_VCPU_ID: ids are below; also the initial APIC ids */
#define VM_VCPUS_ADVISED   64   /* KVM_CAP_NR_VCPUS */
#define VM_MCE_BANKS_MAX   32   /* KVM_CAP_MCE */
#define VM_IRQ_ROUTES_MAX  4096 /* as Linux's KVM_MAX_IRQ_ROUTES */

/* KVM_CAP_SET_GUEST_DEBUG2: what KVM_SET_GUEST_DEBUG knows. */
#define VM_GUEST_DEBUG_VALID                                                                       \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |                  \
	 KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |                \
	 KVM_GUESTDBG_BLOCKIRQ)

struct vm {
	_Atomic unsigned references;
	struct engine_options options; /* the system handle's; constant */
	pthread_mutex_t lock;
	struct memslots memslots;     /* changed under lock and inside an exclusive section */
	struct ioeventfds ioeventfds; /* likewise */
	struct coalesced coalesced;   /* likewise */
	struct msr_filter *msr_filter; /* likewise; owned; NULL: none */
	struct irqchip *irqchip;
	struct exclusive exclusive;
	struct vm_clock clock;

	struct vm_execution *_Atomic execution; /* made with the first vCPU; NULL before. Owned */
	struct vm_member *members[VM_VCPUS_MAX]; /* vCPUs in order of creation; member_count are set */
	_Atomic unsigned member_count;

	/* -- configuration, under lock -- */
	uint32_t boot_cpu_id;         /* KVM_SET_BOOT_CPU_ID */
	uint32_t max_vcpu_id;         /* KVM_CAP_MAX_VCPU_ID enabled, else VM_VCPU_ID_MAX */
	uint64_t tss_address;         /* KVM_SET_TSS_ADDR: kept, the engine needs no such page */
	uint64_t identity_map_address;
	uint32_t default_tsc_khz;     /* of vCPUs to come */
	bool exception_payload;       /* KVM_CAP_EXCEPTION_PAYLOAD */
	bool triple_fault_event;      /* KVM_CAP_X86_TRIPLE_FAULT_EVENT */
	uint32_t dirty_ring_bytes;    /* KVM_CAP_DIRTY_LOG_RING: of each vCPU; 0: none */
	_Atomic uint32_t msr_exits;   /* KVM_CAP_X86_USER_SPACE_MSR: KVM_MSR_EXIT_REASON_* */
	struct statistics statistics; /* KVM_GET_STATS_FD */
	bool owns_memory;             /* engine_own_memory */
	bool tells_writes;            /* engine_tell_writes */
	struct {
		void *base; /* NULL: nothing */
		uint64_t size;
		int fd;
	} shared; /* engine_share_memory */
	struct ahead ahead;           /* of the shared memory */
	uint64_t tsc_offset;          /* that vCPUs share: a VM's TSC begins at 0 */
};

/* KVM_CREATE_VM: a descriptor, or -errno (-EINVAL for a type other than 0). */
int vm_create(const struct engine_options *options, const struct irqchip_host *irqchip_host,
	      unsigned long type);
void vm_get(struct vm *vm);
void vm_put(void *vm); /* the last one destroys it */

/* One request on a VM's descriptor. */
int vm_ioctl(struct vm *vm, unsigned long request, void *argument);
/* KVM_CHECK_EXTENSION; `vm` is NULL on the system handle. */
int capability_check(const struct vm *vm, long capability);
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
/* KVM_X86_SET_MSR_FILTER. */
int vm_set_msr_filter(struct vm *vm, const void *user);
/* KVM_RESET_DIRTY_RINGS: how many entries were given back; -EINVAL without rings. */
int vm_reset_dirty_rings(struct vm *vm);
int vm_clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log);

#endif
