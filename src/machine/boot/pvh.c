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
#define STACK_TOP	(PLACE_REAL_MODE + 0xfff0)

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules_gpa, command_line_gpa, rsdp_gpa;
	uint64_t memory_map_gpa; /* version 1 from here on */
	uint32_t memory_map_count, reserved;
};

struct module_entry {
	uint64_t gpa, size_bytes, command_line_gpa, reserved;
};

struct memory_map_entry {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

/* All of it, as it lies at PLACE_BOOT_DATA. */
struct boot_data {
	struct start_info start;
	struct module_entry module;
	struct memory_map_entry map[E820_MAX_ENTRIES];
};

int pvh_load(const struct elf_image *elf, const uint8_t *image, const struct boot_blob *initrd,
	     const char *command_line, const struct ram *ram, uint64_t rsdp_gpa,
	     struct entry *entry, struct error *error)
{
	struct boot_data data = {
		.start = {
			.magic = START_MAGIC,
			.version = START_VERSION,
			.command_line_gpa = PLACE_COMMAND_LINE,
			.rsdp_gpa = rsdp_gpa,
			.memory_map_gpa = PLACE_BOOT_DATA + offsetof(struct boot_data, map),
		},
	};
	struct e820_map map;
	unsigned i;
	int result;

	result = place_segments(ram, image, elf->segments, elf->segment_count, error);
	if (result == 0)
		result = place_command_line(ram, command_line, COMMAND_LINE_MAX, error);
	if (result == 0 && initrd->size) {
		result = place_blob_high(ram, initrd,
					 place_segments_end(elf->segments, elf->segment_count),
					 RAM_HIGH_START, &data.module.gpa, error);
		data.module.size_bytes = initrd->size;
		data.start.module_count = 1;
		data.start.modules_gpa = PLACE_BOOT_DATA + offsetof(struct boot_data, module);
	}
	if (result < 0)
		return result;
	e820_build(ram, &map);
	for (i = 0; i < map.count; i++)
		data.map[i] = (struct memory_map_entry){
			map.entries[i].gpa, map.entries[i].size_bytes, map.entries[i].type, 0};
	data.start.memory_map_count = map.count;
	if (guest_memory_write(&ram->memory, PLACE_BOOT_DATA, &data, sizeof(data)) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	*entry = (struct entry){
		.mode = ENTRY_PROTECTED,
		.rip = elf->pvh_entry,
		.rsp = STACK_TOP,
		.rbx = PLACE_BOOT_DATA,
	};
	return 0;
}
