#include "engine/run/direct/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/x86/bytes.h"
#include "util/page.h"

#define ESCAPE	  0x0f
#define TRAP	  0xf4 /* HLT */

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

int copies_create(struct copies *copies)
{
	int result;

	*copies = (struct copies){ .fd = memfd_create("kvik-copies", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	if (copies->fd < 0)
		return -errno;
	if (ftruncate(copies->fd, COPIES * PAGE_SIZE) < 0)
		goto fail;
	copies->base = mmap(NULL, COPIES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, copies->fd, 0);
	if (copies->base == MAP_FAILED)
		goto fail;
	if (fcntl(copies->fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0)
		return 0;
	result = -errno;
	copies_destroy(copies);
	return result;
fail:
	result = -errno;
	close(copies->fd);
	copies->fd = -1;
	return result;
}

void copies_destroy(struct copies *copies)
{
	if (copies->fd < 0)
		return;
	munmap(copies->base, COPIES * PAGE_SIZE);
	close(copies->fd);
	copies->fd = -1;
}

unsigned copies_find(const struct copies *copies, uint64_t gpa)
{
	uint64_t page = gpa & ~(uint64_t)(PAGE_SIZE - 1);

	for (unsigned i = 0; i < COPIES; i++)
		if (copies->all[i].is_used && copies->all[i].gpa == page)
			return i;
	return COPIES_NONE;
}

bool copies_has_any(const struct copies *copies, uint64_t gpa, uint64_t last)
{
	for (unsigned i = 0; i < COPIES; i++)
		if (copies->all[i].is_used && copies->all[i].gpa <= last && copies->all[i].gpa + PAGE_SIZE > gpa)
			return true;
	return false;
}

unsigned copies_place(const struct copies *copies)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < COPIES; i++) {
		if (!copies->all[i].is_used)
			return i;
		if ((int32_t)(copies->all[i].last_used - copies->all[oldest].last_used) < 0)
			oldest = i;
	}
	return oldest;
}

void copies_use(struct copies *copies, unsigned index)
{
	copies->all[index].last_used = ++copies->clock;
}

const uint8_t *copies_put(struct copies *copies, unsigned index, uint64_t gpa, const uint8_t *bytes)
{
	uint8_t *place = copies->base + index * PAGE_SIZE;

	copies->all[index] = (struct code_copy){ .gpa = gpa & ~(uint64_t)(PAGE_SIZE - 1), .is_used = true };
	copies_use(copies, index);
	bytes_copy(place, bytes, PAGE_SIZE);
	return place;
}

void copies_trap(struct copies *copies, unsigned index, const struct scan_traps *traps, unsigned allowed)
{
	copies->all[index].traps = *traps;
	copies->all[index].allowed = allowed;
	for (unsigned i = 0; i < traps->count; i++)
		copies->base[index * PAGE_SIZE + traps->at[i]] = TRAP;
}

void copies_forget(struct copies *copies, unsigned index)
{
	copies->all[index].is_used = false;
}

bool copies_is_same(const struct copies *copies, unsigned index, uint64_t gpa, const uint8_t *bytes,
		    unsigned allowed)
{
	const struct code_copy *copy = &copies->all[index];
	const uint8_t *place = copies->base + index * PAGE_SIZE;
	unsigned differences = 0;

	if (!copy->is_used || copy->gpa != (gpa & ~(uint64_t)(PAGE_SIZE - 1)) || copy->allowed != allowed)
		return false;
	for (unsigned i = 0; i < copy->traps.count; i++)
		if (bytes[copy->traps.at[i]] != ESCAPE)
			return false;
	/* Nothing differs but what is a trap: by the number of bits. */
	for (unsigned i = 0; i < PAGE_SIZE; i += 8) {
		uint64_t different = bytes_load64(bytes + i) ^ bytes_load64(place + i);

		if (different)
			differences += (unsigned)__builtin_popcountll(different);
	}
	return differences == copy->traps.count * (unsigned)__builtin_popcount(ESCAPE ^ TRAP);
}
