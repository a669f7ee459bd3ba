/*
 * Dirty rings (api.rst 8.29): a vCPU's list of pages that were written, which user space reads as it
 * grows, in place of the bitmaps of KVM_GET_DIRTY_LOG.
 *
 * A slot's bitmap (memslot.h) is kept all the same: a bit that is set says that the page is in a ring
 * and not yet given back. So a page is in the rings once, however often it is written.
 *
 * User space maps the entries and may write anything there: what is read back is checked, and the
 * indices are ours alone. A ring that is nearly full ends KVM_RUN; the entries that are left then are
 * for what the CPU may still write until it stops.
 */
#ifndef KVIK_ENGINE_VM_DIRTY_RING_H
#define KVIK_ENGINE_VM_DIRTY_RING_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRTY_RING_BYTES_MAX (65536 * sizeof(struct kvm_dirty_gfn)) /* KVM_CAP_DIRTY_LOG_RING */
#define DIRTY_RING_OFFSET    (KVM_DIRTY_LOG_PAGE_OFFSET * 4096u) /* in a vCPU's file */
/* Linux's 64, and 512 that Intel's page-modification log would fill behind its back. */
#define DIRTY_RING_RESERVE   (64u + 512u)

struct dirty_ring {
	struct kvm_dirty_gfn *entries; /* NULL: the VM has no rings */
	uint32_t count;                /* a power of two */
	_Atomic bool is_locked;        /* guards what follows; held for a few instructions */
	uint32_t pushed, reset;        /* how many ever were, modulo 2^32 */
	_Atomic bool is_full;          /* but for the reserve; read without the lock */
	_Atomic bool is_overrun;       /* pages are lost: the reserve was too small */
};

/* A size that user space may ask for: 0, -EINVAL or -E2BIG. */
static inline int dirty_ring_check_size(uint64_t bytes)
{
	if (!bytes || (bytes & (bytes - 1)) ||
	    bytes < DIRTY_RING_RESERVE * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;
	return bytes > DIRTY_RING_BYTES_MAX ? -E2BIG : 0;
}

void dirty_ring_init(struct dirty_ring *ring, void *memory, size_t bytes);

/* Give back what user space has marked for it, each page through `give_back`, which is told what user
 * space left there: how many. Inside an exclusive section. */
unsigned dirty_ring_reset(struct dirty_ring *ring,
			  void (*give_back)(void *context, uint32_t slot, uint64_t page),
			  void *context);

static inline void dirty_ring_lock(struct dirty_ring *ring)
{
	while (atomic_exchange_explicit(&ring->is_locked, true, memory_order_acquire))
		__builtin_ia32_pause();
}

static inline void dirty_ring_unlock(struct dirty_ring *ring)
{
	atomic_store_explicit(&ring->is_locked, false, memory_order_release);
}

static inline bool dirty_ring_is_full(const struct dirty_ring *ring)
{
	return atomic_load_explicit(&ring->is_full, memory_order_relaxed);
}

/* Any thread. In a header, for the file that calls nothing (memslot_lookup.c). */
static inline void dirty_ring_push(struct dirty_ring *ring, uint32_t slot, uint64_t page)
{
	struct kvm_dirty_gfn *entry;

	dirty_ring_lock(ring);
	if (ring->pushed - ring->reset == ring->count) {
		atomic_store(&ring->is_overrun, true);
	} else {
		entry = &ring->entries[ring->pushed & (ring->count - 1)];
		entry->slot = slot;
		entry->offset = page;
		/* Pairs with user space's reading of the flags. */
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
		ring->pushed++;
	}
	if (ring->pushed - ring->reset >= ring->count - DIRTY_RING_RESERVE)
		atomic_store_explicit(&ring->is_full, true, memory_order_relaxed);
	dirty_ring_unlock(ring);
}

#endif
