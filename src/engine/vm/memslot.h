/*
 * Memory slots: which guest-physical ranges are memory, and where (KVM api.rst 4.35, 4.8).
 *
 * Writers (KVM_SET_USER_MEMORY_REGION, GET_DIRTY_LOG) run with every CPU of the VM stopped
 * (exclusive section) and with the VM's lock held; readers are CPUs inside cpu_run, without a lock.
 * After a slot was deleted, moved or has changed its flags, the writer flushes every CPU's TLB; what was
 * derived from memory that is no longer there goes, too (memslots_gone).
 */
#ifndef KVIK_ENGINE_VM_MEMSLOT_H
#define KVIK_ENGINE_VM_MEMSLOT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/page.h"
#include "engine/vm/dirty_ring.h"

#define MEMSLOTS_MAX 32764 /* as Linux's KVM_CAP_NR_MEMSLOTS on x86 */

struct memslot {
	uint32_t id;
	uint32_t flags;     /* KVM_MEM_* */
	uint64_t gpa, size; /* bytes, page-aligned */
	uint8_t *hva;
	uint64_t *dirty;    /* bitmap, one bit a page, with KVM_MEM_LOG_DIRTY_PAGES; owned */
};

struct memslots {
	struct memslot **slots; /* sorted by gpa; owned */
	unsigned count;
	struct memslot **by_id; /* by_id_size of them, NULL where there is no slot; owned */
	unsigned by_id_size;
	unsigned last; /* index of the slot found last: a hint, any thread, relaxed atomic */
	/* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_*: whether KVM_GET_DIRTY_LOG leaves the log
	 * as it is, and whether a log begins with all pages dirty. */
	uint64_t manual_log;
	/* Where memslots_write tells of pages, in a VM with dirty rings; else NULL. */
	struct dirty_ring *writers_ring;
	bool has_rings;
};

/* No slots; and freeing the table, not the memory, which is user space's. */
void memslots_init(struct memslots *slots);
void memslots_destroy(struct memslots *slots);

/*
 * KVM_SET_USER_MEMORY_REGION: add, delete (size 0), move, change flags. 0, -EINVAL, -EEXIST
 * (overlap), -ENOMEM as Linux. All-or-nothing. The host range is not touched and may be unmapped.
 */
int memslots_set(struct memslots *slots, const struct kvm_userspace_memory_region *region);

/* The memory that this request takes away if it succeeds: [*gpa, *last]. False: none. */
bool memslots_gone(const struct memslots *slots, const struct kvm_userspace_memory_region *region,
		   uint64_t *gpa, uint64_t *last);

/* -- memslot_lookup.c: no vector instructions, no calls -- */

/* The index of the first slot that ends above gpa: the only one that can hold it. */
unsigned memslots_search(const struct memslots *slots, uint64_t gpa);
/* The slot that holds gpa, or NULL. */
struct memslot *memslots_find(const struct memslots *slots, uint64_t gpa);
bool memslots_page(const struct memslots *slots, uint64_t gpa, struct cpu_page *page);
/* Any thread that may write guest memory; does nothing where no log is kept. `ring` is for pages that are
 * in none yet; NULL: there are no rings. */
void memslots_mark_dirty(const struct memslots *slots, uint64_t gpa, struct dirty_ring *ring);

/* -- memslot.c -- */

/* KVM_GET_DIRTY_LOG: copies the bitmap out, and clears it unless manual_log says otherwise. 0, -EINVAL
 * (slot number), -ENXIO (there are rings), -ENOENT (no such slot, or no log) or -EFAULT: then nothing is cleared. The caller
 * flushes the TLBs' write tags. */
int memslots_get_dirty_log(struct memslots *slots, struct kvm_dirty_log *log);
/* KVM_CLEAR_DIRTY_LOG: clears the bits that are set in log->dirty_bitmap, user space's. Likewise, and
 * -EINVAL for a range that is not the slot's or has no whole words. */
int memslots_clear_dirty_log(struct memslots *slots, const struct kvm_clear_dirty_log *log);
/* Page number `page` of a slot is in no ring any more; nothing if there is no such page. */
void memslots_forget_dirty(struct memslots *slots, uint32_t id, uint64_t page);

/* Read or write guest-physical memory from the engine itself (kvm-clock pages, ...): 0 or -EFAULT.
 * Writes are logged; they fail in read-only slots. */
int memslots_read(const struct memslots *slots, uint64_t gpa, void *buffer, unsigned size);
int memslots_write(const struct memslots *slots, uint64_t gpa, const void *buffer, unsigned size);

#endif
