/*
 * An x86 VM: its interrupt controllers, kvm-clock, and what the KVM API lets user space choose for x86
 * guests. The part that any architecture has is struct vm; this folder provides what that asks for,
 * x86_vm_architecture. What executes its vCPUs it does not know: they are members (struct
 * x86_member_operations).
 *
 * Threads and locks are those of vm.h.
 */
#ifndef KVIK_ENGINE_VM_X86_X86_VM_H
#define KVIK_ENGINE_VM_X86_X86_VM_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/irqchip/x86/irqchip.h"
#include "engine/vm/vm.h"
#include "engine/vm/x86/clock.h"
#include "engine/vm/x86/msr_filter.h"

#define X86_MCE_BANKS_MAX  32   /* KVM_CAP_MCE */

/* TSC frequencies from here on make the scaling overflow. */
#define X86_TSC_KHZ_END 100000000u

/* KVM_CAP_SET_GUEST_DEBUG2: what KVM_SET_GUEST_DEBUG knows. */
#define X86_GUEST_DEBUG_VALID                                                                      \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |                  \
	 KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |                \
	 KVM_GUESTDBG_BLOCKIRQ)

/* What all members of an x86 VM do. */
struct x86_member_operations {
	struct vm_member_operations common; /* first: x86_members */
	/* What interrupt controllers ask of them. */
	const struct irqchip_host *irqchip;

	/* Both inside an exclusive section. */

	/* The VM has another msr_filter, or none. */
	void (*msr_filter_changed)(struct vm_member *member);
	/* kvm-clock was set. */
	void (*clock_changed)(struct vm_member *member);
};

struct x86_vm {
	struct vm common; /* first: x86_vm_of */
	struct irqchip *irqchip;
	struct vm_clock clock;
	uint64_t created; /* host_tsc, then */
	struct msr_filter *msr_filter; /* changed under lock and inside an exclusive section; owned; NULL: none */

	/* -- configuration, under lock -- */
	uint32_t boot_cpu_id;         /* KVM_SET_BOOT_CPU_ID */
	uint64_t tss_address;         /* KVM_SET_TSS_ADDR: kept, the engine needs no such page */
	uint64_t identity_map_address;
	uint32_t default_tsc_khz;     /* of vCPUs to come */
	bool exception_payload;       /* KVM_CAP_EXCEPTION_PAYLOAD */
	bool triple_fault_event;      /* KVM_CAP_X86_TRIPLE_FAULT_EVENT */
	_Atomic uint32_t msr_exits;   /* KVM_CAP_X86_USER_SPACE_MSR: KVM_MSR_EXIT_REASON_* */
	uint64_t tsc_offset;          /* that vCPUs share; set with the first of them */
};

static inline struct x86_vm *x86_vm_of(struct vm *vm)
{
	return (struct x86_vm *)vm;
}

static inline const struct x86_member_operations *x86_members(const struct vm *vm)
{
	return (const struct x86_member_operations *)vm->member_operations;
}

/* For vm_create (x86_vm.c). Its members' operations are the first part of struct x86_member_operations. */
extern const struct vm_architecture x86_vm_architecture;

/* -- capability.c, requests.c: see struct vm_architecture -- */
int x86_vm_check_capability(long capability);
int x86_vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *capability);
int x86_vm_ioctl(struct vm *vm, unsigned long request, void *argument);

/* -- interrupts.c: requests that interrupt controllers answer, and guard themselves; -ENOTTY for others -- */
int x86_vm_interrupt_ioctl(struct x86_vm *vm, unsigned long request, void *argument);
/* KVM_CREATE_IRQCHIP, KVM_CREATE_PIT, KVM_CREATE_PIT2. With vm->lock held. */
int x86_vm_create_irqchip(struct x86_vm *vm);
int x86_vm_create_pit(struct x86_vm *vm);
int x86_vm_create_pit2(struct x86_vm *vm, const void *user);

#endif
