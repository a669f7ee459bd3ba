/*
 * From guest instructions to a block of host code, in passes: analyse/ decodes and classifies, plan/
 * decides, emit/ writes the code, and what is kept about it comes to lie in the cache (cache/).
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/emit/loop.h"
#include "engine/run/jit/emit/region.h"
#include "engine/run/jit/emit/translation.h"
#include "engine/run/jit/internal.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/translate.h"
#include "util/clock.h"

/* The items in order, with cold translations behind them. */
static void emit_items(struct translation *t)
{
	const struct jit_item *last = &t->guest.items[t->guest.count - 1];
	unsigned next = 0;

	t->scratch[0] = HOST_R13;
	t->scratch[1] = HOST_R14;
	t->scratch_count = 2;
	t->map = host_registers;
	t->item_place[0] = emit_here(&t->e);
	if (t->plan.loop.end)
		emit_loop(t);
	for (unsigned i = 0; i < t->guest.count; i++) {
		t->entry_place[i] = emit_here(&t->e);
		/* A loop may leave to here. */
		if (i <= t->plan.loop.end)
			homes_forget(t);
		if (next < t->plan.region_count && t->plan.regions[next].start == i) {
			i = t->plan.regions[next].end - 1;
			emit_region(t, next++);
			continue;
		}
		if (i > 0)
			t->item_place[i] = emit_here(&t->e);
		emit_heat(t, i);
		emit_item(t, i);
		t->resume_place[i] = emit_here(&t->e);
	}
	t->entry_place[t->guest.count] = emit_here(&t->e);
	t->item_place[t->guest.count] = emit_here(&t->e);
	if (!item_ends_block(last))
		emit_goto(t, last->offset, last->offset + last->insn.length, t->guest.count, 0,
			  last->live_after);
	/* Also jump to cold regions. */
	emit_slot_misses(t);
	if (t->plan.loop.end)
		emit_loop_exits(t);
	for (unsigned i = 0; i < t->plan.region_count; i++)
		emit_region_cold(t, i);
}

/* The conditional jumps that go forward: what they need is behind the block. */
static void emit_side_exits(struct translation *t)
{
	struct code_place second[JIT_BLOCK_INSNS] = { 0 };

	for (unsigned i = 0; i < t->side_count; i++) {
		const struct side_exit *side = &t->sides[i];
		const struct jit_item *item = &t->guest.items[side->item];

		/* Within the page it is linked itself. Those out of loops may go back, and poll. */
		if (!(side->target & ~(int64_t)0xfff) && side->target > item->offset &&
		    (!t->is_shared || side->jump.at % 4 == 0)) {
			t->link_jumps[t->link_count].target = side->target;
			t->link_jumps[t->link_count++].jump = side->jump;
			continue;
		}
		/* The item has a second translation. */
		if (second[side->item].at) {
			emit_bind_to(&t->e, side->jump, second[side->item]);
			continue;
		}
		second[side->item] = emit_here(&t->e);
		emit_bind(&t->e, side->jump);
		t->flags_lost = false;
		/* LOOP has counted already. */
		if (item->kind == ITEM_JUMP_COUNT)
			emit_goto_exact(t, item->offset, side->target, item->live_taken);
		else
			emit_goto(t, item->offset, side->target, side->item, 0, item->live_taken);
	}
}

/* Where translated code goes on after the interpreter has executed an item; 0: nowhere. */
static size_t resume_position(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];

	if (item_ends_block(item) || item_is_conditional(item) || item->kind == ITEM_NEXT_PAGE)
		return 0;
	if (t->guest.is_one_pass && item->kind == ITEM_FALLBACK)
		return 0;
	return t->resume_place[index].at;
}

/* Bits of the items that have slow paths. */
static uint64_t slow_items(const struct translation *t)
{
	uint64_t items = 0;

	for (unsigned i = 0; i < t->slow_count; i++)
		if (t->slow[i].item < JIT_BLOCK_INSNS) /* no region's */
			items |= 1ull << t->slow[i].item;
	return items;
}

static struct jit_site site_of(const struct translation *t, unsigned index, struct code_place place)
{
	const struct jit_item *item = &t->guest.items[index];

	return (struct jit_site){
		.at = place.at,
		.resume = resume_position(t, index),
		.offset = item->offset,
		.vector_levels = item->vector_levels,
		.is_slow_path = item->kind != ITEM_FALLBACK,
		.segments = item->segments,
	};
}

static struct jit_site hot_site(const struct translation *t, unsigned index, struct code_place place)
{
	return (struct jit_site){ .at = place.at, .offset = t->guest.items[index].offset, .is_hot = true };
}

/* How many sites there will be. */
static unsigned count_sites(const struct translation *t, uint64_t slow)
{
	return t->site_count + (t->heat_jump.at != 0) + (unsigned)__builtin_popcountll(slow);
}

/* A call of the slow stub where the block is hot, and one for each of the items; and what is kept of all
 * sites, in the order of their code. */
static void emit_sites(struct translation *t, uint64_t items, struct jit_site *site)
{
	for (unsigned i = 0; i < t->site_count; i++)
		*site++ = t->sites[i].item == SITE_HOT
				  ? hot_site(t, 0, t->sites[i].place)
				  : site_of(t, t->sites[i].item, t->sites[i].place);
	if (t->heat_jump.at) {
		emit_bind(&t->e, t->heat_jump);
		emit_call_to(&t->e, t->stubs->slow);
		*site++ = hot_site(t, t->heat_item, emit_here(&t->e));
	}
	for (; items; items &= items - 1) {
		unsigned i = __builtin_ctzll(items);

		for (unsigned k = 0; k < t->slow_count; k++)
			if (t->slow[k].item == i)
				emit_bind(&t->e, t->slow[k].jump);
		if (t->slow_flags_lost[i])
			emit_flags_again(t, i, 0, HOST_R13);
		emit_call_to(&t->e, t->stubs->slow);
		*site++ = site_of(t, i, emit_here(&t->e));
	}
}

/* A stub for each jump that is to be linked. */
static void emit_links(const struct jit_cache *cache, struct translation *t,
		       struct jit_block *block)
{
	struct emitter *e = &t->e;

	for (unsigned i = 0; i < t->link_count; i++) {
		struct jit_link *link = &block->links[i];
		struct near_jump jump = t->link_jumps[i].jump;

		emit_bind(e, jump);
		*link = (struct jit_link){
			.page_distance = t->link_jumps[i].target >> 12,
			.offset = t->link_jumps[i].target & 0xfff,
			.patch = jit_code_at(cache, e->code + jump.at),
			.unlinked = jit_code_at(cache, e->code + e->position),
			.from = block,
		};
		emit_constant(e, HOST_R13, (uint32_t)((const uint8_t *)link - cache->data));
		emit_jump_to(e, t->stubs->exit_link);
	}
}

static void make_partner(const struct jit *jit, const struct translation *t, struct jit_block *block,
			 struct jit_block *partner)
{
	*partner = (struct jit_block){ .gpa = jit->next_gpa, .mode = block->mode, .granules = 1,
				       .partner = block };
	block->partner = partner;
	block->next_page_at = jit_code_at(jit->cache, t->e.code + t->next_page_at.at);
}

/*
 * Where the code has displacements to stubs, so far, that are not calls of sites: `moves` if it is not NULL.
 * How many there are; JIT_NO_MOVES: nobody knows.
 */
static unsigned find_moves(const struct translation *t, uint16_t *moves)
{
	const struct emit_externals *externals = t->e.externals;
	unsigned count = 0, site = 0;

	if (t->next_page_at.at || externals->count > sizeof(externals->list) / sizeof(externals->list[0]))
		return JIT_NO_MOVES;
	for (unsigned i = 0; i < externals->count; i++) {
		size_t at = externals->list[i].at;

		/* Both are in the order of the code. */
		while (site < t->site_count && t->sites[site].place.at < at + 4)
			site++;
		if (site < t->site_count && t->sites[site].place.at == at + 4)
			continue;
		if (moves)
			moves[count] = (uint16_t)at;
		count++;
	}
	return count;
}

/* What is kept about the block, and the cold end of its code. NULL: no room. */
static struct jit_block *finish_block(struct jit *jit, struct translation *t, uint64_t gpa, uint32_t mode)
{
	uint64_t slow = slow_items(t);
	unsigned sites = count_sites(t, slow);
	size_t size = sizeof(struct jit_block) * (t->next_page_at.at ? 2 : 1) +
		      t->link_count * sizeof(struct jit_link) + sites * sizeof(struct jit_site);
	unsigned moves = find_moves(t, NULL);
	struct jit_site *site;
	struct jit_block *block;

	/* Positions of jumps mean nothing behind an overflow. */
	if (t->e.overflow)
		return NULL;
	size += moves == JIT_NO_MOVES ? 0 : moves * sizeof(uint16_t);
	block = jit_chunk_room(jit, size);
	if (!block)
		return NULL;
	*block = (struct jit_block){
		.gpa = gpa,
		.mode = mode,
		.guest_size = t->guest.size,
		.move_count = moves,
		.is_lean = t->is_lean,
		.granules = t->guest.granules,
		.entry_page_at = t->is_lean ? JIT_LEAN_ENTRY_PAGE_AT : JIT_ENTRY_PAGE_AT,
		.link_count = t->link_count,
		.site_count = sites,
		.entry = t->e.code,
		.code = t->e.code + t->item_place[0].at,
	};
	site = (struct jit_site *)&block->links[t->link_count];
	find_moves(t, moves == JIT_NO_MOVES ? NULL : (uint16_t *)(site + sites));
	emit_sites(t, slow, site);
	if (t->next_page_at.at)
		make_partner(jit, t, block, (struct jit_block *)(site + sites));
	emit_links(jit->cache, t, block);
	if (t->e.overflow)
		return NULL;
	assert(t->e.position <= UINT16_MAX && !t->e.unbound);
	jit_lock_take(&jit->cache->lock);
	jit_chunk_add(jit, block, size, t->e.position);
	t->kept_size = size;
	jit_lock_release(&jit->cache->lock);
	return block;
}

struct translation *jit_translation_create(void)
{
	return calloc(1, sizeof(struct translation));
}

/* The first two passes. False: there is nothing to translate. */
static bool analyse(struct jit *jit, struct translation *t, uint64_t gpa, uint32_t mode)
{
	const struct cpu *cpu = jit->cpu;

	t->guest = (struct guest_code){
		.cpu = jit->cpu,
		.page = (const uint8_t *)jit->snapshot,
		.crossing = jit->crossing,
		.page_gpa = gpa & ~(uint64_t)0xfff,
		.page_gva = cpu->rip & ~(uint64_t)0xfff,
		.start = gpa & 0xfff,
		.mode = mode,
		.rules = &cpu->rules,
		.is_alone = cpu->is_alone,
		.is_one_pass = jit->watcher,
		.keeps_all_flags = jit->cache->options.keeps_all_flags,
		.is_lean = t->is_lean,
		.known = jit->bounds.known,
		.limit = jit->bounds.limit,
		.items = t->items,
	};
	if (!guest_code_decode(&t->guest))
		return false;
	/* All of it, also where the plan cuts it. */
	guest_code_look(&t->guest, t->guest.start, t->guest.size);
	if (t->is_lean)
		plan_make_lean(&t->plan, &t->guest);
	else
		plan_make(&t->plan, &t->guest);
	return true;
}

/* A program's code: the kernel has started. What it has run meanwhile has as many runs before it, from now on, as
 * what it will run; on this CPU, since each has counters of its own. */
static void see_program(struct jit *jit)
{
	uint16_t *heat = jit_frame(jit->cpu)->heat;
	uint16_t least = UINT16_MAX - jit->cache->stubs.heat_step[JIT_HEAT_START] *
				      (jit->cache->options.promotion / JIT_KERNEL_SOONER);

	if (atomic_load_explicit(&jit->cache->has_programs, memory_order_relaxed) ||
	    atomic_exchange(&jit->cache->has_programs, true))
		return;
	for (unsigned i = 0; i < JIT_HEATS; i++)
		if (heat[i] && heat[i] < least)
			heat[i] = least;
}

/* What is kept is the same, whatever was asked for before. */
static enum jit_heat heat_of(const struct jit *jit, const struct guest_code *guest)
{
	if (guest->is_user)
		return JIT_HEAT_PROGRAM;
	if (jit->bounds.externals || atomic_load_explicit(&jit->cache->has_programs, memory_order_relaxed))
		return JIT_HEAT_KERNEL;
	return JIT_HEAT_START;
}

/* The third; false: something has no translation after all. */
static bool emit(struct jit *jit, struct translation *t)
{
	memset(&t->e, 0, offsetof(struct translation, item_place) - offsetof(struct translation, e));
	t->stubs = &jit->cache->stubs;
	t->heat_number = jit_heat_number(t->guest.page_gpa | t->guest.start);
	/* Watched blocks end as they were made. */
	t->counts_runs = t->is_lean && !jit->watcher;
	t->heat = heat_of(jit, &t->guest);
	t->is_shared = atomic_load(&jit->cache->is_shared);
	t->counts_lookups = jit->cache->options.counts_lookups;
	t->jumps = jump_table(jit_jump_set(t->guest.mode));
	jit_chunk_emitter(jit, &t->e);
	t->e.externals = jit->bounds.externals ? jit->bounds.externals : &t->externals;
	t->e.externals->count = 0;
	emit_entry(t);
	emit_items(t);
	emit_side_exits(t);
	emit_return_misses(t);
	emit_poll_exits(t);
	emit_slot_misses(t);
	return !t->failed;
}

static void count(struct jit *jit, const struct translation *t)
{
	struct jit_form_statistics *form = &jit->statistics.forms[t->is_lean];

	jit->statistics.blocks++;
	form->blocks++;
	form->guest_instructions += t->guest.count;
	form->guest_bytes += t->guest.size;
	form->host_bytes += t->e.position - t->counting_size;
	form->kept_bytes += t->kept_size;
}

static struct jit_block *translate(struct jit *jit, uint64_t gpa, bool is_lean, bool *full)
{
	struct translation *t = jit->translation;
	uint32_t mode = jit_mode_of(jit->cpu);
	struct jit_block *block;

	t->is_lean = is_lean;
	*full = !jit->chunk;
	if (*full || !analyse(jit, t, gpa, mode) || !emit(jit, t))
		return NULL;
	block = finish_block(jit, t, gpa, mode);
	*full = !block;
	if (*full)
		return NULL;
	if (jit->cache->options.dump_fd >= 0)
		jit_dump_block(jit, t);
	if (jit->watcher)
		block->script = jit_script_create(t->items, t->guest.count);
	count(jit, t);
	if (t->guest.is_user)
		see_program(jit);
	return block;
}

struct jit_block *jit_translate(struct jit *jit, uint64_t gpa, bool is_lean, bool *full)
{
	uint32_t rights = code_memory_open();
	uint64_t before = jit->cache->options.measures_time ? thread_cpu_ns() : 0;
	struct jit_block *block = translate(jit, gpa, is_lean, full);

	if (before)
		jit->statistics.forms[is_lean].ns += thread_cpu_ns() - before;
	code_memory_close(rights);
	return block;
}
