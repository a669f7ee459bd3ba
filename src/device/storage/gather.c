#include "device/storage/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 16

static int make_room(struct gather *gather)
{
	unsigned room = gather->room ? 2 * gather->room : FIRST_ROOM;
	struct iovec *vector;
	uint64_t *gpa;

	if (gather->count < gather->room)
		return 0;
	if (room > GATHER_PIECES_MAX)
		return -ENOMEM;
	vector = realloc(gather->vector, room * sizeof(*vector));
	if (!vector)
		return -ENOMEM;
	gather->vector = vector;
	gpa = realloc(gather->gpa, room * sizeof(*gpa));
	if (!gpa)
		return -ENOMEM;
	gather->gpa = gpa;
	gather->room = room;
	return 0;
}

/* Pieces that touch become one: lists of pages are mostly long runs. */
static int add_piece(struct gather *gather, void *hva, uint64_t gpa, uint64_t size_bytes)
{
	struct iovec *last = gather->count ? &gather->vector[gather->count - 1] : NULL;
	uint64_t last_gpa = gather->count ? gather->gpa[gather->count - 1] : 0;

	if (last && (uint8_t *)last->iov_base + last->iov_len == hva &&
	    (gpa == UINT64_MAX) == (last_gpa == UINT64_MAX) &&
	    (gpa == UINT64_MAX || last_gpa + last->iov_len == gpa)) {
		last->iov_len += size_bytes;
	} else {
		if (make_room(gather) < 0)
			return -ENOMEM;
		gather->vector[gather->count] = (struct iovec){hva, size_bytes};
		gather->gpa[gather->count++] = gpa;
	}
	gather->size_bytes += size_bytes;
	return 0;
}

int gather_add(struct gather *gather, const struct guest_memory *memory, uint64_t gpa,
	       uint64_t size_bytes)
{
	uint64_t chunk;
	uint8_t *hva;

	if (size_bytes > UINT64_MAX - gpa)
		return -EFAULT;
	while (size_bytes) {
		chunk = size_bytes;
		hva = guest_memory_span(memory, gpa, &chunk);
		if (!hva)
			return -EFAULT;
		if (add_piece(gather, hva, gpa, chunk) < 0)
			return -ENOMEM;
		gpa += chunk;
		size_bytes -= chunk;
	}
	return 0;
}

int gather_add_vector(struct gather *gather, const struct iovec *vector, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (vector[i].iov_len &&
		    add_piece(gather, vector[i].iov_base, UINT64_MAX, vector[i].iov_len) < 0)
			return -ENOMEM;
	return 0;
}

void gather_free(struct gather *gather)
{
	free(gather->vector);
	free(gather->gpa);
	*gather = (struct gather){.count = 0};
}

static size_t copy(const struct gather *gather, const struct guest_memory *memory, uint64_t offset,
		   uint8_t *data, size_t size)
{
	size_t done = 0, chunk;
	uint8_t *hva;
	unsigned i;

	for (i = 0; i < gather->count && done < size; i++) {
		if (offset >= gather->vector[i].iov_len) {
			offset -= gather->vector[i].iov_len;
			continue;
		}
		chunk = gather->vector[i].iov_len - offset;
		if (chunk > size - done)
			chunk = size - done;
		hva = (uint8_t *)gather->vector[i].iov_base + offset;
		if (memory)
			memcpy(hva, data + done, chunk);
		else
			memcpy(data + done, hva, chunk);
		if (memory && gather->gpa[i] != UINT64_MAX)
			guest_memory_written(memory, gather->gpa[i] + offset, chunk);
		done += chunk;
		offset = 0;
	}
	return done;
}

size_t gather_read(const struct gather *gather, uint64_t offset, void *data, size_t size)
{
	return copy(gather, NULL, offset, data, size);
}

size_t gather_write(const struct gather *gather, const struct guest_memory *memory, uint64_t offset,
		    const void *data, size_t size)
{
	return copy(gather, memory, offset, (uint8_t *)data, size);
}

void gather_written(const struct gather *gather, const struct guest_memory *memory,
		    uint64_t size_bytes)
{
	uint64_t chunk;
	unsigned i;

	for (i = 0; i < gather->count && size_bytes; i++, size_bytes -= chunk) {
		chunk = gather->vector[i].iov_len < size_bytes ? gather->vector[i].iov_len : size_bytes;
		if (gather->gpa[i] != UINT64_MAX)
			guest_memory_written(memory, gather->gpa[i], chunk);
	}
}
