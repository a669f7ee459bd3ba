/*
 * Flat binaries start at their first byte, in the mode that was asked for.
 *
 * Real mode: CS is 0 while the address fits into IP, so that a program assembled for its address
 * (ORG 0x7c00, a boot sector) runs unchanged; above, IP is 0. The stack grows down from the
 * program, or from 0xfff0 when there is no room below it; the data segments are CS's.
 * Protected and long mode: flat segments, the stack at the end of conventional memory, or of low RAM
 * for programs that lie there. Descriptor table and page tables make room for the program.
 */
#include "machine/boot/flat.h"

#include <errno.h>

#include "machine/boot/place.h"

#define BIOS_DATA_END	    0x600 /* interrupt vectors, BIOS data, our descriptor table */
#define REAL_MODE_END	    0x100000
#define REAL_STACK_FALLBACK 0xfff0
#define STACK_ROOM	    0x400
#define CONVENTIONAL_END    0xa0000

int flat_load(const uint8_t *image, size_t size, uint64_t address, enum flat_mode mode,
	      const struct ram *ram, struct entry *entry, struct error *error)
{
	struct places places;

	if (guest_memory_write(&ram->memory, address, image, size) < 0)
		return error_set(error, ENOSPC,
				 "the flat binary (%zu bytes at 0x%llx) is not all inside RAM, "
				 "which is 0-0x9ffff, 0xc0000-0x%llx%s",
				 size, (unsigned long long)address,
				 (unsigned long long)ram->low_end - 1,
				 ram->high_end > RAM_HIGH_START ? " and from 0x100000000" : "");
	*entry = (struct entry){.rip = address};
	switch (mode) {
	case FLAT_REAL:
		if (address >= REAL_MODE_END)
			return error_set(error, EINVAL,
					 "real mode cannot start at 0x%llx: use an address below "
					 "1 MiB or another --flat-mode",
					 (unsigned long long)address);
		entry->mode = ENTRY_REAL;
		if (address > 0xffff) {
			entry->cs = address >> 4;
			entry->rip = address & 0xf;
		}
		entry->rsp = address >= BIOS_DATA_END + STACK_ROOM && address <= 0xffff
				     ? address & ~0xfull
				     : REAL_STACK_FALLBACK;
		return 0;
	case FLAT_PROTECTED:
		if (address > UINT32_MAX)
			return error_set(error, EINVAL, "protected mode cannot start at 0x%llx",
					 (unsigned long long)address);
		entry->mode = ENTRY_PROTECTED;
		break;
	case FLAT_LONG:
		if (address + size > RAM_HIGH_START)
			return error_set(error, EINVAL,
					 "a 64-bit flat binary must lie below 4 GiB, which is what "
					 "is mapped at its start");
		entry->mode = ENTRY_LONG;
		break;
	}
	entry->rsp = CONVENTIONAL_END;
	if (address < CONVENTIONAL_END)
		entry->rsp = ram->low_end & ~0xfull;
	places_init(&places, ram);
	places_take(&places, address, size);
	return place_entry(&places, entry, error);
}
