#include "block/vector.h"

#include <string.h>

uint64_t vector_size(const struct iovec *vector, unsigned count)
{
	uint64_t size = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		if (__builtin_add_overflow(size, vector[i].iov_len, &size))
			return UINT64_MAX;
	return size;
}

/* The next run of bytes from `offset` on: where it is, how long, at most `size`. */
struct vector_walk {
	const struct iovec *vector;
	unsigned count, at;
	uint64_t skip; /* bytes of vector[at] that are behind */
};

static struct vector_walk walk_from(const struct iovec *vector, unsigned count, uint64_t offset)
{
	struct vector_walk walk = {vector, count, 0, offset};

	while (walk.at < count && walk.skip >= vector[walk.at].iov_len)
		walk.skip -= vector[walk.at++].iov_len;
	return walk;
}

static uint8_t *walk_next(struct vector_walk *walk, uint64_t size, uint64_t *length)
{
	uint8_t *bytes;

	while (walk->at < walk->count && walk->skip == walk->vector[walk->at].iov_len) {
		walk->at++;
		walk->skip = 0;
	}
	if (walk->at == walk->count || size == 0)
		return NULL;
	bytes = (uint8_t *)walk->vector[walk->at].iov_base + walk->skip;
	*length = walk->vector[walk->at].iov_len - walk->skip;
	if (*length > size)
		*length = size;
	walk->skip += *length;
	return bytes;
}

unsigned vector_part(const struct iovec *vector, unsigned count, uint64_t offset, uint64_t size,
		     struct iovec *part)
{
	struct vector_walk walk = walk_from(vector, count, offset);
	unsigned parts = 0;
	uint64_t length;
	uint8_t *bytes;

	while ((bytes = walk_next(&walk, size, &length))) {
		part[parts].iov_base = bytes;
		part[parts++].iov_len = length;
		size -= length;
	}
	return parts;
}

bool vector_is_zero(const struct iovec *vector, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (vector[i].iov_len && !bytes_are_zero(vector[i].iov_base, vector[i].iov_len))
			return false;
	return true;
}

void vector_zero(const struct iovec *vector, unsigned count, uint64_t offset, uint64_t size)
{
	struct vector_walk walk = walk_from(vector, count, offset);
	uint64_t length;
	uint8_t *bytes;

	for (; (bytes = walk_next(&walk, size, &length)); size -= length)
		memset(bytes, 0, length);
}

void vector_get(const struct iovec *vector, unsigned count, uint64_t offset, void *to, uint64_t size)
{
	struct vector_walk walk = walk_from(vector, count, offset);
	uint8_t *bytes, *out = to;
	uint64_t length;

	for (; (bytes = walk_next(&walk, size, &length)); size -= length, out += length)
		memcpy(out, bytes, length);
}

void vector_put(const struct iovec *vector, unsigned count, uint64_t offset, const void *from,
		uint64_t size)
{
	struct vector_walk walk = walk_from(vector, count, offset);
	const uint8_t *in = from;
	uint64_t length;
	uint8_t *bytes;

	for (; (bytes = walk_next(&walk, size, &length)); size -= length, in += length)
		memcpy(bytes, in, length);
}
