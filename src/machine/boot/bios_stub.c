#include "machine/boot/bios_stub.h"

#include <errno.h>
#include <string.h>

#include "machine/e820.h"

#define VECTORS		    256
#define VECTOR_KEYBOARD	    0x16
#define VECTOR_SYSTEM	    0x15
#define ENTRY_BYTES	    20

/* bios_stub_code.S: offsets of its labels are 16-bit numbers, its data are patched in the copy. */
extern const uint8_t bios_stub_start[], bios_stub_end[], bios_stub_fail[], bios_stub_system[],
	bios_stub_keyboard[], bios_stub_map_count[], bios_stub_map[], bios_stub_extended_kib[],
	bios_stub_above_16m[];

static void put16(uint8_t *code, const uint8_t *label, uint64_t value)
{
	uint16_t limited = value < UINT16_MAX ? value : UINT16_MAX;

	memcpy(code + (label - bios_stub_start), &limited, sizeof(limited));
}

int bios_stub_install(const struct ram *ram, struct error *error)
{
	uint8_t code[BIOS_STUB_END - BIOS_STUB_GPA];
	size_t size = bios_stub_end - bios_stub_start;
	uint32_t vectors[VECTORS];
	struct e820_map map;
	uint8_t *at;
	unsigned i;

	memcpy(code, bios_stub_start, size);
	e820_build(ram, &map);
	put16(code, bios_stub_map_count, map.count);
	put16(code, bios_stub_extended_kib, (ram->low_end >> 10) - 1024);
	put16(code, bios_stub_above_16m,
	      ram->low_end > 16u << 20 ? (ram->low_end - (16u << 20)) >> 16 : 0);
	for (i = 0; i < map.count; i++) {
		at = code + (bios_stub_map - bios_stub_start) + i * ENTRY_BYTES;
		memcpy(at, &map.entries[i].gpa, 8);
		memcpy(at + 8, &map.entries[i].size_bytes, 8);
		memcpy(at + 16, &map.entries[i].type, 4);
	}
	for (i = 0; i < VECTORS; i++)
		vectors[i] = BIOS_STUB_GPA >> 4 << 16 | (bios_stub_fail - bios_stub_start);
	vectors[VECTOR_SYSTEM] = BIOS_STUB_GPA >> 4 << 16 | (bios_stub_system - bios_stub_start);
	vectors[VECTOR_KEYBOARD] =
		BIOS_STUB_GPA >> 4 << 16 | (bios_stub_keyboard - bios_stub_start);
	if (guest_memory_write(&ram->memory, 0, vectors, sizeof(vectors)) < 0 ||
	    guest_memory_write(&ram->memory, BIOS_STUB_GPA, code, size) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	return 0;
}
