/*
 * Guest RAM as devices and boot loaders reach it: guest-physical addresses, checked.
 *
 * The guest's vCPUs write the same bytes at any time. So whoever reads a structure from here reads
 * it once, into its own copy, and checks the copy. The table of regions changes only while vCPUs are parked and
 * devices are held; what was one stays mapped.
 *
 * All of the monitor's writes go through here, because KVM's dirty log (KVM api.rst 4.8) knows the
 * writes of vCPUs alone: the pages that are written here are logged here, and whoever reads the log
 * takes both (machine/ram.h). A page is marked after it was written, so that who takes the mark and
 * then reads the page has the new bytes, or finds the page marked again. And because the engine keeps
 * translations of code, and is told where others write (kvm_vm_tell_writes).
 */
#ifndef KVIK_DEVICE_GUEST_MEMORY_H
#define KVIK_DEVICE_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MEMORY_MAX_REGIONS 68 /* RAM's, and what may be plugged in (machine/ram.h) */

struct guest_region {
	uint64_t gpa;
	uint64_t size_bytes;
	uint8_t *hva;
	_Atomic uint64_t *dirty; /* owned; a bit a page of 4 KiB: written since it was taken */
};

struct guest_memory {
	struct guest_region regions[GUEST_MEMORY_MAX_REGIONS]; /* disjoint; of size 0: there is none */
	unsigned region_count;
	_Atomic bool is_logging;
	/* Hears of every write through here, after it, on the writer's thread; NULL: nobody does. Constant while
	 * vCPUs run. */
	void (*written)(void *context, uint64_t gpa, uint64_t size_bytes);
	void *context;
};

/*
 * The host address of [gpa, gpa + size), or NULL when that isn't all inside one region. Regions
 * that touch each other are still two regions; the copying functions below cross them.
 */
const uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
			       uint64_t size_bytes);
/* The same for those who let others write there, as read(2) does: they say so when it is done. */
uint8_t *guest_memory_for_writing(const struct guest_memory *memory, uint64_t gpa,
				  uint64_t size_bytes);
void guest_memory_written(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

/* The same for as much of [gpa, gpa + *size_bytes) as lies in one region: *size_bytes becomes that. NULL
 * when there is no RAM at `gpa`, or nothing was asked for. */
uint8_t *guest_memory_span(const struct guest_memory *memory, uint64_t gpa, uint64_t *size_bytes);

/* Whether all of [gpa, gpa + size) is RAM. */
bool guest_memory_contains(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

/* Copy or clear all of it and return 0, or touch nothing and return -EFAULT. */
int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size);
int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
		       size_t size);
int guest_memory_clear(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

/*
 * Free the host's memory behind the whole pages of [gpa, gpa + size): they read as zeroes from now on. What is
 * no RAM, or no shared memory (tests), is left alone.
 */
void guest_memory_discard(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes);

#define GUEST_MEMORY_PAGE 4096
/* Words of 64 bits in a region's log. */
static inline size_t guest_region_log_words(const struct guest_region *region)
{
	return (region->size_bytes / GUEST_MEMORY_PAGE + 63) / 64;
}

/* Log from now on, with nothing logged yet. 0 or -ENOMEM. Not while others start or stop. */
int guest_memory_log_start(struct guest_memory *memory);
void guest_memory_log_stop(struct guest_memory *memory);
/* Add the pages of region `index` that were written since the last call to `bitmap`. Any thread. */
void guest_memory_log_take(struct guest_memory *memory, unsigned index, uint64_t *bitmap);
void guest_memory_log_free(struct guest_memory *memory); /* when nobody uses it any more */

#endif
