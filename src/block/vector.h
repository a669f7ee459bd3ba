/* Parts of lists of host buffers (struct iovec). */
#ifndef KVIK_BLOCK_VECTOR_H
#define KVIK_BLOCK_VECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* `size` > 0 */
static inline bool bytes_are_zero(const uint8_t *bytes, uint64_t size)
{
	return !bytes[0] && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Bytes of all buffers; UINT64_MAX when that is no 64-bit number. */
uint64_t vector_size(const struct iovec *vector, unsigned count);

/*
 * The buffers that hold `size` bytes from byte `offset` on, which must be there: fills `part`, which
 * has room for `count` buffers, and returns how many they are.
 */
unsigned vector_part(const struct iovec *vector, unsigned count, uint64_t offset, uint64_t size,
		     struct iovec *part);

/* Whether all buffers hold nothing but zeroes. */
bool vector_is_zero(const struct iovec *vector, unsigned count);

/* Set, read and write `size` bytes from byte `offset` on. */
void vector_zero(const struct iovec *vector, unsigned count, uint64_t offset, uint64_t size);
void vector_get(const struct iovec *vector, unsigned count, uint64_t offset, void *to,
		uint64_t size);
void vector_put(const struct iovec *vector, unsigned count, uint64_t offset, const void *from,
		uint64_t size);

#endif
