/*
 * The cache of decoded blocks: code.h; tier/code_index.h says what keeps it coherent.
 *
 * Memory is one arena, cut into chunks that fill up one after the other. A block that is removed
 * stays where it is (it may be running) with its gpa set to BLOCK_GPA_NONE, until its chunk's turn
 * comes again; then all pointers that jump entries hold are forgotten with it.
 */
#include "engine/run/interp/code.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "util/guarded.h"
#include "util/zeroes.h"

#define CHUNK_SIZE    (256u << 10)
#define HOT_RUNS      65536 /* runs of hot blocks after which heat fades */
#define BUILD_BYTES   512   /* code looked at for one block */
#define COPY_BYTES    64    /* of it at a time */
#define PAGES_SEARCHED 64   /* a range of more pages is looked for in the whole cache */

static unsigned hash_of(uint64_t key)
{
	return (unsigned)(key * 0x9e3779b97f4a7c15ull >> 49);
}

/* The blocks of 128 bytes of code are in a line of the host's caches: they mostly run together. */
static struct interp_block **block_bucket(struct interp_cache *cache, uint64_t gpa, uint32_t mode)
{
	unsigned line = hash_of((gpa ^ (uint64_t)mode << 52) >> 7) & ~7u;

	return &cache->hash[line | (gpa >> 4 & 7)];
}

static struct interp_block **page_bucket(struct interp_cache *cache, uint64_t gpa)
{
	return &cache->page_hash[hash_of(gpa >> 12)];
}

static uint64_t *mapped_of(struct interp_cache *cache, uint64_t gpa)
{
	return &cache->mapped[hash_of(gpa >> 12)];
}

bool block_is_fresh(const struct interp_cache *cache, const struct interp_block *block)
{
	return block->epoch == cache->cpu->code_epoch &&
	       block->mapped == cache->mapped[hash_of(block->gpa >> 12)];
}

static void block_refresh(struct interp_cache *cache, struct interp_block *block)
{
	block->epoch = cache->cpu->code_epoch;
	block->mapped = *mapped_of(cache, block->gpa);
}

/* Forget where the blocks in [from, to) were found: their memory is about to be used again. */
static void forget_jumps(struct interp_cache *cache, const void *from, const void *to)
{
	for (unsigned i = 0; i < 1u << JUMP_BITS; i++) {
		struct jump_entry *jump = &cache->jumps[i];

		if ((const void *)jump->block >= from && (const void *)jump->block < to)
			*jump = (struct jump_entry){.block = NULL};
	}
}

static bool drop(struct code_holder *holder, uint64_t gpa, uint64_t last);

struct interp_cache *block_cache_create(struct cpu *cpu, size_t size)
{
	struct interp_cache *cache = zeroes_map(sizeof(*cache));

	if (!cache)
		return NULL;
	cache->arena_size = size < 4 * CHUNK_SIZE ? 4 * CHUNK_SIZE : size & ~(size_t)(CHUNK_SIZE - 1);
	cache->chunk_used = calloc(cache->arena_size / CHUNK_SIZE, sizeof(*cache->chunk_used));
	if (!cache->chunk_used)
		goto free_cache;
	cache->arena = guarded_map(cache->arena_size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, false);
	if (!cache->arena)
		goto free_used;
	/* Many CPUs fill little of it. */
	madvise(cache->arena, cache->arena_size, MADV_NOHUGEPAGE);
	cache->chunk_end = CHUNK_SIZE;
	cache->cpu = cpu;
	cache->holder.drop = drop;
	code_index_add_holder(cpu->tiers->code, &cache->holder);
	return cache;

free_used:
	free(cache->chunk_used);
free_cache:
	zeroes_unmap(cache, sizeof(*cache));
	return NULL;
}

void block_cache_destroy(struct interp_cache *cache)
{
	if (!cache)
		return;
	code_index_remove_holder(cache->cpu->tiers->code, &cache->holder);
	guarded_unmap(cache->arena, cache->arena_size);
	free(cache->chunk_used);
	zeroes_unmap(cache, sizeof(*cache));
}

static void block_remove(struct interp_block *block)
{
	if (block->gpa == BLOCK_GPA_NONE)
		return;
	block->gpa = BLOCK_GPA_NONE;
	*block->previous = block->next;
	if (block->next)
		block->next->previous = block->previous;
	*block->page_previous = block->page_next;
	if (block->page_next)
		block->page_next->page_previous = block->page_previous;
}

static void block_insert(struct interp_cache *cache, struct interp_block *block)
{
	struct interp_block **bucket = block_bucket(cache, block->gpa, block->mode);

	block->next = *bucket;
	block->previous = bucket;
	if (block->next)
		block->next->previous = &block->next;
	*bucket = block;

	bucket = page_bucket(cache, block->gpa);
	block->page_next = *bucket;
	block->page_previous = bucket;
	if (block->page_next)
		block->page_next->page_previous = &block->page_next;
	*bucket = block;
}

/* Room for a block, at the cost of the oldest chunk's blocks when the present one is full. */
static struct interp_block *block_allocate(struct interp_cache *cache, unsigned bytes)
{
	struct interp_block *block;

	if (cache->position + bytes > cache->chunk_end) {
		unsigned chunk;
		size_t start = cache->chunk_end % cache->arena_size;
		uint32_t used;

		chunk = (unsigned)(start / CHUNK_SIZE);
		used = cache->chunk_used[chunk];
		for (uint32_t at = 0; at < used; at += block->bytes) {
			block = (struct interp_block *)(cache->arena + start + at);
			block_remove(block);
		}
		if (used)
			forget_jumps(cache, cache->arena + start, cache->arena + start + used);
		cache->chunk_used[chunk] = 0;
		cache->position = start;
		cache->chunk_end = start + CHUNK_SIZE;
	}
	block = (struct interp_block *)(cache->arena + cache->position);
	block->bytes = bytes;
	cache->position += bytes;
	cache->chunk_used[(cache->position - 1) / CHUNK_SIZE] += bytes;
	return block;
}

static void too_long(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* Which flags are read later decides, backwards from the block's end, where they need not be kept. */
static void choose_flagless(struct insn *insns, struct insn_form *forms, unsigned count)
{
	uint32_t live = FLAGS_ARITHMETIC;

	for (unsigned i = count; i-- > 0;) {
		struct insn *insn = &insns[i];
		insn_handler *flagless = forms[i].other;

		if (flagless && !(insn->flags_written & live)) {
			forms[i].other = insn->execute;
			insn->execute = flagless;
			insn->traits |= INSN_FLAGLESS;
		}
		/* Shifts and rotates by zero write nothing; undefined flags may mean unchanged ones: only
		 * instructions with a flagless form are known to write all that they name. */
		if (flagless)
			live &= ~insn->flags_written;
		else
			live |= forms[i].flags_undefined;
		live |= insn->flags_read;
		/* An exception shows all flags as they were before the instruction. */
		if (insn->traits & INSN_MAY_FAULT)
			live = FLAGS_ARITHMETIC;
	}
}

static struct interp_block *block_build(struct cpu *cpu, uint64_t gpa, const uint8_t *code,
					unsigned available)
{
	struct interp_cache *cache = blocks_of(cpu);
	struct insn_form forms[BLOCK_INSNS_MAX];
	struct insn insns[BLOCK_INSNS_MAX];
	uint8_t source[BUILD_BYTES];
	bool hot = code_is_hot(cpu->tiers->code, gpa);
	unsigned count = 0, size = 0, copied = 0, bytes;
	struct interp_block *block;
	uint8_t flags = hot ? BLOCK_HOT : 0;

	if (available > BUILD_BYTES)
		available = BUILD_BYTES;
	while (count < BLOCK_INSNS_MAX && size < available) {
		struct insn *insn = &insns[count];
		int rc;

		/* A piece at a time: most blocks are short. Each byte is read once. */
		while (copied < available && copied - size <= INSN_LENGTH_MAX) {
			unsigned piece = available - copied < COPY_BYTES ? available - copied : COPY_BYTES;

			bytes_copy(source + copied, code + copied, piece);
			copied += piece;
		}
		rc = insn_decode_form(insn, &forms[count], source + size, copied - size, cpu->mode, &cpu->rules);

		if (rc == -ENODATA)
			break;
		/* Which may show before the page's last byte; blocks end there. */
		if (rc == -E2BIG)
			insn_make_bad(insn, &forms[count], too_long,
				      available - size < INSN_LENGTH_MAX ? available - size : INSN_LENGTH_MAX);
		size += insn->length;
		count++;
		if (insn->ends_block || (hot && insn->traits & INSN_WRITES_MEMORY))
			break;
	}
	if (!count) {
		flags = BLOCK_CROSSING;
		size = 1;
	}
	choose_flagless(insns, forms, count);
	bytes = (unsigned)(sizeof(*block) + count * (sizeof(*insns) + sizeof(*forms)) + size + 63) &
		~63u;
	block = block_allocate(cache, bytes);
	block->gpa = gpa;
	block->mode = cpu->mode;
	block_refresh(cache, block);
	block->size = (uint16_t)size;
	block->count = (uint8_t)count;
	block->flags = flags;
	block->cold_runs = 0;
	bytes_copy(block->insns, insns, count * sizeof(*insns));
	bytes_copy((struct insn_form *)block_forms(block), forms, count * sizeof(*forms));
	bytes_copy((uint8_t *)block_source(block), source, size);
	block_insert(cache, block);
	cache->decoded++;
	return block;
}

static struct interp_block *block_find(struct interp_cache *cache, uint64_t gpa)
{
	uint32_t mode = cache->cpu->mode;
	struct interp_block *block = *block_bucket(cache, gpa, mode);

	while (block && (block->gpa != gpa || block->mode != mode))
		block = block->next;
	return block;
}

static bool block_is_current(struct interp_cache *cache, struct interp_block *block, const uint8_t *code)
{
	struct code_index *index = cache->cpu->tiers->code;

	if (block->flags & BLOCK_HOT) {
		if (++cache->hot_runs >= HOT_RUNS) {
			cache->hot_runs = 0;
			code_cool(index);
		}
		if (!code_is_hot(index, block->gpa))
			return false;
	} else if (block_is_fresh(cache, block) || block->flags & BLOCK_CROSSING) {
		return true;
	}
	block_refresh(cache, block);
	return bytes_equal(block_source(block), code, block->size);
}

bool code_decoded(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available,
		  struct tier_decoded *decoded)
{
	const struct interp_block *block = block_find(blocks_of(cpu), gpa);

	if (!block || !block->count || block->size > available ||
	    !bytes_equal(block_source(block), code, block->size))
		return false;
	*decoded = (struct tier_decoded){block->insns, block_forms(block), block->count};
	return true;
}

struct interp_block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available)
{
	struct interp_cache *cache = blocks_of(cpu);
	struct interp_block *block = block_find(cache, gpa);

	if (block && (block->size > available || !block_is_current(cache, block, code))) {
		block_remove(block);
		block = NULL;
	}
	if (block)
		return block;
	fpu_leave(cpu);
	block = block_build(cpu, gpa, code, available);
	if (block->flags)
		return block;
	/* Others may have stored to the code, or mapped something else here, before the mark. */
	code_mark(cpu, gpa, block->size);
	if (cpu->requests || block->gpa == BLOCK_GPA_NONE ||
	    !bytes_equal(block_source(block), code, block->size)) {
		block_remove(block);
		return NULL;
	}
	return block;
}

/* The block under way stops behind its present instruction. */
static void invalidated(struct interp_cache *cache, struct interp_block *block)
{
	if (block == cache->running)
		cpu_request(cache->cpu, CPU_REQUEST_STOP_BLOCK);
	block_remove(block);
}

/* What one page's bucket has in the range. */
static bool drop_from(struct interp_cache *cache, struct interp_block *block, uint64_t gpa, uint64_t last)
{
	struct interp_block *next;
	bool any = false;

	for (; block; block = next) {
		next = block->page_next;
		if (block->gpa > last || block->gpa + block->size <= gpa)
			continue;
		invalidated(cache, block);
		any = true;
	}
	return any;
}

static bool drop(struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	struct interp_cache *cache = (struct interp_cache *)holder;
	uint64_t pages = (last >> 12) - (gpa >> 12) + 1;
	bool any = false;

	if (pages > PAGES_SEARCHED) {
		for (unsigned i = 0; i < BLOCK_HASHES; i++)
			any |= drop_from(cache, cache->page_hash[i], gpa, last);
		return any;
	}
	for (uint64_t page = gpa >> 12; page <= last >> 12; page++)
		any |= drop_from(cache, *page_bucket(cache, page << 12), gpa, last);
	return any;
}

void block_page_mapped(struct interp_cache *cache, uint64_t gpa)
{
	++*mapped_of(cache, gpa);
}
