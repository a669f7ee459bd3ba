/*
 * The cache of decoded blocks: see code.h for what keeps it coherent.
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
#define HEAT_LIMIT    64    /* invalidations after which a page is hot */
#define HOT_RUNS      65536 /* runs of hot blocks after which heat is halved */
#define BUILD_BYTES   512   /* code looked at for one block */
#define GRANULE_SHIFT 6

static unsigned hash_of(uint64_t key)
{
	return (unsigned)(key * 0x9e3779b97f4a7c15ull >> 49);
}

static struct block **block_bucket(struct block_cache *cache, uint64_t gpa, uint32_t mode)
{
	return &cache->hash[hash_of(gpa ^ (uint64_t)mode << 52)];
}

static struct block **page_bucket(struct block_cache *cache, uint64_t gpa)
{
	return &cache->page_hash[hash_of(gpa >> 12)];
}

static uint64_t *mapped_of(struct block_cache *cache, uint64_t gpa)
{
	return &cache->mapped[hash_of(gpa >> 12)];
}

bool block_is_fresh(const struct cpu *cpu, const struct block *block)
{
	return block->epoch == cpu->code_epoch &&
	       block->mapped == *mapped_of(cpu->blocks, block->gpa);
}

static void block_refresh(struct cpu *cpu, struct block *block)
{
	block->epoch = cpu->code_epoch;
	block->mapped = *mapped_of(cpu->blocks, block->gpa);
}

bool code_is_hot(const struct cpu *cpu, uint64_t gpa)
{
	return cpu->blocks->heat[gpa >> 12 & (HEAT_PAGES - 1)] >= HEAT_LIMIT;
}

static uint8_t *heat_of(struct block_cache *cache, uint64_t gpa)
{
	return &cache->heat[gpa >> 12 & (HEAT_PAGES - 1)];
}

/* Forget where the blocks in [from, to) were found: their memory is about to be used again. */
static void forget_jumps(struct block_cache *cache, const void *from, const void *to)
{
	for (unsigned i = 0; i < 1u << JUMP_BITS; i++) {
		struct jump_entry *jump = &cache->jumps[i];

		if ((const void *)jump->block >= from && (const void *)jump->block < to)
			*jump = (struct jump_entry){.block = NULL};
	}
}

struct block_cache *block_cache_create(size_t size)
{
	struct block_cache *cache = zeroes_map(sizeof(*cache));

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
	return cache;

free_used:
	free(cache->chunk_used);
free_cache:
	zeroes_unmap(cache, sizeof(*cache));
	return NULL;
}

void block_cache_destroy(struct block_cache *cache)
{
	if (!cache)
		return;
	guarded_unmap(cache->arena, cache->arena_size);
	free(cache->chunk_used);
	zeroes_unmap(cache, sizeof(*cache));
}

static void block_remove(struct block *block)
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

static void block_insert(struct block_cache *cache, struct block *block)
{
	struct block **bucket = block_bucket(cache, block->gpa, block->mode);

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
static struct block *block_allocate(struct block_cache *cache, unsigned bytes)
{
	struct block *block;

	if (cache->position + bytes > cache->chunk_end) {
		unsigned chunk;
		size_t start = cache->chunk_end % cache->arena_size;
		uint32_t used;

		chunk = (unsigned)(start / CHUNK_SIZE);
		used = cache->chunk_used[chunk];
		for (uint32_t at = 0; at < used; at += block->bytes) {
			block = (struct block *)(cache->arena + start + at);
			block_remove(block);
		}
		if (used)
			forget_jumps(cache, cache->arena + start, cache->arena + start + used);
		cache->chunk_used[chunk] = 0;
		cache->position = start;
		cache->chunk_end = start + CHUNK_SIZE;
	}
	block = (struct block *)(cache->arena + cache->position);
	block->bytes = bytes;
	cache->position += bytes;
	cache->chunk_used[(cache->position - 1) / CHUNK_SIZE] += bytes;
	return block;
}

static uint64_t granules(uint64_t gpa, unsigned size)
{
	unsigned first = (gpa & 0xfff) >> GRANULE_SHIFT;
	unsigned last = ((gpa & 0xfff) + size - 1) >> GRANULE_SHIFT;

	if (last > 63)
		last = 63;
	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

/*
 * With a page's first code, stores to it must leave their quick way: an exclusive section. Later on
 * they look at the word after they have stored (memory.c), and words fall to zero in exclusive
 * sections only: the locked OR, and their fence, see to it that one side notices the other.
 */
void code_mark(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	const struct cpu_platform *platform = cpu->platform;
	uint64_t mask = granules(gpa, size), present;
	_Atomic uint64_t *bitmap;
	bool began;

	if (!platform || !platform->code_bitmap)
		return;
	bitmap = platform->code_bitmap(cpu->platform_context, gpa);
	if (!bitmap)
		return;
	present = atomic_load_explicit(bitmap, memory_order_relaxed);
	if (present) {
		if ((present & mask) != mask)
			atomic_fetch_or(bitmap, mask);
		return;
	}
	began = cpu_exclusive_begin(cpu);
	bitmap = platform->code_bitmap(cpu->platform_context, gpa);
	if (bitmap && atomic_fetch_or(bitmap, mask) == 0) {
		if (platform->code_protect)
			platform->code_protect(cpu->platform_context, gpa);
		else
			code_page_protected(cpu, gpa);
	}
	if (began)
		cpu_exclusive_end(cpu);
}

static void too_long(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* Which flags are read later decides, backwards from the block's end, where they need not be kept. */
static void choose_flagless(struct insn *insns, const struct insn_effects *effects, unsigned count)
{
	uint32_t live = FLAGS_ARITHMETIC;

	for (unsigned i = count; i-- > 0;) {
		if (insns[i].execute_flagless && !(effects[i].flags_written & live)) {
			insns[i].flags_live = 0;
			insns[i].execute = insns[i].execute_flagless;
		}
		live &= ~effects[i].flags_written;
		live |= effects[i].flags_read;
	}
}

static struct block *block_build(struct cpu *cpu, uint64_t gpa, const uint8_t *code,
				 unsigned available)
{
	struct block_cache *cache = cpu->blocks;
	struct insn_effects effects[BLOCK_INSNS_MAX];
	struct insn insns[BLOCK_INSNS_MAX];
	uint8_t source[BUILD_BYTES];
	bool hot = *heat_of(cache, gpa) >= HEAT_LIMIT;
	unsigned count = 0, size = 0, bytes;
	struct block *block;
	uint8_t flags = hot ? BLOCK_HOT : 0;

	if (available > BUILD_BYTES)
		available = BUILD_BYTES;
	bytes_copy(source, code, available);
	while (count < BLOCK_INSNS_MAX && size < available) {
		struct insn *insn = &insns[count];
		int rc = insn_decode_effects(insn, source + size, available - size, cpu->mode,
		                             &cpu->rules, &effects[count]);

		if (rc == -ENODATA)
			break;
		if (rc == -E2BIG) {
			*insn = (struct insn){.execute = too_long, .length = INSN_LENGTH_MAX};
			insn->base = insn->index = INSN_REGISTER_NONE;
			insn->ends_block = 1;
			effects[count] = (struct insn_effects){FLAGS_ARITHMETIC, 0, true, false};
		}
		size += insn->length;
		count++;
		if (insn->ends_block || (hot && effects[count - 1].writes_memory))
			break;
	}
	if (!count) {
		flags = BLOCK_CROSSING;
		size = 1;
	}
	choose_flagless(insns, effects, count);
	bytes = (unsigned)(sizeof(*block) + count * sizeof(*insns) + size + 63) & ~63u;
	block = block_allocate(cache, bytes);
	block->gpa = gpa;
	block->mode = cpu->mode;
	block_refresh(cpu, block);
	block->size = (uint16_t)size;
	block->count = (uint8_t)count;
	block->flags = flags;
	bytes_copy(block->insns, insns, count * sizeof(*insns));
	bytes_copy((uint8_t *)&block->insns[count], source, size);
	block_insert(cache, block);
	cpu->blocks_decoded++;
	return block;
}

static struct block *block_find(struct cpu *cpu, uint64_t gpa)
{
	struct block *block = *block_bucket(cpu->blocks, gpa, cpu->mode);

	while (block && (block->gpa != gpa || block->mode != cpu->mode))
		block = block->next;
	return block;
}

static bool block_is_current(struct cpu *cpu, struct block *block, const uint8_t *code)
{
	struct block_cache *cache = cpu->blocks;

	if (block->flags & BLOCK_HOT) {
		if (++cache->hot_runs >= HOT_RUNS) {
			cache->hot_runs = 0;
			for (unsigned i = 0; i < HEAT_PAGES; i++)
				cache->heat[i] /= 2;
		}
		if (*heat_of(cache, block->gpa) < HEAT_LIMIT)
			return false;
	} else if (block_is_fresh(cpu, block) || block->flags & BLOCK_CROSSING) {
		return true;
	}
	block_refresh(cpu, block);
	return bytes_equal(block_source(block), code, block->size);
}

struct block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available)
{
	struct block *block = block_find(cpu, gpa);

	if (block && (block->size > available || !block_is_current(cpu, block, code))) {
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

static void invalidated(struct cpu *cpu, struct block *block)
{
	if (block == cpu->blocks->running)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
	block_remove(block);
}

void code_invalidate(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	uint64_t first = gpa & ~(uint64_t)((1u << GRANULE_SHIFT) - 1);
	uint64_t last = (gpa + size - 1) | ((1u << GRANULE_SHIFT) - 1);

	if (!cpu->blocks || !size)
		return;
	if (cpu->translator)
		cpu->translator->invalidate(cpu, first, last - first + 1);
	for (uint64_t page = first & ~0xfffull; page <= last; page += 0x1000) {
		struct block *block = *page_bucket(cpu->blocks, page), *next;
		bool any = false;

		for (; block; block = next) {
			next = block->page_next;
			if (block->gpa > last || block->gpa + block->size <= first)
				continue;
			invalidated(cpu, block);
			any = true;
		}
		if (any && *heat_of(cpu->blocks, page) < UINT8_MAX)
			++*heat_of(cpu->blocks, page);
	}
}

void code_invalidate_all(struct cpu *cpu)
{
	if (!cpu->blocks)
		return;
	if (cpu->translator)
		cpu->translator->invalidate_all(cpu);
	for (unsigned i = 0; i < BLOCK_HASHES; i++)
		while (cpu->blocks->hash[i])
			invalidated(cpu, cpu->blocks->hash[i]);
}

void code_page_mapped(struct cpu *cpu, uint64_t gpa)
{
	if (!cpu->blocks)
		return;
	++*mapped_of(cpu->blocks, gpa);
	if (cpu->translator)
		cpu->translator->page_mapped(cpu, gpa);
}

void code_page_protected(struct cpu *cpu, uint64_t gpa)
{
	if (cpu->tlb_sets.sets)
		tlb_flush_writes(cpu, gpa);
}
