/* The rings' beginning, and what user space gives back: dirty_ring.h. */
#include "engine/vm/dirty_ring.h"

#include <limits.h>

void dirty_ring_init(struct dirty_ring *ring, void *memory, size_t bytes)
{
	ring->entries = memory;
	ring->count = (uint32_t)(bytes / sizeof(*ring->entries));
}

unsigned dirty_ring_reset(struct dirty_ring *ring,
			  void (*give_back)(void *context, uint32_t slot, uint64_t page),
			  void *context)
{
	unsigned given_back = 0;

	dirty_ring_lock(ring);
	while (ring->reset != ring->pushed && given_back < INT_MAX) {
		struct kvm_dirty_gfn *entry = &ring->entries[ring->reset & (ring->count - 1)];

		if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_RESET))
			break;
		give_back(context, __atomic_load_n(&entry->slot, __ATOMIC_RELAXED),
			  __atomic_load_n(&entry->offset, __ATOMIC_RELAXED));
		__atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
		ring->reset++;
		given_back++;
	}
	atomic_store(&ring->is_full, ring->pushed - ring->reset >= ring->count - DIRTY_RING_RESERVE);
	dirty_ring_unlock(ring);
	return given_back;
}
