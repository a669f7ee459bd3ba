/*
 * Records for a code cache file, from guest bytes and nothing else: what is kept for all VMs is made by
 * whoever none of them can reach, and they say no more than what they would like to have.
 */
#include <string.h>

#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/emit/translation.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/translate.h"
#include "engine/x86/host/host.h"

_Static_assert(sizeof(struct jit_site) == 8, "records hold sites");
_Static_assert(KEPT_RANGES == GUEST_CODE_LOOKS, "records hold looks");
_Static_assert(sizeof(struct jit_stubs) / sizeof(uint8_t *) <= UINT16_MAX, "stubs have numbers");

/* Where the block is taken to be: an address without edges (mode.h), and a page that no other is. */
#define CODE_PAGE 0x400000u
#define PAGE_GPA  0x1000u

/* A record under construction. */
struct maker {
	uint8_t *bytes;
	size_t used, room;
	bool overflow;
};

static void *part(struct maker *maker, size_t size)
{
	size_t whole = (size + 7) & ~(size_t)7;
	uint8_t *at = maker->bytes + maker->used;

	if (whole > maker->room - maker->used) {
		maker->overflow = true;
		return NULL;
	}
	memset(at, 0, whole);
	maker->used += whole;
	return at;
}

static void take_environment(struct cpu *cpu, const struct kept_environment *environment)
{
	struct jit_cache *cache = jit_of(cpu)->cache;

	memcpy(cpu->features, environment->features, sizeof(cpu->features));
	cpu->rules = (struct insn_rules){
		.features = environment->flags & KEPT_HAS_FEATURES ? cpu->features : NULL,
		.has_lzcnt = environment->flags & KEPT_HAS_LZCNT,
		.has_tzcnt = environment->flags & KEPT_HAS_TZCNT,
		.is_amd = environment->flags & KEPT_IS_AMD,
	};
	cpu->is_alone = environment->flags & KEPT_IS_ALONE;
	atomic_store(&cache->is_shared, (environment->flags & KEPT_IS_SHARED) != 0);
	cache->options.counts_lookups = environment->flags & KEPT_COUNTS_LOOKUPS;
}

/* The page of the request, with zeroes where it says nothing. */
static void take_page(struct jit *jit, const struct kept_request *request, const uint8_t *bytes)
{
	memset(jit->snapshot, 0, sizeof(jit->snapshot));
	for (uint64_t left = request->granules; left; left &= left - 1, bytes += 64)
		memcpy(jit->snapshot + (unsigned)__builtin_ctzll(left) * 8, bytes, 64);
	jit->crossing = CROSSING_LATER;
}

static struct jit_block *translate(struct jit *jit, const struct kept_request *request,
				   struct emit_externals *externals)
{
	struct jit_block *block;
	bool full;

	jit->bounds.known = request->granules;
	jit->bounds.limit = request->count;
	jit->bounds.externals = externals;
	block = jit_translate(jit, PAGE_GPA + request->start, request->is_lean, &full);
	if (!block && full) {
		jit_chunk_next(jit);
		block = jit_translate(jit, PAGE_GPA + request->start, request->is_lean, &full);
	}
	/* It is nobody's, and its chunk may be emptied. */
	if (block)
		block->dead = true;
	return block;
}

static void keep_bytes(struct maker *maker, const struct jit *jit, const struct guest_code *guest)
{
	struct kept_range *ranges = part(maker, guest->look_count * sizeof(*ranges));
	size_t size = 0;
	uint8_t *to;

	for (unsigned i = 0; i < guest->look_count; i++)
		size += guest->looks[i].size;
	to = part(maker, size);
	for (unsigned i = 0; i < guest->look_count && !maker->overflow; i++) {
		const struct guest_look *look = &guest->looks[i];

		ranges[i] = (struct kept_range){ look->offset, look->size };
		memcpy(to, (const uint8_t *)jit->snapshot + look->offset, look->size);
		to += look->size;
	}
}

static void keep_links(struct maker *maker, const struct jit_cache *cache, const struct jit_block *block)
{
	struct kept_link *links = part(maker, block->link_count * sizeof(*links));
	uint32_t base = jit_code_at(cache, block->entry);

	for (unsigned i = 0; i < block->link_count && !maker->overflow; i++)
		links[i] = (struct kept_link){
			.page_distance = block->links[i].page_distance,
			.offset = block->links[i].offset,
			.patch = (uint16_t)(block->links[i].patch - base),
			.unlinked = (uint16_t)(block->links[i].unlinked - base),
		};
}

/* The number of a stub, or 0: it is none. */
static uint16_t stub_number(const struct jit_stubs *stubs, const uint8_t *target)
{
	const uint8_t *const *list = (const uint8_t *const *)stubs;

	for (size_t i = offsetof(struct jit_stubs, exit) / sizeof(*list); i < sizeof(*stubs) / sizeof(*list); i++)
		if (list[i] == target)
			return (uint16_t)i;
	return 0;
}

static void keep_relocations(struct maker *maker, const struct jit_cache *cache,
			     const struct emit_externals *externals)
{
	struct kept_relocation *relocations = part(maker, externals->count * sizeof(*relocations));

	for (unsigned i = 0; i < externals->count && !maker->overflow; i++) {
		relocations[i].at = externals->list[i].at;
		relocations[i].stub = stub_number(&cache->stubs, externals->list[i].target);
		maker->overflow |= !relocations[i].stub;
	}
}

/* The code, with zeroes where it depends on its place. */
static void keep_code(struct maker *maker, const struct jit_block *block, const struct translation *t,
		      const struct kept_record *record, const struct emit_externals *externals,
		      const struct kept_link *links)
{
	uint8_t *code = part(maker, t->e.position);

	if (!code)
		return;
	memcpy(code, block->entry, t->e.position);
	for (unsigned i = 0; i < externals->count; i++)
		memset(code + externals->list[i].at, 0, 4);
	for (unsigned i = 0; i < record->link_count; i++)
		memset(code + links[i].unlinked + EMIT_CONSTANT_R13_AT, 0, 4);
	if (record->heat_at)
		memset(code + record->heat_at, 0, 4);
}

static size_t make(struct maker *maker, const struct jit *jit, const struct kept_request *request,
		   const struct jit_block *block, const struct emit_externals *externals)
{
	const struct translation *t = jit->translation;
	struct kept_record *record = part(maker, sizeof(*record));
	const struct kept_link *links;

	if (!record || t->guest.look_count > KEPT_RANGES || block->partner ||
	    externals->count > sizeof(externals->list) / sizeof(externals->list[0]) ||
	    t->guest.granules & ~request->granules)
		return 0;
	*record = (struct kept_record){
		.hash = kept_hash((const uint8_t *)jit->snapshot, request->start, request->mode),
		.mode = request->mode,
		.start = request->start,
		.guest_size = block->guest_size,
		.code_size = t->e.position,
		.code_at = (uint16_t)(block->code - block->entry),
		.heat_at = (uint16_t)t->heat_at.at,
		.link_count = block->link_count,
		.site_count = block->site_count,
		.relocation_count = (uint16_t)externals->count,
		.range_count = (uint8_t)t->guest.look_count,
		.entry_page_at = block->entry_page_at,
		.is_lean = request->is_lean,
	};
	keep_bytes(maker, jit, &t->guest);
	links = (const struct kept_link *)(maker->bytes + maker->used);
	keep_links(maker, jit->cache, block);
	if (!maker->overflow) {
		void *sites = part(maker, block->site_count * sizeof(struct jit_site));

		if (sites)
			memcpy(sites, &block->links[block->link_count], block->site_count * sizeof(struct jit_site));
	}
	if (!maker->overflow)
		keep_relocations(maker, jit->cache, externals);
	if (!maker->overflow)
		keep_code(maker, block, t, record, externals, links);
	if (maker->overflow)
		return 0;
	record->size = (uint32_t)maker->used;
	return maker->used;
}

static bool is_sensible(const struct kept_request *request)
{
	const uint32_t bits = 0xff | JIT_MODE_USER;

	return !(request->mode & ~bits) && jit_mode_is_translated(request->mode) && request->start < 0x1000 &&
	       request->count > 0 && request->count <= JIT_BLOCK_INSNS && request->is_lean <= 1;
}

size_t jit_make_record(struct cpu *cpu, const struct kept_environment *environment,
		       const struct kept_request *request, const uint8_t *bytes, void *record, size_t room)
{
	struct jit *jit = jit_of(cpu);
	struct maker maker = { .bytes = record, .room = room };
	struct emit_externals externals;
	struct jit_block *block;

	if (!is_sensible(request) || !kept_environment_is_sensible(environment))
		return 0;
	take_environment(cpu, environment);
	take_page(jit, request, bytes);
	cpu->mode = request->mode & 0xff;
	cpu->cpl = request->mode & JIT_MODE_USER ? 3 : 0;
	cpu->rip = CODE_PAGE + request->start;
	block = translate(jit, request, &externals);
	return block ? make(&maker, jit, request, block, &externals) : 0;
}
