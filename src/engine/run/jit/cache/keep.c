/*
 * What stays when a chunk's turn comes: code that is in use.
 *
 * Nobody counts how often a translation runs. Instead a chunk is *tried* some time before its turn: what leads to its
 * blocks is undone, so that whoever runs one comes by way of the dispatcher once more, which notes that (`is_used`).
 * When the turn comes, blocks that were used move to the chunk's start, as far as they take half of it, those
 * that were made in full before lean ones. The others go; of those that were used, the counters say that they are warm,
 * or hot, so that they are made again at once, and in full.
 *
 * Nothing in a block depends on its place but displacements to stubs and the offsets of its links (reuse/take.c sets the
 * same). Sites and links tell where most of these displacements are, and the rest is in the block's list of moves.
 */
#include <stdatomic.h>

#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/cache/keep.h"
#include "engine/run/jit/emit/emitter.h"
#include "engine/x86/bytes.h"

void jit_chunk_try(struct jit_cache *cache, struct jit_chunk *chunk)
{
	const uint8_t *code = cache->code.executable + jit_chunk_start(cache, chunk);

	if (chunk->owner || !chunk->blocks)
		return;
	jit_jumps_forget(cache, code, code + cache->chunk_size);
	for (struct jit_block *block = chunk->blocks; block; block = block->next_in_chunk) {
		if (!block->dead)
			jit_links_avoid(cache, block);
		block->is_used = false;
	}
	chunk->is_tried = true;
}

bool jit_block_was_used(const struct jit_chunk *chunk, const struct jit_block *block)
{
	return chunk->is_tried && block->is_used && !block->dead && !block->is_retired;
}

static bool can_move(const struct jit_block *block)
{
	return block->is_marked && block->move_count != JIT_NO_MOVES && !block->partner && !block->script;
}

/* The entry of block n, or for the last one behind the last, of what there is of the chunk. */
static struct jit_chunk_entry entry_or_end(const struct jit_cache *cache, const struct jit_chunk *chunk, unsigned n)
{
	if (n < chunk->block_count)
		return *jit_chunk_entry(cache, chunk, n);
	return (struct jit_chunk_entry){ chunk->code_used, chunk->data_used };
}

void jit_chunk_choose(struct jit_cache *cache, struct jit_chunk *chunk)
{
	struct jit_chunk_entry room = { cache->chunk_size / 2, cache->chunk_size / 2 };

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned n = 0; n < chunk->block_count; n++) {
			struct jit_block *block = jit_chunk_block(cache, chunk, n);
			struct jit_chunk_entry from = entry_or_end(cache, chunk, n);
			struct jit_chunk_entry to = entry_or_end(cache, chunk, n + 1);

			if (pass == 0)
				block->stays = false;
			if (block->is_lean != (pass == 1) || !jit_block_was_used(chunk, block) || !can_move(block) ||
			    to.code - from.code > room.code || to.data - from.data > room.data)
				continue;
			room.code -= to.code - from.code;
			room.data -= to.data - from.data;
			block->stays = true;
		}
}

/* Downwards, where both may overlap. Vector registers may be the guest's: no memmove. */
static void move_down(uint8_t *to, const uint8_t *from, size_t size)
{
	if (to != from)
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* A displacement to something that has not moved, in code that has, by `distance` bytes down. */
static void correct(uint8_t *code, unsigned at, uint32_t distance)
{
	bytes_store32(code + at, bytes_load32(code + at) + distance);
}

static void correct_code(const struct jit_cache *cache, struct jit_block *block, uint8_t *code, uint32_t distance)
{
	const struct jit_site *sites = (const struct jit_site *)&block->links[block->link_count];
	const uint16_t *moves = (const uint16_t *)(sites + block->site_count);
	uint32_t entry = jit_code_at(cache, block->entry);

	for (unsigned i = 0; i < block->site_count; i++)
		correct(code, sites[i].at - 4u, distance);
	for (unsigned i = 0; i < block->move_count; i++)
		correct(code, moves[i], distance);
	for (unsigned i = 0; i < block->link_count; i++) {
		unsigned stub = block->links[i].unlinked - entry;

		correct(code, stub + JIT_LINK_JUMP_AT, distance);
		bytes_store32(code + stub + EMIT_CONSTANT_R13_AT,
			      (uint32_t)((const uint8_t *)&block->links[i] - cache->data));
	}
}

/* The lists that it is in lead to where it is now. */
static void correct_lists(struct jit_block *block)
{
	struct jit_block *next = block->next_hash;

	*block->previous_hash = block;
	if (next)
		next->previous_hash = &block->next_hash;
	next = block->next_page;
	*block->previous_page = block;
	if (next)
		next->previous_page = &block->next_page;
}

static struct jit_block *move(const struct jit_cache *cache, const struct jit_chunk *chunk,
			      const struct jit_chunk_entry *from, const struct jit_chunk_entry *end,
			      const struct jit_chunk_entry *to)
{
	size_t start = jit_chunk_start(cache, chunk);
	uint8_t *code = cache->code.writable + start, *data = cache->data + start;
	struct jit_block *block = (struct jit_block *)(data + to->data);
	uint32_t distance = from->code - to->code;

	move_down(code + to->code, code + from->code, end->code - from->code);
	move_down(data + to->data, data + from->data, end->data - from->data);
	block->entry -= distance;
	block->code -= distance;
	for (unsigned i = 0; i < block->link_count; i++) {
		block->links[i].from = block;
		block->links[i].patch -= distance;
		block->links[i].unlinked -= distance;
	}
	correct_code(cache, block, code + to->code, distance);
	correct_lists(block);
	return block;
}

unsigned jit_chunk_gather(struct jit_cache *cache, struct jit_chunk *chunk)
{
	struct jit_chunk_entry to = { 0, 0 }, from, end = entry_or_end(cache, chunk, 0);
	unsigned count = 0, all = chunk->block_count;
	uint32_t rights = code_memory_open();

	chunk->blocks = NULL;
	for (unsigned n = 0; n < all; n++) {
		struct jit_block *block = jit_chunk_block(cache, chunk, n);

		from = end;
		end = entry_or_end(cache, chunk, n + 1);
		if (!block->stays)
			continue;
		jit_links_break(cache, block);
		block = move(cache, chunk, &from, &end, &to);
		block->stays = false;
		*jit_chunk_entry(cache, chunk, count++) = to;
		to.code += end.code - from.code;
		to.data += end.data - from.data;
		block->next_in_chunk = chunk->blocks;
		chunk->blocks = block;
	}
	code_memory_close(rights);
	chunk->code_used = to.code;
	chunk->data_used = to.data;
	chunk->block_count = count;
	return count;
}
