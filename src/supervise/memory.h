/*
 * The memory slots of a VM: the program's memory, mapped in this process.
 *
 * What the program has mapped shared is mapped here from the same file. What is private to it,
 * which is most, is replaced by a shared file with the same content first (remap.h).
 */
#ifndef KVIK_SUPERVISE_MEMORY_H
#define KVIK_SUPERVISE_MEMORY_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct call;
struct memory;

/* One reference, of whoever made it; NULL: no memory. */
struct memory *memory_create(void);
struct memory *memory_get(struct memory *memory);
/* Behind the end of the engine's VM. */
void memory_put(struct memory *memory);

/* KVM_SET_USER_MEMORY_REGION on the engine's VM `vm_fd`, with the program's addresses. Answers the
 * call. */
void memory_set_region(struct memory *memory, int vm_fd, const struct call *call,
                       const struct kvm_userspace_memory_region *region);

/*
 * madvise(2) with MADV_DONTNEED or MADV_FREE, which the program means for its private memory: pages
 * that have a file of ours in their place are emptied there. False when there are none; else the
 * call is answered.
 */
bool memory_serve_advice(const struct call *call);

/* Bytes of a slot, 0 when there is none. */
uint64_t memory_slot_size(struct memory *memory, uint32_t slot);

#endif
