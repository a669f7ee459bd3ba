/*
 * Memory slots (memslot.h), with the rules of Linux's virt/kvm/kvm_main.c, __kvm_set_memory_region.
 *
 * Slots are kept in one array sorted by guest-physical address, which is searched by halves after
 * the slot found last, and in one indexed by slot number. A slot object never changes its place in
 * memory while it exists; a move takes it out of the sorted array and puts it back.
 */
#include "engine/vm/memslot.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/user.h"
#include "util/page.h"

#define PAGES_MAX      ((1ull << 31) - 1) /* KVM_MEM_MAX_NR_PAGES */
#define GPA_LIMIT      (1ull << 52)       /* the architecture's widest MAXPHYADDR */
#define HVA_LIMIT      0x7ffffffff000ull  /* user space ends here (TASK_SIZE_MAX) */
#define FLAGS_ALLOWED  (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

void memslots_init(struct memslots *slots)
{
	memset(slots, 0, sizeof(*slots));
}

static uint64_t page_count(const struct memslot *slot)
{
	return slot->size / PAGE_SIZE;
}

/* Bytes of the dirty bitmap, in whole 64-bit words as KVM_GET_DIRTY_LOG copies it. */
static size_t dirty_size(const struct memslot *slot)
{
	return (page_count(slot) + 63) / 64 * sizeof(uint64_t);
}

static void memslot_destroy(struct memslot *slot)
{
	free(slot->dirty);
	free(slot);
}

/* A log of no page, or with KVM_DIRTY_LOG_INITIALLY_SET of all. */
static int create_log(const struct memslots *slots, struct memslot *slot)
{
	uint64_t pages = page_count(slot);

	slot->dirty = calloc(1, dirty_size(slot));
	if (!slot->dirty)
		return -ENOMEM;
	if ((slots->manual_log & KVM_DIRTY_LOG_INITIALLY_SET) && !slots->has_rings) {
		memset(slot->dirty, 0xff, pages / 64 * sizeof(uint64_t));
		if (pages % 64)
			slot->dirty[pages / 64] = (1ull << pages % 64) - 1;
	}
	return 0;
}

static struct memslot *memslot_create(const struct memslots *slots,
				      const struct kvm_userspace_memory_region *region)
{
	struct memslot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	slot->id = region->slot;
	slot->flags = region->flags;
	slot->gpa = region->guest_phys_addr;
	slot->size = region->memory_size;
	slot->hva = (uint8_t *)(uintptr_t)region->userspace_addr;
	if ((slot->flags & KVM_MEM_LOG_DIRTY_PAGES) && create_log(slots, slot) < 0)
		goto fail;
	return slot;
fail:
	memslot_destroy(slot);
	return NULL;
}

void memslots_destroy(struct memslots *slots)
{
	for (unsigned i = 0; i < slots->count; i++)
		memslot_destroy(slots->slots[i]);
	free(slots->slots);
	free(slots->by_id);
	memslots_init(slots);
}

static bool overlaps(const struct memslots *slots, uint64_t gpa, uint64_t size,
		     const struct memslot *except)
{
	for (unsigned i = memslots_search(slots, gpa); i < slots->count; i++) {
		if (slots->slots[i]->gpa >= gpa + size)
			break;
		if (slots->slots[i] != except)
			return true;
	}
	return false;
}

static void take_out(struct memslots *slots, const struct memslot *slot)
{
	unsigned i = memslots_search(slots, slot->gpa);

	memmove(&slots->slots[i], &slots->slots[i + 1],
		(slots->count - i - 1) * sizeof(*slots->slots));
	slots->count--;
	slots->last = 0;
}

/* There is room for it. */
static void put_in(struct memslots *slots, struct memslot *slot)
{
	unsigned i = memslots_search(slots, slot->gpa);

	memmove(&slots->slots[i + 1], &slots->slots[i], (slots->count - i) * sizeof(*slots->slots));
	slots->slots[i] = slot;
	slots->count++;
	slots->last = i;
}

/* Room for one more slot, and for `id` in by_id. */
static int reserve(struct memslots *slots, unsigned id)
{
	struct memslot **array = realloc(slots->slots, (slots->count + 1) * sizeof(*array));

	if (!array)
		return -ENOMEM;
	slots->slots = array;
	if (id < slots->by_id_size)
		return 0;
	array = realloc(slots->by_id, (id + 1) * sizeof(*array));
	if (!array)
		return -ENOMEM;
	memset(&array[slots->by_id_size], 0, (id + 1 - slots->by_id_size) * sizeof(*array));
	slots->by_id = array;
	slots->by_id_size = id + 1;
	return 0;
}

static struct memslot *find_id(const struct memslots *slots, unsigned id)
{
	return id < slots->by_id_size ? slots->by_id[id] : NULL;
}

static int create(struct memslots *slots, const struct kvm_userspace_memory_region *region)
{
	struct memslot *slot;
	int result;

	if (overlaps(slots, region->guest_phys_addr, region->memory_size, NULL))
		return -EEXIST;
	result = reserve(slots, region->slot);
	if (result < 0)
		return result;
	slot = memslot_create(slots, region);
	if (!slot)
		return -ENOMEM;
	put_in(slots, slot);
	slots->by_id[slot->id] = slot;
	return 0;
}

static int delete(struct memslots *slots, struct memslot *slot)
{
	if (!slot)
		return -EINVAL;
	take_out(slots, slot);
	slots->by_id[slot->id] = NULL;
	memslot_destroy(slot);
	return 0;
}

/* A move, a change of flags, or both. A log that was on and stays on is kept, also over a move. */
static int modify(struct memslots *slots, struct memslot *slot,
		  const struct kvm_userspace_memory_region *region)
{
	if (region->userspace_addr != (uintptr_t)slot->hva || region->memory_size != slot->size ||
	    ((region->flags ^ slot->flags) & KVM_MEM_READONLY))
		return -EINVAL;
	if (region->guest_phys_addr != slot->gpa &&
	    overlaps(slots, region->guest_phys_addr, region->memory_size, slot))
		return -EEXIST;

	if ((region->flags & KVM_MEM_LOG_DIRTY_PAGES) && !slot->dirty) {
		if (create_log(slots, slot) < 0)
			return -ENOMEM;
	} else if (!(region->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		free(slot->dirty);
		slot->dirty = NULL;
	}
	slot->flags = region->flags;
	if (region->guest_phys_addr != slot->gpa) {
		take_out(slots, slot);
		slot->gpa = region->guest_phys_addr;
		put_in(slots, slot);
	}
	return 0;
}

int memslots_set(struct memslots *slots, const struct kvm_userspace_memory_region *region)
{
	uint64_t gpa = region->guest_phys_addr, size = region->memory_size;
	struct memslot *old;

	if (region->flags & ~FLAGS_ALLOWED)
		return -EINVAL;
	/* Bits 31:16 choose an address space (KVM_CAP_MULTI_ADDRESS_SPACE): there is one. */
	if (region->slot >= MEMSLOTS_MAX)
		return -EINVAL;
	if (size % PAGE_SIZE || gpa % PAGE_SIZE || region->userspace_addr % PAGE_SIZE)
		return -EINVAL;
	if (region->userspace_addr > HVA_LIMIT || size > HVA_LIMIT - region->userspace_addr)
		return -EINVAL;
	if (gpa + size < gpa || size / PAGE_SIZE > PAGES_MAX)
		return -EINVAL;

	old = find_id(slots, region->slot);
	if (!size)
		return delete(slots, old);
	if (gpa + size > GPA_LIMIT)
		return -EINVAL;
	return old ? modify(slots, old, region) : create(slots, region);
}

bool memslots_gone(const struct memslots *slots, const struct kvm_userspace_memory_region *region,
		   uint64_t *gpa, uint64_t *last)
{
	const struct memslot *slot = find_id(slots, region->slot);

	if (!slot || (region->memory_size && region->guest_phys_addr == slot->gpa))
		return false;
	*gpa = slot->gpa;
	*last = slot->gpa + slot->size - 1;
	return true;
}

void memslots_forget_dirty(struct memslots *slots, uint32_t id, uint64_t page)
{
	struct memslot *slot = find_id(slots, id);

	if (slot && slot->dirty && page < page_count(slot))
		__atomic_fetch_and(&slot->dirty[page / 64], ~(1ull << page % 64), __ATOMIC_RELAXED);
}

int memslots_get_dirty_log(struct memslots *slots, struct kvm_dirty_log *log)
{
	struct memslot *slot;
	int result;

	if (slots->has_rings)
		return -ENXIO;

	if (log->slot >= MEMSLOTS_MAX)
		return -EINVAL;
	slot = find_id(slots, log->slot);
	if (!slot || !slot->dirty)
		return -ENOENT;
	result = user_write(log->dirty_bitmap, slot->dirty, dirty_size(slot));
	if (result < 0)
		return result;
	if (!slots->manual_log)
		memset(slot->dirty, 0, dirty_size(slot));
	return 0;
}

int memslots_clear_dirty_log(struct memslots *slots, const struct kvm_clear_dirty_log *log)
{
	uint64_t first = log->first_page, count = log->num_pages, *bits;
	struct memslot *slot;
	size_t words;
	int result;

	if (slots->has_rings)
		return -ENXIO;
	if (log->slot >= MEMSLOTS_MAX || first % 64)
		return -EINVAL;
	slot = find_id(slots, log->slot);
	if (!slot || !slot->dirty)
		return -ENOENT;
	if (first > page_count(slot) || count > page_count(slot) - first ||
	    (count < page_count(slot) - first && count % 64))
		return -EINVAL;
	words = (count + 63) / 64;
	bits = malloc(words ? words * sizeof(*bits) : 1);
	if (!bits)
		return -ENOMEM;
	result = user_read(bits, log->dirty_bitmap, words * sizeof(*bits));
	for (size_t i = 0; result == 0 && i < words; i++)
		slot->dirty[first / 64 + i] &= ~bits[i];
	free(bits);
	return result;
}

/* How many of `size` bytes at gpa lie in its page. */
static unsigned part_size(uint64_t gpa, unsigned size)
{
	uint64_t left = PAGE_SIZE - gpa % PAGE_SIZE;

	return size < left ? size : left;
}

int memslots_read(const struct memslots *slots, uint64_t gpa, void *buffer, unsigned size)
{
	uint8_t *bytes = buffer;

	while (size) {
		const struct memslot *slot = memslots_find(slots, gpa);
		unsigned part = part_size(gpa, size);

		if (!slot)
			return -EFAULT;
		memcpy(bytes, slot->hva + (gpa - slot->gpa), part);
		gpa += part;
		bytes += part;
		size -= part;
	}
	return 0;
}

int memslots_write(const struct memslots *slots, uint64_t gpa, const void *buffer, unsigned size)
{
	const uint8_t *bytes = buffer;

	while (size) {
		const struct memslot *slot = memslots_find(slots, gpa);
		unsigned part = part_size(gpa, size);

		if (!slot || (slot->flags & KVM_MEM_READONLY))
			return -EFAULT;
		memcpy(slot->hva + (gpa - slot->gpa), bytes, part);
		memslots_mark_dirty(slots, gpa, slots->writers_ring);
		gpa += part;
		bytes += part;
		size -= part;
	}
	return 0;
}
