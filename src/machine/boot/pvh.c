/*
 * The x86/HVM direct boot ABI, "PVH" (Xen docs/misc/pvh.pandoc; structures of
 * xen/include/public/arch-x86/hvm/start_info.h, version 1): 32-bit protected mode without paging,
 * flat segments, EBX the address of the start info.
 */
#include "machine/boot/pvh.h"

#include <errno.h>
#include <string.h>

#include "machine/e820.h"

#define START_MAGIC	0x336ec578
#define START_VERSION	1
#define COMMAND_LINE_MAX 2047 /* Linux's COMMAND_LINE_SIZE; PVH itself has no limit */

struct pvh_start {
	uint32_t magic, version, flags, module_count;
	uint64_t modules_gpa, command_line_gpa, rsdp_gpa;
	uint64_t memory_map_gpa; /* version 1 from here on */
	uint32_t memory_map_count, reserved;
};

struct pvh_module {
	uint64_t gpa, size_bytes, command_line_gpa, reserved;
};

struct pvh_memory {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

/* All of it, as it lies in RAM. */
struct pvh_data {
	struct pvh_start start;
	struct pvh_module module;
	struct pvh_memory map[E820_MAX_ENTRIES];
};

int pvh_load(const struct elf_image *elf, const uint8_t *image, const struct boot_blob *initrd,
	     const char *command_line, const struct ram *ram, uint64_t rsdp_gpa,
	     struct entry *entry, struct error *error)
{
	struct pvh_data data = {
		.start = {
			.magic = START_MAGIC,
			.version = START_VERSION,
			.rsdp_gpa = rsdp_gpa,
		},
	};
	uint64_t data_gpa;
	struct places places;
	struct e820_map map;
	unsigned i;
	int result;

	places_init(&places, ram);
	result = place_segments(&places, image, elf->segments, elf->segment_count, error);
	if (result == 0)
		result = place_command_line(&places, command_line, COMMAND_LINE_MAX,
					    &data.start.command_line_gpa, error);
	if (result == 0 && places_find(&places, sizeof(data), 8, PLACE_BOOT_DATA, &data_gpa) < 0)
		result = error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	if (result == 0 && initrd->size)
		result = place_blob(&places, initrd, &data.module.gpa, error);
	if (result < 0)
		return result;
	if (initrd->size) {
		data.module.size_bytes = initrd->size;
		data.start.module_count = 1;
		data.start.modules_gpa = data_gpa + offsetof(struct pvh_data, module);
	}
	data.start.memory_map_gpa = data_gpa + offsetof(struct pvh_data, map);
	e820_build(ram, &map);
	for (i = 0; i < map.count; i++)
		data.map[i] = (struct pvh_memory){
			map.entries[i].gpa, map.entries[i].size_bytes, map.entries[i].type, 0};
	data.start.memory_map_count = map.count;
	guest_memory_write(&ram->memory, data_gpa, &data, sizeof(data));
	*entry = (struct entry){
		.mode = ENTRY_PROTECTED,
		.rip = elf->pvh_entry,
		.rbx = data_gpa,
	};
	return place_entry(&places, entry, error);
}
