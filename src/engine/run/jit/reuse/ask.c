/*
 * What a VM tells of its translations to who keeps them: what was translated, and what of the file was of
 * use. It is never waited for: what does not fit into the pipe is lost, and asked for another time.
 */
#include <string.h>
#include <unistd.h>

#include "engine/run/jit/emit/translation.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/reuse/ask.h"
#include "engine/x86/bytes.h"

#define GRANULES_MAX 32 /* of a block that is asked for: larger ones are rare */

void jit_environment(const struct jit *jit, struct kept_environment *environment)
{
	const struct insn_rules *rules = &jit->cpu->rules;

	bytes_zero(environment, sizeof(*environment));
	if (rules->features)
		bytes_copy(environment->features, rules->features, sizeof(environment->features));
	environment->flags = (rules->features ? KEPT_HAS_FEATURES : 0) | (rules->has_lzcnt ? KEPT_HAS_LZCNT : 0) |
			     (rules->has_tzcnt ? KEPT_HAS_TZCNT : 0) | (rules->is_amd ? KEPT_IS_AMD : 0) |
			     (jit->cpu->is_alone ? KEPT_IS_ALONE : 0) |
			     (jit->cache->is_shared ? KEPT_IS_SHARED : 0) |
			     (jit->cache->options.counts_lookups ? KEPT_COUNTS_LOOKUPS : 0);
}

void jit_ask_flush(struct jit *jit)
{
	struct jit_asked *asked = &jit->asked;
	struct kept_batch *batch = (struct kept_batch *)asked->batch;

	if (asked->used <= sizeof(*batch))
		return;
	*batch = (struct kept_batch){ .size = asked->used, .environment = asked->environment };
	asked->used = 0;
	(void)!write(jit->cache->options.kept_requests_fd, asked->batch, batch->size);
}

/* Room for a request of `size` bytes, which is a multiple of 8. */
static void *room(struct jit *jit, unsigned size)
{
	struct jit_asked *asked = &jit->asked;
	bool is_same = !(asked->environment.flags & KEPT_IS_ALONE) == !jit->cpu->is_alone &&
		       !(asked->environment.flags & KEPT_IS_SHARED) == !jit->cache->is_shared;
	void *at;

	if (asked->used + size > KEPT_BATCH || !is_same)
		jit_ask_flush(jit);
	if (!asked->used) {
		jit_environment(jit, &asked->environment);
		asked->used = sizeof(struct kept_batch);
	}
	at = asked->batch + asked->used;
	asked->used += size;
	return at;
}

void jit_ask_used(struct jit *jit, uint32_t bucket)
{
	struct kept_request *request;

	if (jit->cache->options.kept_requests_fd < 0)
		return;
	request = room(jit, sizeof(*request));
	*request = (struct kept_request){ .size = sizeof(*request), .kind = KEPT_USED, .granules = bucket };
}

/* The granules that the hash is of, besides those that the block was made from. */
static uint64_t key_granules(unsigned start)
{
	unsigned last = start + KEPT_KEY_BYTES - 1;

	return 1ull << start / 64 | 1ull << (last > 0xfff ? 0xfff : last) / 64;
}

void jit_ask(struct jit *jit, const struct jit_block *block, bool is_lean)
{
	const struct translation *t = jit->translation;
	uint64_t granules = block->granules | key_granules(t->guest.start);
	unsigned count = (unsigned)__builtin_popcountll(granules);
	struct kept_request *request;
	uint8_t *to;

	if (jit->cache->options.kept_requests_fd < 0 || block->partner || block->mode & JIT_MODE_EDGE ||
	    count > GRANULES_MAX || t->guest.look_count > GUEST_CODE_LOOKS)
		return;
	request = room(jit, (unsigned)sizeof(*request) + count * 64);
	*request = (struct kept_request){
		.size = (uint32_t)sizeof(*request) + count * 64,
		.kind = KEPT_MAKE,
		.start = t->guest.start,
		.mode = block->mode,
		.count = t->guest.count,
		.is_lean = is_lean,
		.granules = granules,
	};
	to = (uint8_t *)(request + 1);
	for (; granules; granules &= granules - 1, to += 64)
		memcpy(to, jit->snapshot + (unsigned)__builtin_ctzll(granules) * 8, 64);
}
