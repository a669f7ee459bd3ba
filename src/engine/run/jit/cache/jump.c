/*
 * Where jumps lead: links within a page, which all CPUs share, and each CPU's own tables, of direct
 * jumps to other pages by number and of all others by address.
 *
 * The tables hold what an address leads to on this CPU. An entry is made when the dispatcher has
 * looked the target up, and goes when an address may lead elsewhere (jit_forget_jumps), when its
 * page is found at a second address (page_move), or with the block. So the tables are the CPU's
 * own thread's, and change without a lock; only a block's end, an exclusive section, changes all.
 */
#include <errno.h>
#include <stdatomic.h>

#include "engine/run/jit/internal.h"
#include "util/zeroes.h"

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

static struct jit_jump *jump_at(struct jit *jit, unsigned at)
{
	return &jit_frame(jit->cpu)->jumps[at / JIT_JUMP_ENTRIES][at % JIT_JUMP_ENTRIES];
}

static struct jit_place *place_of(const struct jit *jit, const struct jit_block *block)
{
	return &jit->places[block->page->index];
}

/* Which entry leads to the block, if any does. */
static unsigned jump_of(const struct jit *jit, const struct jit_block *block)
{
	return jit_jump_set(block->mode) * JIT_JUMP_ENTRIES +
	       jump_index(place_of(jit, block)->gva | (block->gpa & 0xfff));
}

static void leave_jump(struct jit *jit, const struct jit_block *block)
{
	unsigned at = jump_of(jit, block);

	if (jump_at(jit, at)->code == block->entry)
		jump_at(jit, at)->gva = jump_none(at % JIT_JUMP_ENTRIES);
}

struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva)
{
	unsigned index = jump_index(gva);

	if (jit_frame(jit->cpu)->jumps[set][index].gva != gva)
		return NULL;
	return jit->jump_blocks[set * JIT_JUMP_ENTRIES + index];
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
	link_set(cache, link, to->code);
}

static void crossing_close(struct jit_crossing *crossing)
{
	if (!crossing->entry)
		return;
	*crossing->previous = crossing->next;
	if (crossing->next)
		crossing->next->previous = crossing->previous;
	*crossing->previous_open = crossing->next_open;
	if (crossing->next_open)
		crossing->next_open->previous_open = crossing->previous_open;
	*crossing->entry = crossing->unlinked;
	crossing->entry = NULL;
	crossing->to = NULL;
}

static void crossing_open(struct jit *jit, const struct jit_link *link, struct jit_block *to)
{
	struct jit_crossing *crossing = &jit->crossings[link->crossing];
	bool is_global = place_of(jit, link->from)->is_global && place_of(jit, to)->is_global;
	struct jit_crossing **list = is_global ? &jit->open_global : &jit->open_local;

	crossing_close(crossing);
	crossing->entry = &jit_frame(jit->cpu)->crossings[link->crossing];
	crossing->unlinked = unlinked_code(jit->cache, link);
	*crossing->entry = to->code;
	crossing->to = to;
	crossing->next = place_of(jit, to)->incoming;
	crossing->previous = &place_of(jit, to)->incoming;
	if (crossing->next)
		crossing->next->previous = &crossing->next;
	place_of(jit, to)->incoming = crossing;
	crossing->next_open = *list;
	crossing->previous_open = list;
	if (crossing->next_open)
		crossing->next_open->previous_open = &crossing->next_open;
	*list = crossing;
}

bool jit_link_number(struct jit_cache *cache, struct jit_link *link)
{
	if (!jit_number_take(&cache->crossings, &link->crossing))
		return false;
	for (struct jit *jit = cache->users; jit; jit = jit->next_user)
		jit_frame(jit->cpu)->crossings[link->crossing] = unlinked_code(cache, link);
	return true;
}

/* What is linked within a page is so at whatever address a CPU finds it; a jump to another page is only
 * taken where that is mapped. */
static bool is_same_mode(const struct jit_link *link, const struct jit_block *to)
{
	uint32_t difference = link->from->mode ^ to->mode;

	return !(link->page_distance ? difference & ~JIT_MODE_EDGE : difference);
}

/* The jump was just left through, so its block's page is still mapped where it was; `to` was found
 * by a fetch. Both may be on one page that is mapped at several addresses. */
static bool can_link(const struct jit *jit, const struct jit_link *link, const struct jit_block *to)
{
	const struct jit_block *from = link->from;

	return !from->dead && link->offset == (to->gpa & 0xfff) && is_same_mode(link, to) &&
	       place_of(jit, from)->gva + (int64_t)link->page_distance * 4096 ==
		       place_of(jit, to)->gva;
}

bool jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to)
{
	bool is_new;

	if (!can_link(jit, link, to))
		return false;
	if (link->page_distance) {
		crossing_open(jit, link, to);
		return true;
	}
	if (link->from->page != to->page)
		return false;
	jit_lock_take(&jit->cache->lock);
	is_new = !link->to; /* another CPU may have been quicker */
	if (is_new)
		link_make(jit->cache, link, to);
	jit_lock_release(&jit->cache->lock);
	return is_new;
}

/* On one CPU, all the following. */
static void close_incoming(struct jit *jit, const struct jit_block *block)
{
	struct jit_crossing *crossing, *next;

	for (crossing = place_of(jit, block)->incoming; crossing; crossing = next) {
		next = crossing->next;
		if (crossing->to == block)
			crossing_close(crossing);
	}
}

static void close_outgoing(struct jit *jit, struct jit_block *block)
{
	for (unsigned i = 0; i < block->link_count; i++)
		if (block->links[i].page_distance)
			crossing_close(&jit->crossings[block->links[i].crossing]);
}

void jit_block_unlink(struct jit_cache *cache, struct jit_block *block)
{
	while (block->incoming)
		link_break(cache, block->incoming);
	for (unsigned i = 0; i < block->link_count; i++)
		link_break(cache, &block->links[i]);
	for (struct jit *jit = cache->users; jit; jit = jit->next_user) {
		close_incoming(jit, block);
		close_outgoing(jit, block);
		leave_jump(jit, block);
	}
}

static void close_all(struct jit_crossing **list)
{
	while (*list)
		crossing_close(*list);
}

void jit_forget_jumps(struct jit *jit, bool global_too)
{
	clear_list(jit, &jit->jumps_local);
	close_all(&jit->open_local);
	jit->forgotten++;
	if (global_too) {
		jit->forgotten_global++;
		clear_list(jit, &jit->jumps_global);
		close_all(&jit->open_global);
	}
}

/* The page is mapped at more than one address: what was made while it ran at another goes. */
static void page_move(struct jit *jit, struct jit_page *page)
{
	while (jit->places[page->index].incoming)
		crossing_close(jit->places[page->index].incoming);
	for (struct jit_block *block = page->blocks; block; block = block->next_page) {
		leave_jump(jit, block);
		close_outgoing(jit, block);
	}
}

static void page_found(struct jit *jit, struct jit_page *page, uint64_t gva, bool is_global)
{
	struct jit_place *place = &jit->places[page->index];

	if (place->gva != gva) {
		if (place->forgotten == jit->forgotten ||
		    place->forgotten_global == jit->forgotten_global)
			page_move(jit, page);
		place->gva = gva;
	}
	place->is_global = is_global;
	if (is_global)
		place->forgotten_global = jit->forgotten_global;
	else
		place->forgotten = jit->forgotten;
}

void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global)
{
	struct jit_jump_list *list = is_global ? &jit->jumps_global : &jit->jumps_local;
	unsigned at;

	page_found(jit, block->page, gva & ~(uint64_t)0xfff, is_global);
	at = jump_of(jit, block);

	if (!list->is_used[at]) {
		list->is_used[at] = true;
		list->used[list->count++] = at;
	}
	jump_at(jit, at)->gva = gva;
	jump_at(jit, at)->code = block->entry;
	jit->jump_blocks[at] = block;
}

/* The jumps that exist already lead nowhere on a new CPU. */
static void init_crossings(struct jit *jit)
{
	const struct jit_cache *cache = jit->cache;

	for (unsigned i = 0; i < cache->chunk_count; i++)
		for (const struct jit_block *block = cache->chunks[i].blocks; block;
		     block = block->next_in_chunk)
			for (unsigned k = 0; k < block->link_count; k++)
				if (block->links[k].page_distance)
					jit_frame(jit->cpu)->crossings[block->links[k].crossing] =
						unlinked_code(cache, &block->links[k]);
}

int jit_jumps_create(struct jit *jit)
{
	/* The rest of the zeroes are empty entries already. */
	for (unsigned set = 0; set < JIT_JUMP_SETS; set++)
		jump_at(jit, set * JIT_JUMP_ENTRIES)->gva = jump_none(0);
	jit->forgotten = jit->forgotten_global = 1;
	jit->crossings = zeroes_map(JIT_CROSSINGS * sizeof(*jit->crossings));
	jit->places = zeroes_map(jit->cache->places.limit * sizeof(*jit->places));
	if (!jit->crossings || !jit->places)
		return -ENOMEM;
	init_crossings(jit);
	return 0;
}

void jit_jumps_destroy(struct jit *jit)
{
	close_all(&jit->open_local);
	close_all(&jit->open_global);
	zeroes_unmap(jit->crossings, JIT_CROSSINGS * sizeof(*jit->crossings));
	zeroes_unmap(jit->places, jit->cache->places.limit * sizeof(*jit->places));
}
