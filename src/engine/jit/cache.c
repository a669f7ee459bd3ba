/*
 * The code cache: blocks by address, links between them, and their removal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/jit/internal.h"

/* The entry of an address, as translated code computes it (emit_jump_lookup). */
static unsigned jump_index(uint64_t gva)
{
	uint64_t rotated = gva >> JIT_JUMP_ROTATE | gva << (64 - JIT_JUMP_ROTATE);

	return (rotated + gva * 8) >> 3 & (JIT_JUMP_ENTRIES - 1);
}

/* What an empty jump entry holds: an address that is looked up in another one (0 in the first). */
static uint64_t jump_none(unsigned index)
{
	return index ? 0 : 1;
}

static struct jit_block **block_bucket(struct jit *jit, uint64_t gpa, uint32_t mode)
{
	return &jit->blocks[jit_hash(gpa ^ (uint64_t)mode << 48)];
}

struct jit_block *jit_block_find(struct jit *jit, uint64_t gpa, uint32_t mode)
{
	struct jit_block *block = *block_bucket(jit, gpa, mode);

	while (block && (block->gpa != gpa || block->mode != mode))
		block = block->next_hash;
	return block;
}

struct jit_page *jit_page_find(struct jit *jit, uint64_t gpa)
{
	struct jit_page *page = jit->pages[jit_hash(gpa >> 12)];

	while (page && page->number != gpa >> 12)
		page = page->next_hash;
	return page;
}

static struct jit_page *page_get(struct jit *jit, uint64_t gpa)
{
	struct jit_page *page = jit_page_find(jit, gpa), **bucket;

	if (page)
		return page;
	page = calloc(1, sizeof(*page));
	if (!page)
		return NULL;
	bucket = &jit->pages[jit_hash(gpa >> 12)];
	page->number = gpa >> 12;
	page->epoch = jit->epoch;
	page->next_hash = *bucket;
	*bucket = page;
	return page;
}

void jit_page_release(struct jit *jit, struct jit_page *page)
{
	struct jit_page **at = &jit->pages[jit_hash(page->number)];

	if (--page->users)
		return;
	while (*at != page)
		at = &(*at)->next_hash;
	*at = page->next_hash;
	free(page);
}

/* The granules of 64 bytes that hold [gpa, gpa + size), inside one page. */
static uint64_t granules(uint64_t gpa, uint64_t size)
{
	unsigned first = (gpa & 0xfff) / 64, last = ((gpa & 0xfff) + size - 1) / 64;

	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - (last > 63 ? 63 : last)));
}

static const uint64_t *granule_at(const void *page, unsigned granule)
{
	return (const uint64_t *)page + granule * 8;
}

static bool granule_equal(const uint64_t *a, const uint64_t *b)
{
	uint64_t difference = 0;

	for (unsigned i = 0; i < 8; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

/* Keep the granules of a new block; false when those that were kept before are not what it was
 * translated from. */
static bool page_cover(struct jit_page *page, const struct jit_block *block, const uint64_t *snapshot)
{
	uint64_t left;

	for (left = block->granules & page->covered; left; left &= left - 1) {
		unsigned granule = __builtin_ctzll(left);

		if (!granule_equal(granule_at(page->copy, granule), granule_at(snapshot, granule)))
			return false;
	}
	for (left = block->granules & ~page->covered; left; left &= left - 1) {
		unsigned granule = __builtin_ctzll(left);

		for (unsigned i = 0; i < 8; i++)
			page->copy[granule * 8 + i] = granule_at(snapshot, granule)[i];
	}
	page->covered |= block->granules;
	return true;
}

/* Whether any block had looked at the granules. */
static bool kill_granules(struct jit *jit, struct jit_page *page, uint64_t granules)
{
	struct jit_block *block, *next;
	bool any = false;

	for (block = page->blocks; block; block = next) {
		next = block->next_page;
		if (!(block->granules & granules))
			continue;
		jit_block_remove(jit, block);
		jit->statistics.invalidations++;
		any = true;
	}
	page->covered &= ~granules;
	return any;
}

void jit_page_verify(struct jit *jit, struct jit_page *page, const uint8_t *bytes)
{
	uint64_t left = page->covered;

	page->epoch = jit->epoch;
	for (; left; left &= left - 1) {
		unsigned granule = __builtin_ctzll(left);

		if (!granule_equal(granule_at(bytes, granule), granule_at(page->copy, granule)))
			kill_granules(jit, page, 1ull << granule);
	}
}

void jit_page_mapped(struct cpu *cpu, uint64_t gpa)
{
	struct jit_page *page = jit_page_find(cpu->jit, gpa);

	if (page)
		page->epoch = cpu->jit->epoch - 1;
}

int jit_block_insert(struct jit *jit, struct jit_block *block)
{
	struct jit_block **bucket = block_bucket(jit, block->gpa, block->mode);
	struct jit_page *page = page_get(jit, block->gpa);

	if (!page)
		return -ENOMEM;
	if (!page_cover(page, block, jit->snapshot))
		return -EAGAIN;
	block->next_hash = *bucket;
	*bucket = block;
	block->page = page;
	page->users++;
	block->next_page = page->blocks;
	page->blocks = block;
	return 0;
}

/* The displacement at link->patch, through the writable mapping. */
static void link_set(struct jit *jit, const struct jit_link *link, uint32_t target)
{
	struct {
		int32_t displacement;
	} __attribute__((packed)) *jump = (void *)(jit->writable + link->patch);

	/* Unlinking happens with the guest's vector state in the registers: no memcpy. */
	jump->displacement = (int32_t)(target - (link->patch + 4));
}

static void link_break(struct jit *jit, struct jit_link *link)
{
	if (!link->to)
		return;
	*link->previous = link->next;
	if (link->next)
		link->next->previous = link->previous;
	link_set(jit, link, link->unlinked);
	link->to = NULL;
	if (!link->page_distance)
		return;
	*link->previous_crossing = link->next_crossing;
	if (link->next_crossing)
		link->next_crossing->previous_crossing = link->previous_crossing;
}

void jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to)
{
	link->to = to;
	link->next = to->incoming;
	link->previous = &to->incoming;
	if (link->next)
		link->next->previous = &link->next;
	to->incoming = link;
	link_set(jit, link, jit_code_at(jit, to->code));
	if (link->page_distance) {
		struct jit_link **list = link->from->page->is_global && to->page->is_global ?
						 &jit->crossing_global :
						 &jit->crossing_local;

		link->next_crossing = *list;
		link->previous_crossing = list;
		if (link->next_crossing)
			link->next_crossing->previous_crossing = &link->next_crossing;
		*list = link;
	}
}

static void break_crossing(struct jit *jit, struct jit_link **list)
{
	while (*list)
		link_break(jit, *list);
}

static struct jit_jump *jump_at(struct jit *jit, unsigned at)
{
	return &jit->cpu->fast.jumps[at / JIT_JUMP_ENTRIES][at % JIT_JUMP_ENTRIES];
}

/* Which entry leads to the block, if any does. */
static unsigned jump_of(const struct jit_block *block)
{
	return jit_jump_set(block->mode) * JIT_JUMP_ENTRIES +
	       jump_index(block->page->gva | (block->gpa & 0xfff));
}

static void leave_jump(struct jit *jit, const struct jit_block *block)
{
	unsigned at = jump_of(block);

	if (jump_at(jit, at)->code == block->entry)
		jump_at(jit, at)->gva = jump_none(at % JIT_JUMP_ENTRIES);
}

void jit_block_remove(struct jit *jit, struct jit_block *block)
{
	struct jit_block **at = block_bucket(jit, block->gpa, block->mode);

	while (*at != block)
		at = &(*at)->next_hash;
	*at = block->next_hash;
	at = &block->page->blocks;
	while (*at != block)
		at = &(*at)->next_page;
	*at = block->next_page;
	while (block->incoming)
		link_break(jit, block->incoming);
	for (unsigned i = 0; i < block->link_count; i++)
		link_break(jit, &block->links[i]);
	block->dead = true;
	leave_jump(jit, block);
}

void jit_init_jumps(struct jit *jit)
{
	for (unsigned i = 0; i < JIT_JUMP_SETS * JIT_JUMP_ENTRIES; i++)
		jump_at(jit, i)->gva = jump_none(i % JIT_JUMP_ENTRIES);
	jit->jumps_local.count = jit->jumps_global.count = 0;
	jit->forgotten = jit->forgotten_global = 1;
}

/* An entry may be in both lists; what is there goes with either. */
static void clear_list(struct jit *jit, struct jit_jump_list *list)
{
	for (unsigned i = 0; i < list->count; i++) {
		unsigned at = list->used[i];

		jump_at(jit, at)->gva = jump_none(at % JIT_JUMP_ENTRIES);
		list->is_used[at] = false;
	}
	list->count = 0;
}

void jit_forget_jumps(struct jit *jit, bool global_too)
{
	clear_list(jit, &jit->jumps_local);
	break_crossing(jit, &jit->crossing_local);
	jit->forgotten++;
	if (global_too) {
		jit->forgotten_global++;
		clear_list(jit, &jit->jumps_global);
		break_crossing(jit, &jit->crossing_global);
	}
}

struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva)
{
	unsigned index = jump_index(gva);

	if (jit->cpu->fast.jumps[set][index].gva != gva)
		return NULL;
	return jit->jump_blocks[set * JIT_JUMP_ENTRIES + index];
}

/* The page is mapped at more than one address: what was made while it ran at another goes. */
static void page_move(struct jit *jit, struct jit_page *page)
{
	for (struct jit_block *block = page->blocks; block; block = block->next_page) {
		struct jit_link *link, *next;

		leave_jump(jit, block);
		for (link = block->incoming; link; link = next) {
			next = link->next;
			if (link->page_distance)
				link_break(jit, link);
		}
		for (unsigned i = 0; i < block->link_count; i++)
			if (block->links[i].page_distance)
				link_break(jit, &block->links[i]);
	}
}

static void page_found(struct jit *jit, struct jit_page *page, uint64_t gva, bool is_global)
{
	if (page->gva != gva) {
		if (page->forgotten == jit->forgotten ||
		    page->forgotten_global == jit->forgotten_global)
			page_move(jit, page);
		page->gva = gva;
	}
	page->is_global = is_global;
	if (is_global)
		page->forgotten_global = jit->forgotten_global;
	else
		page->forgotten = jit->forgotten;
}

void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global)
{
	struct jit_jump_list *list = is_global ? &jit->jumps_global : &jit->jumps_local;
	unsigned at;

	page_found(jit, block->page, gva & ~(uint64_t)0xfff, is_global);
	at = jump_of(block);

	if (!list->is_used[at]) {
		list->is_used[at] = true;
		list->used[list->count++] = at;
	}
	jump_at(jit, at)->gva = gva;
	jump_at(jit, at)->code = block->entry;
	jit->jump_blocks[at] = block;
}

void jit_invalidate(struct cpu *cpu, uint64_t gpa, uint64_t size)
{
	bool any = false;

	while (size) {
		uint64_t part = 0x1000 - (gpa & 0xfff);
		struct jit_page *page = jit_page_find(cpu->jit, gpa);

		if (part > size)
			part = size;
		if (page)
			any |= kill_granules(cpu->jit, page, granules(gpa, part));
		gpa += part;
		size -= part;
	}
	/* One of them may be under way: it ends after its present instruction. */
	if (any)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

void jit_invalidate_all(struct cpu *cpu)
{
	struct jit *jit = cpu->jit;

	for (size_t i = 0; i < 1u << JIT_HASH_BITS; i++)
		while (jit->blocks[i])
			jit_block_remove(jit, jit->blocks[i]);
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}
