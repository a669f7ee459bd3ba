/*
 * The Multiboot machine state and information structure (Multiboot Specification 0.6.96, §3.2,
 * §3.3): 32-bit protected mode without paging, EAX the magic, EBX the structure's address.
 */
#include "machine/boot/multiboot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "machine/e820.h"

#define BOOTLOADER_MAGIC 0x2badb002

#define INFO_MEMORY	  0x001
#define INFO_COMMAND_LINE 0x004
#define INFO_MODULES	  0x008
#define INFO_MEMORY_MAP	  0x040
#define INFO_LOADER_NAME  0x200

#define COMMAND_LINE_MAX 4095
#define LOADER_NAME	 "kvik"

struct multiboot_info {
	uint32_t flags, memory_lower_kib, memory_upper_kib, boot_device, command_line_gpa;
	uint32_t module_count, modules_gpa, symbols[4];
	uint32_t memory_map_bytes, memory_map_gpa, drives_bytes, drives_gpa, config_table_gpa;
	uint32_t loader_name_gpa, apm_table_gpa, vbe[4];
};

struct multiboot_module {
	uint32_t start, end, string_gpa, reserved;
};

struct multiboot_memory {
	uint32_t size; /* of the rest */
	uint64_t gpa, size_bytes;
	uint32_t type;
} __attribute__((packed));

struct multiboot_data {
	struct multiboot_info info;
	struct multiboot_module module;
	struct multiboot_memory map[E820_MAX_ENTRIES];
	char loader_name[sizeof(LOADER_NAME)];
};

int multiboot_load(const struct multiboot_image *kernel, const uint8_t *image,
		   const struct boot_blob *initrd, const char *name, const char *command_line,
		   const struct ram *ram, struct entry *entry, struct error *error)
{
	struct multiboot_data data = {.loader_name = LOADER_NAME};
	char whole_line[COMMAND_LINE_MAX + 2];
	uint64_t upper_kib = (ram->low_end - E820_FIRMWARE_END) >> 10;
	uint64_t data_gpa, command_line_gpa, module_gpa;
	struct places places;
	struct e820_map map;
	unsigned i;
	int result;

	snprintf(whole_line, sizeof(whole_line), "%s%s%s", name, *command_line ? " " : "",
		 command_line);
	places_init(&places, ram);
	result = place_segments(&places, image, kernel->segments, kernel->segment_count, error);
	if (result == 0)
		result = place_command_line(&places, whole_line, COMMAND_LINE_MAX,
					    &command_line_gpa, error);
	if (result == 0 && places_find(&places, sizeof(data), 8, PLACE_BOOT_DATA, &data_gpa) < 0)
		result = error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	if (result == 0 && initrd->size)
		result = place_blob(&places, initrd, &module_gpa, error);
	if (result < 0)
		return result;
	if (initrd->size) {
		data.module = (struct multiboot_module){
			.start = module_gpa,
			.end = module_gpa + initrd->size,
			/* An empty string: the NUL that ends the loader's name. */
			.string_gpa = data_gpa + offsetof(struct multiboot_data, loader_name) +
				      sizeof(LOADER_NAME) - 1,
		};
		data.info.flags |= INFO_MODULES;
		data.info.module_count = 1;
		data.info.modules_gpa = data_gpa + offsetof(struct multiboot_data, module);
	}
	e820_build(ram, &map);
	for (i = 0; i < map.count; i++)
		data.map[i] = (struct multiboot_memory){
			sizeof(data.map[i]) - sizeof(data.map[i].size), map.entries[i].gpa,
			map.entries[i].size_bytes, map.entries[i].type};
	data.info.flags |= INFO_MEMORY | INFO_COMMAND_LINE | INFO_MEMORY_MAP | INFO_LOADER_NAME;
	data.info.memory_lower_kib = E820_CONVENTIONAL_END >> 10;
	data.info.memory_upper_kib = upper_kib;
	data.info.command_line_gpa = command_line_gpa;
	data.info.memory_map_gpa = data_gpa + offsetof(struct multiboot_data, map);
	data.info.memory_map_bytes = map.count * sizeof(data.map[0]);
	data.info.loader_name_gpa = data_gpa + offsetof(struct multiboot_data, loader_name);
	guest_memory_write(&ram->memory, data_gpa, &data, sizeof(data));
	*entry = (struct entry){
		.mode = ENTRY_PROTECTED,
		.rip = kernel->entry,
		.rax = BOOTLOADER_MAGIC,
		.rbx = data_gpa,
	};
	return place_entry(&places, entry, error);
}
