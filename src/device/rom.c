/* Read-only memory, by a read-only memory slot (KVM api.rst 4.35, KVM_MEM_READONLY). */
#include "device/rom.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/guarded.h"

struct rom {
	const struct kvm_vm *vm;
	struct kvm_userspace_memory_region slot;
	uint8_t *bytes; /* mapped; changes only when a machine is loaded */
	uint64_t size;
};

const uint8_t *rom_bytes(const struct rom *rom)
{
	return rom->bytes;
}

static void transfer(struct state_stream *state, uint64_t *size, uint8_t *bytes, uint64_t here)
{
	state_u64(state, "size", size);
	state_check(state, "size", *size == here);
	if (!state->has_failed)
		state_bytes(state, "bytes", bytes, here);
}

static void rom_save(void *device, struct state_stream *state)
{
	struct rom *rom = device;
	uint64_t size = rom->size;

	transfer(state, &size, rom->bytes, rom->size);
}

static void rom_load(void *device, struct state_stream *state)
{
	struct rom *rom = device;
	uint8_t *loaded = malloc(rom->size);
	uint64_t size = 0;

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer(state, &size, loaded, rom->size);
	if (state_complete(state))
		memcpy(rom->bytes, loaded, rom->size);
	free(loaded);
}

static void rom_destroy(void *device)
{
	struct rom *rom = device;

	rom->slot.memory_size = 0;
	if (rom->vm)
		kvm_vm_ioctl(rom->vm, KVM_SET_USER_MEMORY_REGION, &rom->slot);
	guarded_unmap(rom->bytes, rom->size);
	free(rom);
}

const struct device_ops rom_device_ops = {
	.version = 1,
	.save = rom_save,
	.load = rom_load,
	.destroy = rom_destroy,
};

struct rom *rom_create(const struct kvm_vm *vm, unsigned slot, uint64_t gpa, const uint8_t *bytes,
		       size_t size, struct error *error)
{
	struct rom *rom = calloc(1, sizeof(*rom));
	int result;

	if (rom)
		rom->bytes = guarded_map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
					 -1, false);
	if (!rom || !rom->bytes) {
		error_set_errno(error, ENOMEM, "cannot create a ROM of %zu bytes", size);
		free(rom);
		return NULL;
	}
	rom->size = size;
	memcpy(rom->bytes, bytes, size);
	rom->slot = (struct kvm_userspace_memory_region){
		.slot = slot,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)rom->bytes,
	};
	result = vm ? kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &rom->slot) : 0;
	if (result < 0) {
		error_set_errno(error, -result, "cannot give the VM a ROM at 0x%llx",
				(unsigned long long)gpa);
		guarded_unmap(rom->bytes, size);
		free(rom);
		return NULL;
	}
	rom->vm = vm;
	return rom;
}
