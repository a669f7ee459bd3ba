/*
 * The guest's memory as a debugger sees and changes it: the one way to it, by virtual address as a vCPU
 * would translate it now (KVM_TRANSLATE), or by physical address. What is read is RAM, or the ROM that lies over it or
 * elsewhere; RAM alone is changed. Devices' registers are not reached: reading them would change what is debugged.
 *
 * INT3 instructions that were planted for software breakpoints do not show: reads see what is below
 * them, and writes go there.
 */
#ifndef KVIK_MONITOR_GDB_MEMORY_H
#define KVIK_MONITOR_GDB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/gdb/target.h"

struct gdb_planted {
	uint64_t gpa;
	uint8_t original;
};

struct gdb_memory {
	const struct gdb_target *target;
	bool is_physical; /* addresses are */
	struct gdb_planted *planted; /* owned */
	unsigned planted_count, planted_room;
};

void gdb_memory_free(struct gdb_memory *memory);

/* How many bytes from `address` on can be read, up to `size`, and these. */
size_t gdb_memory_read(const struct gdb_memory *memory, unsigned cpu, uint64_t address, void *bytes,
		       size_t size);
/* All of it: 0, or nothing of it: -EFAULT. */
int gdb_memory_write(struct gdb_memory *memory, unsigned cpu, uint64_t address, const void *bytes,
		     size_t size);

/* Where the byte of RAM or ROM is that a vCPU has at a virtual address: 0 or -EFAULT. Also on the thread of
 * a vCPU that is outside the guest. */
int gdb_memory_translate(const struct gdb_memory *memory, unsigned cpu, uint64_t gva, uint64_t *gpa);

/* Whether the vCPUs read RAM there, and no ROM over it. Likewise. */
bool gdb_memory_is_ram(const struct gdb_memory *memory, uint64_t gpa);

/* Put an INT3 there, once. 0 or -errno: -EFAULT where there is no RAM. */
int gdb_memory_plant(struct gdb_memory *memory, uint64_t gpa);
/* What was there is there again, unless somebody has written something else since. */
void gdb_memory_unplant(struct gdb_memory *memory, uint64_t gpa);
bool gdb_memory_is_planted(const struct gdb_memory *memory, uint64_t gpa);
/* Planted, but the guest has overwritten it. */
bool gdb_memory_is_overgrown(const struct gdb_memory *memory, uint64_t gpa);

#endif
