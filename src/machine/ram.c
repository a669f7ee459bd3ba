#include "machine/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/guarded.h"

/* Which of the regions is shadow RAM: it is always there, and has slots of its own. */
#define RAM_SHADOW_REGION 1

#define GIB	       (1ull << 30)
#define MORE_ALIGNMENT (2ull << 20)

static void add_region(struct ram *ram, uint64_t gpa, uint64_t end, uint64_t offset)
{
	struct guest_memory *memory = &ram->memory;

	if (end > gpa)
		memory->regions[memory->region_count++] =
			(struct guest_region){gpa, end - gpa, ram->base + offset};
}

const struct ram_layout ram_layout_pc = {
	.low_most = RAM_LOW_LIMIT,
	.low_limit = RAM_LOW_LIMIT,
	.ecam_gpa = 0xfeb00000,
	.ecam_end = 0xfec00000,
};

/* Where SeaBIOS has the configuration space; OVMF has it higher, in the device hole. */
const struct ram_layout ram_layout_q35 = {
	.low_most = 0xb0000000,
	.low_limit = 0x80000000,
	.ecam_gpa = 0xb0000000,
	.ecam_end = 0xc0000000,
};

/* From the next GiB on, with a GiB for each slot besides, as QEMU's PCs have it. */
static void place_more(struct ram *ram, const struct ram_more *more)
{
	if (!more || !more->slots)
		return;
	ram->more = *more;
	ram->more_gpa = (ram->high_end + GIB - 1) & -GIB;
	ram->more_span = ((more->bytes + GIB - 1) & -GIB) + more->slots * GIB;
	ram->more_offset = (ram->size_bytes + MORE_ALIGNMENT - 1) & -MORE_ALIGNMENT;
	ram->mapped_bytes = ram->more_offset + ram->more_span;
}

uint64_t ram_end(const struct ram *ram)
{
	return ram->more.slots ? ram->more_gpa + ram->more_span : ram->high_end;
}

/* A file of the user's has its size: more than RAM is in none. */
static int open_backing(struct ram *ram, const struct ram_backing *backing, struct error *error)
{
	ram->memfd = backing && backing->has_file ? fcntl(backing->fd, F_DUPFD_CLOEXEC, 0)
						  : memfd_create("kvik-ram", MFD_CLOEXEC);
	if (ram->memfd < 0)
		return error_set_errno(error, errno, "cannot create the guest's RAM");
	if (!(backing && backing->has_file) && ftruncate(ram->memfd, ram->mapped_bytes) < 0)
		return error_set_errno(error, errno, "cannot size the guest's RAM to %llu MiB",
				       (unsigned long long)ram->size_bytes >> 20);
	if (backing && backing->is_preallocated && fallocate(ram->memfd, 0, 0, ram->size_bytes) < 0)
		return error_set_errno(error, errno, "cannot allocate %llu MiB for the guest's RAM (prealloc=on)",
				       (unsigned long long)ram->size_bytes >> 20);
	ram->is_discarded = backing && backing->is_discarded;
	return 0;
}

int ram_create(struct ram *ram, const struct ram_layout *layout, uint64_t size_bytes,
	       const struct ram_more *more, const struct ram_backing *backing, struct error *error)
{
	uint64_t low_end = size_bytes < layout->low_most ? size_bytes : layout->low_limit;
	int result;

	memset(ram, 0, sizeof(*ram));
	ram->layout = layout;
	ram->size_bytes = ram->mapped_bytes = size_bytes;
	ram->low_end = low_end;
	ram->high_end = RAM_HIGH_START + (size_bytes - low_end);
	place_more(ram, more);
	result = open_backing(ram, backing, error);
	if (result < 0)
		goto fail;
	/* On a huge page's boundary, for the host's THP. */
	ram->base = guarded_map(ram->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
				ram->memfd, false);
	if (!ram->base) {
		result = error_set_errno(error, errno, "cannot map %llu MiB for the guest's RAM",
					 (unsigned long long)size_bytes >> 20);
		goto fail;
	}
	madvise(ram->base, ram->mapped_bytes, MADV_HUGEPAGE);
	madvise(ram->base, ram->mapped_bytes, MADV_DONTDUMP);
	/* The bytes behind the video hole stay unused. */
	add_region(ram, 0, RAM_VIDEO_HOLE, 0);
	add_region(ram, RAM_SHADOW_START, RAM_SHADOW_END, RAM_SHADOW_START);
	add_region(ram, RAM_SHADOW_END, low_end, RAM_SHADOW_END);
	ram_shadow_init(&ram->shadow, &ram->memory, ram->base + RAM_SHADOW_START);
	add_region(ram, RAM_HIGH_START, ram->high_end, low_end);
	return 0;

fail:
	if (ram->memfd >= 0)
		close(ram->memfd);
	return result;
}

static int set_slots(const struct ram *ram, const struct kvm_vm *vm, uint32_t flags,
		     struct error *error)
{
	const struct guest_region *region;
	struct kvm_userspace_memory_region slot;
	unsigned i;
	int result;

	for (i = 0; i < ram->memory.region_count; i++) {
		region = &ram->memory.regions[i];
		if (i == RAM_SHADOW_REGION || !region->size_bytes)
			continue;
		slot = (struct kvm_userspace_memory_region){
			.slot = i,
			.flags = flags,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size_bytes,
			.userspace_addr = (uintptr_t)region->hva,
		};
		result = kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
		if (result < 0)
			return error_set_errno(error, -result,
					       "cannot give the VM its RAM at 0x%llx",
					       (unsigned long long)region->gpa);
	}
	return 0;
}

static void tell_written(void *context, uint64_t gpa, uint64_t size_bytes)
{
	kvm_vm_written(context, gpa, size_bytes);
}

int ram_attach(struct ram *ram, struct kvm_vm *vm, struct error *error)
{
	uint8_t access[RAM_SHADOW_SEGMENTS];
	int result = set_slots(ram, vm, 0, error);

	ram->memory.written = tell_written;
	ram->memory.context = vm;

	memset(access, RAM_SHADOW_OPEN, sizeof(access));
	return result < 0 ? result : ram_shadow_route(&ram->shadow, vm, access, error);
}

int ram_log_start(struct ram *ram, const struct kvm_vm *vm, struct error *error)
{
	int result = guest_memory_log_start(&ram->memory);

	if (result < 0)
		return error_set_errno(error, -result, "cannot log the guest's writes");
	result = set_slots(ram, vm, KVM_MEM_LOG_DIRTY_PAGES, error);
	if (result == 0)
		result = ram_shadow_log(&ram->shadow, vm, true, error);
	if (result < 0)
		guest_memory_log_stop(&ram->memory);
	return result;
}

int ram_log_stop(struct ram *ram, const struct kvm_vm *vm, struct error *error)
{
	int result;

	guest_memory_log_stop(&ram->memory);
	result = set_slots(ram, vm, 0, error);
	return result < 0 ? result : ram_shadow_log(&ram->shadow, vm, false, error);
}

int ram_log_read(struct ram *ram, const struct kvm_vm *vm, unsigned region, uint64_t *bitmap,
		 struct error *error)
{
	struct kvm_dirty_log log = {.slot = region, .dirty_bitmap = bitmap};
	int result;

	if (!ram->memory.regions[region].size_bytes)
		return 0;
	result = region == RAM_SHADOW_REGION ? ram_shadow_log_read(&ram->shadow, vm, bitmap)
						 : kvm_vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log);

	if (result < 0)
		return error_set_errno(error, -result, "cannot read the log of the guest's writes");
	guest_memory_log_take(&ram->memory, region, bitmap);
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (!ram->base)
		return;
	guest_memory_log_free(&ram->memory);
	ram_shadow_destroy(&ram->shadow);
	guarded_unmap(ram->base, ram->mapped_bytes);
	if (ram->is_discarded)
		fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, ram->size_bytes);
	close(ram->memfd);
	ram->base = NULL;
}
