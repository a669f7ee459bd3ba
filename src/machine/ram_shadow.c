/*
 * Shadow RAM, from 768 KiB to 1 MiB (82441FX data sheet, "PAM"): firmware copies itself there, and protects
 * the copy.
 *
 * A segment's reads and writes are routed apart. Where reads see RAM a memory slot does all, read-only
 * where writes are kept off. Where they don't, a read-only slot shows the ROM as far as that reaches down
 * from 1 MiB; what no slot takes comes here: reads of nothing, writes to RAM that can't be read. Segments
 * that are alike and lie together share a slot.
 *
 * A slot that changes is gone for a moment, and so is its dirty log: CPUs that are in it meanwhile find
 * nothing. On hardware, too, a CPU that changes the routing of its own code must run elsewhere.
 */
#include "machine/ram_shadow.h"

#include <errno.h>
#include <string.h>

#define SEGMENT_BYTES 0x4000ull
#define PAGES	      64
_Static_assert((RAM_SHADOW_END - RAM_SHADOW_START) / GUEST_MEMORY_PAGE == PAGES, "a word of pages");

static uint64_t segment_gpa(unsigned segment)
{
	return segment < RAM_SHADOW_SEGMENTS ? RAM_SHADOW_START + segment * SEGMENT_BYTES
					     : RAM_SHADOW_END;
}

static unsigned segment_of(uint64_t gpa)
{
	unsigned segment = (gpa - RAM_SHADOW_START) / SEGMENT_BYTES;

	return segment < RAM_SHADOW_SEGMENTS ? segment : RAM_SHADOW_SEGMENTS - 1;
}

/* The ROM's byte at `gpa`, if it reaches down to there. */
static const uint8_t *rom_at(const struct ram_shadow *shadow, uint64_t gpa)
{
	uint64_t below_end = RAM_SHADOW_END - gpa;

	return shadow->rom && below_end <= shadow->rom_bytes
		       ? shadow->rom + (shadow->rom_bytes - below_end)
		       : NULL;
}

/* The slot that `segment` wants for itself; size 0: none. */
static struct kvm_userspace_memory_region wanted_slot(const struct ram_shadow *shadow,
						      unsigned segment, uint8_t access)
{
	uint64_t gpa = segment_gpa(segment);
	struct kvm_userspace_memory_region slot = {
		.slot = RAM_SHADOW_FIRST_SLOT + segment,
		.guest_phys_addr = gpa,
		.memory_size = segment_gpa(segment + 1) - gpa,
	};

	if (access & RAM_SHADOW_READ) {
		slot.userspace_addr = (uintptr_t)(shadow->ram + (gpa - RAM_SHADOW_START));
		slot.flags = access & RAM_SHADOW_WRITE ? 0 : KVM_MEM_READONLY;
		/* What nobody can write has no log of its own. */
		if (shadow->is_logging && (access & RAM_SHADOW_WRITE))
			slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	} else if (rom_at(shadow, gpa)) {
		slot.userspace_addr = (uintptr_t)rom_at(shadow, gpa);
		slot.flags = KVM_MEM_READONLY;
	} else {
		slot.memory_size = 0;
	}
	return slot;
}

static bool can_join(const struct kvm_userspace_memory_region *first,
		     const struct kvm_userspace_memory_region *next)
{
	return first->memory_size && next->memory_size && first->flags == next->flags &&
	       first->userspace_addr + first->memory_size == next->userspace_addr;
}

static void plan_slots(const struct ram_shadow *shadow, const uint8_t *access,
		       struct kvm_userspace_memory_region *slots)
{
	struct kvm_userspace_memory_region *last = NULL;
	unsigned i;

	for (i = 0; i < RAM_SHADOW_SEGMENTS; i++) {
		slots[i] = wanted_slot(shadow, i, access[i]);
		if (last && can_join(last, &slots[i])) {
			last->memory_size += slots[i].memory_size;
			slots[i].memory_size = 0;
		} else {
			last = &slots[i];
		}
	}
}

static bool are_same(const struct kvm_userspace_memory_region *a,
		     const struct kvm_userspace_memory_region *b)
{
	return a->memory_size == b->memory_size &&
	       (!a->memory_size ||
		(a->userspace_addr == b->userspace_addr && a->flags == b->flags));
}

/* Make `old` be `wanted`, which both have one number: those that go have to go first. */
static int set_slot(const struct kvm_vm *vm, struct kvm_userspace_memory_region *old,
		    const struct kvm_userspace_memory_region *wanted)
{
	struct kvm_userspace_memory_region slot = *wanted;
	int result = kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);

	if (result == 0)
		*old = *wanted;
	return result;
}

int ram_shadow_route(struct ram_shadow *shadow, const struct kvm_vm *vm,
		     const uint8_t access[RAM_SHADOW_SEGMENTS], struct error *error)
{
	struct kvm_userspace_memory_region wanted[RAM_SHADOW_SEGMENTS], none;
	unsigned i;
	int result = 0;

	pthread_mutex_lock(&shadow->lock);
	plan_slots(shadow, access, wanted);
	for (i = 0; i < RAM_SHADOW_SEGMENTS && result == 0; i++) {
		if (!shadow->slots[i].memory_size || are_same(&shadow->slots[i], &wanted[i]))
			continue;
		none = shadow->slots[i];
		none.memory_size = 0;
		result = set_slot(vm, &shadow->slots[i], &none);
		shadow->has_changed = true;
	}
	for (i = 0; i < RAM_SHADOW_SEGMENTS && result == 0; i++)
		if (wanted[i].memory_size && !shadow->slots[i].memory_size)
			result = set_slot(vm, &shadow->slots[i], &wanted[i]);
	if (result == 0)
		memcpy(shadow->access, access, sizeof(shadow->access));
	pthread_mutex_unlock(&shadow->lock);
	if (result < 0)
		return error_set_errno(error, -result, "cannot route the RAM below 1 MiB");
	return 0;
}

void ram_shadow_set_rom(struct ram_shadow *shadow, const uint8_t *rom, uint64_t rom_bytes)
{
	shadow->rom = rom;
	shadow->rom_bytes = rom_bytes;
}

int ram_shadow_log(struct ram_shadow *shadow, const struct kvm_vm *vm, bool is_logging,
		   struct error *error)
{
	struct kvm_userspace_memory_region wanted;
	unsigned i;
	int result = 0;

	pthread_mutex_lock(&shadow->lock);
	shadow->is_logging = is_logging;
	shadow->has_changed = false;
	for (i = 0; i < RAM_SHADOW_SEGMENTS && result == 0; i++) {
		wanted = shadow->slots[i];
		if (!wanted.memory_size || (wanted.flags & KVM_MEM_READONLY))
			continue;
		wanted.flags = is_logging ? KVM_MEM_LOG_DIRTY_PAGES : 0;
		result = set_slot(vm, &shadow->slots[i], &wanted);
	}
	pthread_mutex_unlock(&shadow->lock);
	if (result < 0)
		return error_set_errno(error, -result, "cannot log the guest's writes");
	return 0;
}

int ram_shadow_log_read(struct ram_shadow *shadow, const struct kvm_vm *vm, uint64_t *bitmap)
{
	uint64_t pages, word;
	unsigned i;
	int result = 0;

	pthread_mutex_lock(&shadow->lock);
	pages = shadow->has_changed ? UINT64_MAX : 0;
	if (!shadow->is_logging)
		result = -ENOENT;
	for (i = 0; i < RAM_SHADOW_SEGMENTS && result == 0; i++) {
		const struct kvm_userspace_memory_region *slot = &shadow->slots[i];
		struct kvm_dirty_log log = {.slot = slot->slot, .dirty_bitmap = &word};

		if (!slot->memory_size || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
			continue;
		word = 0;
		result = kvm_vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
		pages |= word << (slot->guest_phys_addr - RAM_SHADOW_START) / GUEST_MEMORY_PAGE;
	}
	if (result == 0) {
		shadow->has_changed = false;
		*bitmap = pages;
	}
	pthread_mutex_unlock(&shadow->lock);
	return result;
}

void ram_shadow_init(struct ram_shadow *shadow, const struct guest_memory *memory, uint8_t *ram)
{
	memset(shadow, 0, sizeof(*shadow));
	shadow->memory = memory;
	shadow->ram = ram;
	pthread_mutex_init(&shadow->lock, NULL);
}

void ram_shadow_destroy(struct ram_shadow *shadow)
{
	pthread_mutex_destroy(&shadow->lock);
}

static uint64_t shadow_read(void *device, uint64_t offset, unsigned size)
{
	/* Neither RAM nor ROM, or a slot that is being changed. */
	(void)device;
	(void)offset;
	(void)size;
	return UINT64_MAX;
}

/* An access that crosses from one segment to the next goes where its first byte does. */
static void shadow_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ram_shadow *shadow = device;
	uint64_t gpa = RAM_SHADOW_START + offset;
	bool is_open;

	pthread_mutex_lock(&shadow->lock);
	is_open = shadow->access[segment_of(gpa)] & RAM_SHADOW_WRITE;
	pthread_mutex_unlock(&shadow->lock);
	if (is_open)
		guest_memory_write(shadow->memory, gpa, &value, size);
}

const struct mmio_ops ram_shadow_mmio_ops = {.read = shadow_read, .write = shadow_write};
