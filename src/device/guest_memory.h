/*
 * Guest RAM as devices and boot loaders reach it: guest-physical addresses, checked.
 *
 * The guest's vCPUs write the same bytes at any time. So whoever reads a structure from here reads
 * it once, into its own copy, and checks the copy. The table of regions is fixed while vCPUs run.
 */
#ifndef KVIK_DEVICE_GUEST_MEMORY_H
#define KVIK_DEVICE_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MEMORY_MAX_REGIONS 4

struct guest_region {
	uint64_t gpa;
	uint64_t size_bytes;
	uint8_t *hva;
};

struct guest_memory {
	struct guest_region regions[GUEST_MEMORY_MAX_REGIONS]; /* by rising gpa, disjoint */
	unsigned region_count;
};

/*
 * The host address of [gpa, gpa + size), or NULL when that isn't all inside one region. Regions
 * that touch each other are still two regions; the copying functions below cross them.
 */
uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

/* Whether all of [gpa, gpa + size) is RAM. */
bool guest_memory_contains(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

/* Copy or clear all of it and return 0, or touch nothing and return -EFAULT. */
int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size);
int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
		       size_t size);
int guest_memory_clear(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

#endif
