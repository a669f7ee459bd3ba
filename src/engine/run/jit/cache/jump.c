/*
 * Where jumps lead: links from block to block, which all CPUs share, and each CPU's own table of all
 * other jumps, by address.
 *
 * Neither depends on what is mapped where: the entry of a block looks that up (view.h). So links last as
 * long as both blocks, and entries of the table until others take their places; only when the memory of
 * code is used again are the tables searched for what led there. The tables change on their CPU's own
 * thread, without a lock, and in exclusive sections.
 */
#include <stdatomic.h>

#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/mode.h"

/* How many ways through the dispatcher are worth a search through all links, the first and each
 * time. */
#define MISLED_MANY 4096
#define MISLED_MOST (1u << 24)

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

static bool is_user(const struct jit_block *block)
{
	return block->mode & JIT_MODE_USER;
}

static bool is_at(const struct jit *jit, const struct jit_block *block, uint64_t gva)
{
	return !block->dead && !block->is_retired && jit_view_has(&jit->views, block->page->index, is_user(block),
					    gva - (block->gpa & 0xfff));
}

struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva)
{
	unsigned index = jump_index(gva);
	struct jit_block *block;

	/* The rest is seldom in the host's caches where this is not. */
	if (jit_frame(jit->cpu)->jumps[set][index].gva != gva)
		return NULL;
	block = jit->jump_blocks[set * JIT_JUMP_ENTRIES + index];
	return is_at(jit, block, gva) ? block : NULL;
}

const uint8_t *jit_find_entry(const struct jit *jit, unsigned set, uint64_t gva)
{
	const struct jit_jump *jump = &jit_frame(jit->cpu)->jumps[set][jump_index(gva)];

	return jump->gva == gva ? jump->code : NULL;
}

static const uint8_t *unlinked_code(const struct jit_cache *cache, const struct jit_link *link)
{
	return cache->code.executable + link->unlinked;
}

/*
 * The displacement at link->patch, through the writable mapping. Where other CPUs may execute the
 * jump right now it is aligned (emit_align_link), so that they see the old one or the new one. The
 * store stands alone, and the guest's vector state may be in the registers: no memcpy.
 */
static void link_set(struct jit_cache *cache, const struct jit_link *link, const uint8_t *target)
{
	struct {
		volatile int32_t displacement;
	} __attribute__((packed)) *jump = (void *)(cache->code.writable + link->patch);

	uint32_t rights = code_memory_open();

	atomic_thread_fence(memory_order_release);
	jump->displacement = (int32_t)(jit_code_at(cache, target) - (link->patch + 4));
	code_memory_close(rights);
}

static void link_break(struct jit_cache *cache, struct jit_link *link)
{
	if (!link->to)
		return;
	*link->previous = link->next;
	if (link->next)
		link->next->previous = link->previous;
	link_set(cache, link, unlinked_code(cache, link));
	link->to = NULL;
}

static void link_make(struct jit_cache *cache, struct jit_link *link, struct jit_block *to)
{
	link->to = to;
	link->next = to->incoming;
	link->previous = &to->incoming;
	if (link->next)
		link->next->previous = &link->next;
	to->incoming = link;
	link_set(cache, link, link->page_distance ? to->entry : to->code);
}

/* What is linked within a page is so at whatever address a CPU finds it. */
static bool is_same_mode(const struct jit_link *link, const struct jit_block *to)
{
	uint32_t difference = link->from->mode ^ to->mode;

	return !(link->page_distance ? difference & ~JIT_MODE_EDGE : difference);
}

/* The jump was just left through; `to` was found by a fetch. */
static bool can_link(const struct jit_link *link, const struct jit_block *to)
{
	const struct jit_block *from = link->from;

	return !from->dead && link->offset == (to->gpa & 0xfff) && is_same_mode(link, to) &&
	       (link->page_distance || from->page == to->page);
}

bool jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to)
{
	bool is_new;

	if (!can_link(link, to))
		return false;
	jit_lock_take(&jit->cache->lock);
	is_new = !link->to && !to->is_retired; /* another CPU may have been quicker */
	if (is_new)
		link_make(jit->cache, link, to);
	jit_lock_release(&jit->cache->lock);
	return is_new;
}

/* Break the links of `from` that go to where `to` is, but to another block. */
static bool break_misled(struct jit *jit, struct jit_block *from, const struct jit_block *to, uint64_t gva)
{
	bool any = false;

	for (unsigned i = 0; i < from->link_count; i++) {
		struct jit_link *link = &from->links[i];
		uint64_t page = gva - link->offset - (int64_t)link->page_distance * 4096;

		if (!link->page_distance || !link->to || link->to == to || !can_link(link, to) ||
		    !jit_view_has(&jit->views, from->page->index, is_user(from), page))
			continue;
		link_break(jit->cache, link);
		any = true;
	}
	return any;
}

void jit_links_renew(struct jit *jit, const struct jit_block *to, uint64_t gva)
{
	struct jit_cache *cache = jit->cache;
	bool any = false;

	if (++jit->misled < jit->misled_many)
		return;
	jit_lock_take(&cache->lock);
	for (unsigned i = 0; i < cache->chunk_count; i++)
		for (struct jit_block *from = cache->chunks[i].blocks; from; from = from->next_in_chunk)
			any |= !from->dead && break_misled(jit, from, to, gva);
	jit_lock_release(&cache->lock);
	jit->misled = 0;
	if (any)
		jit->misled_many = MISLED_MANY;
	else if (jit->misled_many < MISLED_MOST)
		jit->misled_many *= 2;
}

/* Who comes to the block's entry leaves to the dispatcher: its first bytes become a jump there. The store
 * stands alone, as link_set's does. */
static void close_entry(struct jit_cache *cache, const struct jit_block *block)
{
	uint32_t at = jit_code_at(cache, block->entry);
	volatile uint64_t *first = (volatile uint64_t *)(cache->code.writable + at);
	uint32_t distance = jit_code_at(cache, cache->stubs.return_exit) - (at + 5);
	uint32_t rights = code_memory_open();

	*first = (*first & 0xffffff0000000000u) | (uint64_t)distance << 8 | 0xe9; /* jmp */
	code_memory_close(rights);
}

void jit_links_avoid(struct jit_cache *cache, struct jit_block *block)
{
	while (block->incoming)
		link_break(cache, block->incoming);
}

void jit_links_break(struct jit_cache *cache, struct jit_block *block)
{
	jit_links_avoid(cache, block);
	for (unsigned i = 0; i < block->link_count; i++)
		link_break(cache, &block->links[i]);
}

void jit_block_unlink(struct jit_cache *cache, struct jit_block *block)
{
	jit_links_break(cache, block);
	close_entry(cache, block);
}

static void forget_in(struct jit *jit, unsigned set, const uint8_t *from, const uint8_t *to)
{
	struct jit_jump *jumps = jit_frame(jit->cpu)->jumps[set];

	for (unsigned i = 0; i < JIT_JUMP_ENTRIES; i++)
		if (jumps[i].code >= from && jumps[i].code < to)
			jumps[i] = (struct jit_jump){ .gva = jump_none(i) };
}

void jit_jumps_forget(struct jit_cache *cache, const uint8_t *from, const uint8_t *to)
{
	for (struct jit *jit = cache->users; jit; jit = jit->next_user)
		for (unsigned set = 0; set < JIT_JUMP_SETS; set++)
			if (jit->jumps_used[set])
				forget_in(jit, set, from, to);
}

void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global)
{
	unsigned set = jit_jump_set(block->mode), index = jump_index(gva);

	jit_view_add(&jit->views, block->page->index, is_user(block), gva & ~(uint64_t)0xfff, is_global);
	jit_frame(jit->cpu)->jumps[set][index] = (struct jit_jump){ gva, block->entry };
	jit->jump_blocks[set * JIT_JUMP_ENTRIES + index] = block;
	jit->jumps_used[set] = true;
}

void jit_jumps_init(struct jit *jit)
{
	/* The rest of the zeroes are empty entries already. */
	for (unsigned set = 0; set < JIT_JUMP_SETS; set++)
		jit_frame(jit->cpu)->jumps[set][0].gva = jump_none(0);
	jit->misled_many = MISLED_MANY;
}
