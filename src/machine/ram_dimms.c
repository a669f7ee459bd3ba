/* Memory in slots (ram.h): where a DIMM lies in the guest's addresses, and in the file behind RAM. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "machine/ram.h"

/* Linux takes memory by blocks of this, and no less. */
#define ALIGNMENT	  (128ull << 20)
#define BACKING_ALIGNMENT (2ull << 20)

const struct ram_dimm *ram_dimm(const struct ram *ram, unsigned slot)
{
	return slot < ram->more.slots && ram->dimms[slot].size_bytes ? &ram->dimms[slot] : NULL;
}

/* The DIMM that [gpa, gpa + size) overlaps; NULL: none. */
static const struct ram_dimm *find_overlap(const struct ram *ram, uint64_t gpa, uint64_t size)
{
	const struct ram_dimm *dimm;
	unsigned i;

	for (i = 0; i < ram->more.slots; i++) {
		dimm = ram_dimm(ram, i);
		if (dimm && gpa < dimm->gpa + dimm->size_bytes && dimm->gpa < gpa + size)
			return dimm;
	}
	return NULL;
}

/* The first room of that size; 0: there is none. */
static uint64_t find_room(const struct ram *ram, uint64_t size)
{
	uint64_t gpa = ram->more_gpa, end = ram->more_gpa + ram->more_span;
	const struct ram_dimm *dimm;

	for (;;) {
		gpa = (gpa + ALIGNMENT - 1) & -ALIGNMENT;
		if (gpa > end || size > end - gpa)
			return 0;
		dimm = find_overlap(ram, gpa, size);
		if (!dimm)
			return gpa;
		gpa = dimm->gpa + dimm->size_bytes;
	}
}

static int choose_slot(const struct ram *ram, struct ram_dimm *dimm, struct error *error)
{
	if (!ram->more.slots)
		return error_set(error, ENOTSUP, "memory hotplug is not enabled: missing maxmem and slots of -m");
	if (dimm->slot != RAM_ANY_SLOT) {
		if (dimm->slot >= ram->more.slots)
			return error_set(error, EINVAL, "invalid slot number %u, valid range is [0-%u]", dimm->slot,
					 ram->more.slots - 1);
		return ram_dimm(ram, dimm->slot) ? error_set(error, EBUSY, "slot %u is busy", dimm->slot) : 0;
	}
	for (dimm->slot = 0; dimm->slot < ram->more.slots; dimm->slot++)
		if (!ram_dimm(ram, dimm->slot))
			return 0;
	return error_set(error, ENOSPC, "no free slots available");
}

static int choose_address(const struct ram *ram, struct ram_dimm *dimm, struct error *error)
{
	uint64_t end = ram->more_gpa + ram->more_span;

	if (!dimm->gpa) {
		dimm->gpa = find_room(ram, dimm->size_bytes);
		return dimm->gpa ? 0 : error_set(error, ENOSPC, "could not find position in guest address space for memory "
								"device - memory fragmented due to alignments");
	}
	if (dimm->gpa % BACKING_ALIGNMENT)
		return error_set(error, EINVAL, "address must be aligned to 0x%llx", BACKING_ALIGNMENT);
	if (dimm->gpa < ram->more_gpa || dimm->gpa >= end || dimm->size_bytes > end - dimm->gpa)
		return error_set(error, EINVAL, "can't add memory device [0x%llx:0x%llx], usable range for memory devices "
						"[0x%llx:0x%llx]",
				 (unsigned long long)dimm->gpa, (unsigned long long)dimm->size_bytes,
				 (unsigned long long)ram->more_gpa, (unsigned long long)ram->more_span);
	if (find_overlap(ram, dimm->gpa, dimm->size_bytes))
		return error_set(error, EBUSY, "address range conflicts with other memory");
	return 0;
}

static int check_total(const struct ram *ram, const struct ram_dimm *dimm, struct error *error)
{
	uint64_t used = 0;
	unsigned i;

	for (i = 0; i < ram->more.slots; i++)
		used += ram_dimm(ram, i) ? ram_dimm(ram, i)->size_bytes : 0;
	if (dimm->size_bytes > ram->more.bytes - used)
		return error_set(error, ENOSPC, "not enough space, currently 0x%llx in use of total space for memory devices "
						"0x%llx",
				 (unsigned long long)used, (unsigned long long)ram->more.bytes);
	return 0;
}

/* What lies at a gpa has its own place in the file, so that room for one is room for the other. */
static uint64_t offset_of(const struct ram *ram, uint64_t gpa)
{
	return ram->more_offset + (gpa - ram->more_gpa);
}

static int set_slot(const struct ram *ram, unsigned index, uint64_t size_bytes, const struct kvm_vm *vm)
{
	const struct guest_region *region = &ram->memory.regions[index];
	struct kvm_userspace_memory_region slot = {
		.slot = index,
		.guest_phys_addr = region->gpa,
		.memory_size = size_bytes,
		.userspace_addr = (uintptr_t)region->hva,
	};

	return kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

int ram_add_dimm(struct ram *ram, struct ram_dimm *dimm, const struct kvm_vm *vm, struct error *error)
{
	struct guest_region *region;
	int result;

	if (!dimm->size_bytes || dimm->size_bytes % BACKING_ALIGNMENT)
		return error_set(error, EINVAL, "backend memory size must be multiple of 0x%llx", BACKING_ALIGNMENT);
	result = choose_slot(ram, dimm, error);
	if (result == 0)
		result = check_total(ram, dimm, error);
	if (result == 0)
		result = choose_address(ram, dimm, error);
	if (result < 0)
		return result;
	region = &ram->memory.regions[RAM_FIRST_DIMM + dimm->slot];
	/* Its log was another's. */
	free((void *)region->dirty);
	*region = (struct guest_region){dimm->gpa, 0, ram->base + offset_of(ram, dimm->gpa)};
	result = set_slot(ram, RAM_FIRST_DIMM + dimm->slot, dimm->size_bytes, vm);
	if (result < 0)
		return error_set_errno(error, -result, "cannot give the VM its memory at 0x%llx", (unsigned long long)dimm->gpa);
	region->size_bytes = dimm->size_bytes;
	if (ram->memory.region_count <= RAM_FIRST_DIMM + dimm->slot)
		ram->memory.region_count = RAM_FIRST_DIMM + dimm->slot + 1;
	ram->dimms[dimm->slot] = *dimm;
	return 0;
}

/* What was in it is lost, as of a DIMM that is pulled out; the host has its memory back. */
void ram_remove_dimm(struct ram *ram, unsigned slot, const struct kvm_vm *vm)
{
	struct guest_region *region = &ram->memory.regions[RAM_FIRST_DIMM + slot];
	struct ram_dimm *dimm = &ram->dimms[slot];

	uint64_t offset = offset_of(ram, dimm->gpa);

	set_slot(ram, RAM_FIRST_DIMM + slot, 0, vm);
	region->size_bytes = 0;
	if (fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, dimm->size_bytes) < 0)
		memset(ram->base + offset, 0, dimm->size_bytes);
	*dimm = (struct ram_dimm){.size_bytes = 0};
}
