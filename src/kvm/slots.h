/* A VM's memory slots, as they were set: the contract has no request that tells them. */
#ifndef KVIK_KVM_SLOTS_H
#define KVIK_KVM_SLOTS_H

#include <linux/kvm.h>
#include <stdint.h>

struct kvm_slots;

/* NULL: no memory. Everything else may be called on any thread. */
struct kvm_slots *kvm_slots_create(void);
void kvm_slots_destroy(struct kvm_slots *slots); /* NULL: nothing */

/* KVM_SET_USER_MEMORY_REGION has done this. */
void kvm_slots_note(struct kvm_slots *slots, const struct kvm_userspace_memory_region *slot);
/* See kvm_vm_memory_at. */
const uint8_t *kvm_slots_at(struct kvm_slots *slots, uint64_t gpa, uint64_t *size_bytes);

#endif
