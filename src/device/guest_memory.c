#include "device/guest_memory.h"

#include <errno.h>
#include <string.h>

/* The region that holds `gpa`, and in `available` how many bytes follow in it. */
static const struct guest_region *find_region(const struct guest_memory *memory, uint64_t gpa,
					      uint64_t *available)
{
	const struct guest_region *region;
	unsigned i;

	for (i = 0; i < memory->region_count; i++) {
		region = &memory->regions[i];
		if (gpa >= region->gpa && gpa - region->gpa < region->size_bytes) {
			*available = region->size_bytes - (gpa - region->gpa);
			return region;
		}
	}
	return NULL;
}

uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	const struct guest_region *region;
	uint64_t available;

	region = find_region(memory, gpa, &available);
	if (!region || size_bytes > available)
		return NULL;
	return region->hva + (gpa - region->gpa);
}

bool guest_memory_contains(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	uint64_t available;

	while (size_bytes) {
		if (!find_region(memory, gpa, &available))
			return false;
		if (available >= size_bytes)
			return true;
		size_bytes -= available;
		gpa += available;
	}
	return true;
}

enum copy_kind { COPY_READ, COPY_WRITE, COPY_CLEAR };

static int copy(const struct guest_memory *memory, uint64_t gpa, uint8_t *data, uint64_t size,
		enum copy_kind kind)
{
	const struct guest_region *region;
	uint64_t available, chunk;
	uint8_t *hva;

	if (!guest_memory_contains(memory, gpa, size))
		return -EFAULT;
	while (size) {
		region = find_region(memory, gpa, &available);
		chunk = available < size ? available : size;
		hva = region->hva + (gpa - region->gpa);
		if (kind == COPY_READ)
			memcpy(data, hva, chunk);
		else if (kind == COPY_WRITE)
			memcpy(hva, data, chunk);
		else
			memset(hva, 0, chunk);
		if (data)
			data += chunk;
		gpa += chunk;
		size -= chunk;
	}
	return 0;
}

int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size)
{
	return copy(memory, gpa, data, size, COPY_READ);
}

int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
		       size_t size)
{
	return copy(memory, gpa, (uint8_t *)data, size, COPY_WRITE);
}

int guest_memory_clear(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	return copy(memory, gpa, NULL, size_bytes, COPY_CLEAR);
}
