#include "machine/e820.h"

static void add(struct e820_map *map, uint64_t gpa, uint64_t end, uint32_t type)
{
	if (end > gpa)
		map->entries[map->count++] = (struct e820_entry){gpa, end - gpa, type};
}

void e820_build(const struct ram *ram, struct e820_map *map)
{
	map->count = 0;
	add(map, 0, E820_CONVENTIONAL_END, E820_RAM);
	add(map, E820_CONVENTIONAL_END, RAM_VIDEO_HOLE, E820_RESERVED);
	add(map, E820_FIRMWARE_START, E820_FIRMWARE_END, E820_RESERVED);
	add(map, E820_FIRMWARE_END, ram->low_end, E820_RAM);
	add(map, ram->layout->ecam_gpa, ram->layout->ecam_end, E820_RESERVED);
	add(map, E820_BACKEND_START, E820_BACKEND_END, E820_RESERVED);
	add(map, RAM_HIGH_START, ram->high_end, E820_RAM);
}

void e820_build_for_firmware(const struct ram *ram, struct e820_map *map)
{
	map->count = 0;
	add(map, 0, ram->low_end, E820_RAM);
	add(map, E820_BACKEND_START, E820_FIRMWARE_ROM, E820_RESERVED);
	add(map, RAM_HIGH_START, ram->high_end, E820_RAM);
}
