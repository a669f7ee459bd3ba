/*
 * Sites: where translated code calls the interpreter for one instruction.
 *
 * All that the code has of a site is the call, whose return address names it. What a block keeps of it is
 * a few bytes; the instruction is decoded again when it is needed, from the bytes that are kept of its page,
 * and each CPU remembers those that it was at lately.
 */
#include <errno.h>

#include "engine/run/jit/analyse/item.h"
#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/cache/page.h"
#include "engine/run/jit/cache/site.h"
#include "engine/x86/decode/decode.h"

static struct jit_record *record_of(struct jit *jit, const uint8_t *at)
{
	return &jit->records[jit_hash((uintptr_t)at) % JIT_RECORDS];
}

/* Code that was emptied has other sites now. */
static void forget_old(struct jit *jit)
{
	uint64_t evictions = jit->cache->evictions;

	if (jit->records_evictions == evictions)
		return;
	jit->records_evictions = evictions;
	for (unsigned i = 0; i < JIT_RECORDS; i++)
		jit->records[i].at = NULL;
}

static const struct jit_site *site_at(const struct jit_block *block, const uint8_t *at)
{
	const struct jit_site *sites = (const struct jit_site *)&block->links[block->link_count];
	unsigned position = (unsigned)(at - block->entry), low = 0, high = block->site_count;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (sites[middle].at <= position)
			low = middle;
		else
			high = middle;
	}
	return &sites[low];
}

/* The site's instruction, as far as it is kept: the bytes that there are. */
static unsigned read_site(struct jit_cache *cache, const uint8_t *at, const struct jit_block **block,
			  struct jit_site *site, uint8_t bytes[INSN_LENGTH_MAX])
{
	unsigned size;

	jit_lock_take(&cache->lock);
	*block = jit_block_at(cache, at - 1); /* the call may be the last of its block */
	*site = *site_at(*block, at);
	size = jit_page_bytes((*block)->page, site->offset, bytes, INSN_LENGTH_MAX);
	jit_lock_release(&cache->lock);
	return size;
}

/* False: the bytes are not what they were. */
static bool decode(struct insn *insn, const uint8_t *bytes, unsigned size, unsigned offset, uint32_t mode,
		   const struct insn_rules *rules)
{
	struct insn_form form;
	int result = size ? insn_decode_form(insn, &form, bytes, size, mode, rules) : -EINVAL;

	/* What reaches into the next page is looked at each time. */
	if (result == -ENODATA && offset + size == 0x1000) {
		insn_make_bad(insn, &form, tier_execute_elsewhere, size);
		insn->traits |= INSN_UNMASKS;
		return true;
	}
	return result == 0;
}

/* The decoder may use vector registers. */
static bool fill(struct jit *jit, struct jit_record *record, const uint8_t *at)
{
	bool was_live = jit->cpu->fpu.live, is_known;
	uint8_t bytes[INSN_LENGTH_MAX];
	const struct jit_block *block;
	unsigned size;

	record->at = NULL;
	size = read_site(jit->cache, at, &block, &record->site, bytes);
	fpu_leave(jit->cpu);
	is_known = decode(&record->insn, bytes, size, record->site.offset, block->mode, &jit->cpu->rules);
	if (was_live)
		fpu_enter(jit->cpu);
	if (!is_known)
		return false;
	record->at = at;
	record->resume = record->site.resume ? block->entry + record->site.resume : NULL;
	record->changes_vector = record->insn.traits & INSN_UNMASKS;
	record->loads_segment = insn_loads_segment(&record->insn);
	return true;
}

const struct jit_record *jit_record_find(struct jit *jit, const uint8_t *at)
{
	struct jit_record *record;

	forget_old(jit);
	record = record_of(jit, at);
	if (record->at == at || fill(jit, record, at))
		return record;
	jit->cpu->rip = jit_frame(jit->cpu)->code_page + record->site.offset;
	return NULL;
}
