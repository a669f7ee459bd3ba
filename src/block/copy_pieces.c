/* What is left to be copied of a disk: a bit a piece. */
#include <errno.h>
#include <stdlib.h>

#include "block/copy_parts.h"

#define WORD_BITS 64

uint64_t copy_piece_of(uint64_t offset)
{
	return offset / PIECE;
}

int copy_pieces_init(struct block_copy *copy, uint64_t size)
{
	copy->size = size;
	copy->pieces = size / PIECE + !!(size % PIECE);
	copy->bits = calloc(copy->pieces / WORD_BITS + 1, sizeof(uint64_t));
	return copy->bits ? 0 : -ENOMEM;
}

bool copy_is_set(const struct block_copy *copy, uint64_t piece)
{
	return __atomic_load_n(&copy->bits[piece / WORD_BITS], __ATOMIC_ACQUIRE) >> piece % WORD_BITS & 1;
}

void copy_set(struct block_copy *copy, uint64_t piece)
{
	__atomic_fetch_or(&copy->bits[piece / WORD_BITS], 1ull << piece % WORD_BITS, __ATOMIC_ACQ_REL);
}

void copy_clear(struct block_copy *copy, uint64_t piece)
{
	__atomic_fetch_and(&copy->bits[piece / WORD_BITS], ~(1ull << piece % WORD_BITS), __ATOMIC_ACQ_REL);
}

uint64_t copy_count_set(const struct block_copy *copy)
{
	uint64_t word, count = 0;

	for (word = 0; word <= (copy->pieces - 1) / WORD_BITS; word++)
		count += __builtin_popcountll(__atomic_load_n(&copy->bits[word], __ATOMIC_ACQUIRE));
	return count;
}

uint64_t copy_find_set(const struct block_copy *copy, uint64_t from)
{
	uint64_t words = (copy->pieces - 1) / WORD_BITS + 1, i, word, at;

	if (from >= copy->pieces)
		from = 0;
	for (i = 0; i <= words; i++) {
		at = (from / WORD_BITS + i) % words;
		word = __atomic_load_n(&copy->bits[at], __ATOMIC_ACQUIRE);
		if (i == 0)
			word &= UINT64_MAX << from % WORD_BITS;
		if (word)
			return at * WORD_BITS + __builtin_ctzll(word);
	}
	return copy->pieces;
}
