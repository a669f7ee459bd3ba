/*
 * Translations that are taken from a code cache file: found by what the page holds, and copied into the
 * CPU's chunk, where what depends on its place is set.
 */
#include <string.h>

#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/emit/emitter.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/reuse/ask.h"
#include "engine/run/jit/reuse/take.h"
#include "engine/x86/bytes.h"

#define REFRESH_RUNS 4 /* of the file, after which it is worth a word that a record is still good */

/* The pointers of struct jit_stubs that are stubs. */
#define FIRST_STUB (offsetof(struct jit_stubs, exit) / sizeof(const uint8_t *))
#define STUBS      (sizeof(struct jit_stubs) / sizeof(const uint8_t *))

static const uint8_t *stub_at(const struct jit_stubs *stubs, unsigned number)
{
	return number >= FIRST_STUB && number < STUBS ? ((const uint8_t *const *)stubs)[number] : NULL;
}

/* The number in the file of the environment that this CPU's translations are made for; -1: it is not there. */
static int environment_number(struct jit *jit)
{
	struct jit_asked *asked = &jit->asked;
	struct kept_environment now;

	if (asked->is_known && asked->was_alone == jit->cpu->is_alone && asked->was_shared == jit->cache->is_shared)
		return asked->number;
	jit_environment(jit, &now);
	asked->number = kept_find_environment(&jit->cache->kept, &now);
	asked->is_known = true;
	asked->was_alone = jit->cpu->is_alone;
	asked->was_shared = jit->cache->is_shared;
	return asked->number;
}

/* The bucket of a record for the block at this offset of the page, whose bytes are all those that it was made
 * from: one that was made in full, which has run often once, or if it `may` be, a lean one; or KEPT_NONE. */
static uint32_t find(struct jit *jit, const uint8_t *page, unsigned start, uint32_t mode, bool may_be_lean,
		     struct kept_parts *parts)
{
	uint32_t hash = kept_hash(page, start, mode), next = 0, bucket, found = KEPT_NONE;
	const struct kept_file *file = &jit->cache->kept;
	int environment = environment_number(jit);
	struct kept_parts seen;

	if (environment < 0)
		return KEPT_NONE;
	while ((bucket = kept_find(file, hash, &next)) != KEPT_NONE) {
		const struct kept_record *record;

		if (!kept_record_in(file, bucket, &seen))
			continue;
		record = seen.record;
		/* The check comes last: there may be many records of one hash, and few for this page. */
		if (record->mode != mode || record->start != start || record->environment != environment ||
		    (record->is_lean && (!may_be_lean || found != KEPT_NONE)) ||
		    !kept_record_matches(&seen, page) || !kept_record_is_whole(&seen))
			continue;
		*parts = seen;
		found = bucket;
		if (!record->is_lean)
			break;
	}
	return found;
}

static void store32(struct emitter *e, unsigned at, uint32_t value)
{
	bytes_store32(e->base + at, value);
}

/* False: a stub is none. */
static bool relocate(struct jit *jit, const struct kept_parts *parts, struct emitter *e, uint64_t gpa)
{
	const struct kept_record *record = parts->record;
	size_t heat = offsetof(struct jit_cpu, frame.heat) + jit_heat_number(gpa) * sizeof(uint16_t);

	for (unsigned i = 0; i < record->relocation_count; i++) {
		const struct kept_relocation *relocation = &parts->relocations[i];
		const uint8_t *stub = stub_at(&jit->cache->stubs, relocation->stub);

		if (!stub)
			return false;
		store32(e, relocation->at, (uint32_t)(stub - (e->code + relocation->at + 4)));
	}
	if (record->heat_at)
		store32(e, record->heat_at, (uint32_t)heat);
	return true;
}

static void take_links(struct jit *jit, const struct kept_parts *parts, struct emitter *e, struct jit_block *block)
{
	uint32_t base = jit_code_at(jit->cache, e->code);

	for (unsigned i = 0; i < block->link_count; i++) {
		const struct kept_link *kept = &parts->links[i];
		struct jit_link *link = &block->links[i];

		*link = (struct jit_link){
			.page_distance = kept->page_distance,
			.offset = kept->offset,
			.patch = base + kept->patch,
			.unlinked = base + kept->unlinked,
			.from = block,
		};
		store32(e, kept->unlinked + EMIT_CONSTANT_R13_AT, (uint32_t)((uint8_t *)link - jit->cache->data));
	}
}

/* Of the relocations, those that neither sites nor links tell: `moves` if it is not NULL. How many there are. */
static unsigned find_moves(const struct kept_parts *parts, uint16_t *moves)
{
	const struct kept_record *record = parts->record;
	const struct jit_site *sites = parts->sites;
	unsigned count = 0;

	for (unsigned i = 0; i < record->relocation_count; i++) {
		unsigned at = parts->relocations[i].at;
		bool is_known = false;

		for (unsigned k = 0; k < record->site_count; k++)
			is_known |= sites[k].at == at + 4;
		for (unsigned k = 0; k < record->link_count; k++)
			is_known |= parts->links[k].unlinked + JIT_LINK_JUMP_AT == at;
		if (is_known)
			continue;
		if (moves)
			moves[count] = (uint16_t)at;
		count++;
	}
	return count;
}

static uint64_t granules_of(const struct kept_parts *parts)
{
	uint64_t granules = 0;

	for (unsigned i = 0; i < parts->record->range_count; i++)
		granules |= code_granules(parts->ranges[i].offset, parts->ranges[i].size);
	return granules;
}

/* The sites' instructions are decoded from the block's own bytes. */
static bool sites_are_inside(const struct kept_parts *parts)
{
	const struct jit_site *sites = parts->sites;
	const struct kept_record *record = parts->record;

	for (unsigned i = 0; i < record->site_count; i++)
		if (sites[i].at < 4 || sites[i].at > record->code_size || sites[i].resume >= record->code_size ||
		    sites[i].offset < record->start || sites[i].offset >= record->start + record->guest_size)
			return false;
	return true;
}

static struct jit_block *copy(struct jit *jit, uint64_t gpa, const struct kept_parts *parts, bool *full)
{
	const struct kept_record *record = parts->record;
	size_t sites = record->site_count * sizeof(struct jit_site);
	unsigned moves = find_moves(parts, NULL);
	size_t size = sizeof(struct jit_block) + record->link_count * sizeof(struct jit_link) + sites +
		      moves * sizeof(uint16_t);
	struct jit_block *block;
	struct emitter e;

	*full = !jit->chunk;
	if (*full)
		return NULL;
	jit_chunk_emitter(jit, &e);
	block = jit_chunk_room(jit, size);
	*full = !block || record->code_size > e.size;
	if (*full)
		return NULL;
	memcpy(e.base, parts->code, record->code_size);
	if (!relocate(jit, parts, &e, gpa))
		return NULL;
	*block = (struct jit_block){
		.gpa = gpa,
		.mode = record->mode,
		.guest_size = record->guest_size,
		.move_count = moves,
		.is_lean = record->is_lean,
		.granules = granules_of(parts),
		.entry_page_at = record->entry_page_at,
		.link_count = record->link_count,
		.site_count = record->site_count,
		.entry = e.code,
		.code = e.code + record->code_at,
	};
	take_links(jit, parts, &e, block);
	memcpy(&block->links[block->link_count], parts->sites, sites);
	find_moves(parts, (uint16_t *)((uint8_t *)&block->links[block->link_count] + sites));
	jit_lock_take(&jit->cache->lock);
	jit_chunk_add(jit, block, size, record->code_size);
	jit_lock_release(&jit->cache->lock);
	jit->statistics.kept_blocks++;
	return block;
}

struct jit_block *jit_take_kept(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean, bool *full)
{
	const uint8_t *page = bytes - (gpa & 0xfff);
	uint32_t mode = jit_mode_of(jit->cpu), rights, bucket;
	struct jit_block *block;
	struct kept_parts parts;

	*full = false;
	if (!jit->cache->kept.bytes || !jit_is_keeping(jit))
		return NULL;
	bucket = find(jit, page, gpa & 0xfff, mode, is_lean, &parts);
	if (bucket == KEPT_NONE || !sites_are_inside(&parts))
		return NULL;
	fpu_leave(jit->cpu);
	/* What is in the guest's memory may change meanwhile. */
	memcpy(jit->snapshot, page, 4096);
	if (!kept_record_matches(&parts, (const uint8_t *)jit->snapshot))
		return NULL;
	rights = code_memory_open();
	block = copy(jit, gpa, &parts, full);
	code_memory_close(rights);
	if (block && parts.record->run + REFRESH_RUNS <= kept_header(&jit->cache->kept)->run)
		jit_ask_used(jit, bucket);
	return block;
}
