/*
 * Creation and end of a VM's code cache and of the translators of its CPUs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/run/jit/cache/cache.h"
#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/cache/numbers.h"
#include "engine/run/jit/internal.h"
#include "engine/run/jit/reuse/ask.h"
#include "engine/run/jit/translate.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system.h"
#include "util/zeroes.h"

/* Returns in translated code are not what shadow stacks expect (return.c). */
static bool has_shadow_stack(void)
{
	uint64_t pointer = 0;

	/* rdsspq rax: does nothing when they are off (SDM vol. 1 §17.2.3) */
	__asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(pointer));
	return pointer;
}

static bool host_suffices(void)
{
	return !has_shadow_stack() && host_has(HOST_LAHF);
}

/* A counter of 16 bits overflows when a block has run often enough. */
static uint16_t heat_step(unsigned runs)
{
	return runs > 1 ? (UINT16_MAX + runs) / runs : UINT16_MAX;
}

static void set_heat_steps(struct jit_stubs *stubs, unsigned promotion)
{
	stubs->heat_step[JIT_HEAT_START] = heat_step(promotion / JIT_START_SOONER);
	stubs->heat_step[JIT_HEAT_KERNEL] = heat_step(promotion / JIT_KERNEL_SOONER);
	stubs->heat_step[JIT_HEAT_PROGRAM] = heat_step(promotion);
}

int jit_cache_create(const struct jit_options *options, struct code_index *index,
		     struct jit_cache **created)
{
	struct kept_maker maker;
	struct jit_cache *cache;
	int result;

	if (!host_suffices())
		return -ENOTSUP;
	cache = zeroes_map(sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	cache->options = *options;
	cache->page_limit = options->cache_size / JIT_PAGE_PART;
	result = jit_numbers_create(&cache->places,
				    (unsigned)(options->cache_size / JIT_PLACE_BYTES));
	if (result == 0)
		result = jit_chunks_create(cache, options->cache_size);
	if (result < 0) {
		jit_cache_destroy(cache);
		return result;
	}
	cache->stubs.counts = options->counts_lookups;
	set_heat_steps(&cache->stubs, options->promotion);
	jit_build_stubs(&cache->stubs, &cache->code, jit_execute_fallback);
	if (options->kept_fd >= 0 && kept_maker_describe(&maker))
		kept_file_map(&cache->kept, options->kept_fd, &maker);
	cache->holder.drop = jit_drop;
	cache->index = index;
	code_index_add_holder(index, &cache->holder);
	*created = cache;
	return 0;
}

void jit_cache_destroy(struct jit_cache *cache)
{
	if (!cache)
		return;
	if (cache->index)
		code_index_remove_holder(cache->index, &cache->holder);
	jit_chunks_destroy(cache);
	kept_file_unmap(&cache->kept);
	jit_numbers_destroy(&cache->places);
	zeroes_unmap(cache, sizeof(*cache));
}

static void leave_users(struct jit *jit)
{
	struct jit **at = &jit->cache->users;

	while (*at && *at != jit)
		at = &(*at)->next_user;
	if (*at)
		*at = jit->next_user;
	if (jit->chunk)
		jit->chunk->owner = NULL;
}

static void detach(struct cpu *cpu)
{
	struct jit *jit = jit_of(cpu);

	if (jit->watcher)
		jit->watcher->end(jit->watcher);
	jit_ask_flush(jit);
	jit_lock_take(&jit->cache->lock);
	leave_users(jit);
	jit_views_destroy(&jit->views);
	zeroes_unmap(jit->places, jit->cache->places.limit * sizeof(*jit->places));
	jit_lock_release(&jit->cache->lock);
	free(jit->translation);
	zeroes_unmap(jit, sizeof(*jit));
	cpu->tiers->state[TIER_TRANSLATOR] = NULL;
}

/* Of a block's runs before it is warm, how many the dispatcher asks for; the first is one, behind which it may be found
 * among what is kept. Code that is seldom at hand, and so counted there alone, is to be warm after not many more. */
#define RUNS_ASKED 4

static const struct tier translator = {
	.name = "translator",
	.enter = jit_enter,
	.run = jit_run,
	.tlb_changed = jit_tlb_changed,
	.access_changed = jit_access_changed,
	.fetch_mapped = jit_fetch_mapped,
	.detach = detach,
	.visit_counters = jit_visit_counters,
};

static void fill_constants(struct cpu *cpu)
{
	struct jit_frame *frame = jit_frame(cpu);

	frame->mask_arithmetic = FLAGS_ARITHMETIC;
	frame->mask_pushed = ~(uint64_t)FLAGS_ARITHMETIC & ~(RFLAGS_RF | RFLAGS_VM);
	frame->mask_if = RFLAGS_IF;
	frame->mask_not_if = ~RFLAGS_IF;
	frame->mask_not_df = ~RFLAGS_DF;
	frame->mask_not_ac = ~RFLAGS_AC;
	frame->mask_tsd = CR4_TSD;
	frame->mask_fsgsbase = CR4_FSGSBASE;
	frame->mask_not_1 = ~(uint64_t)1;
	frame->mask_mxcsr_masks = 0x1f80;
	frame->mask_mxcsr_reserved = ~(uint64_t)fpu_layout.mxcsr_mask;
	frame->self = (uintptr_t)cpu;
	frame->tlb_index_mask = (uint64_t)(TLB_ENTRIES - 1) << 12;
	frame->page_mask = ~(uint64_t)0xfff;
	for (unsigned i = 0; i < 6; i++)
		frame->aligned_mask[i] = ~(uint64_t)0xfff | ((2u << i) - 1);
	frame->jump_mask = (uint64_t)(JIT_JUMP_ENTRIES - 1) << 3;
}

int jit_attach(struct cpu *cpu, struct jit_cache *cache)
{
	struct jit *jit = zeroes_map(sizeof(*jit));
	int result;

	if (!jit)
		return -ENOMEM;
	jit->translation = jit_translation_create();
	if (!jit->translation) {
		zeroes_unmap(jit, sizeof(*jit));
		return -ENOMEM;
	}
	jit->cpu = cpu;
	jit->cache = cache;
	jit->rules_changes = cpu->rules_changes - 1; /* to be looked at */
	jit->bounds.known = UINT64_MAX;
	jit->bounds.limit = JIT_BLOCK_INSNS;
	cpu->tiers->state[TIER_TRANSLATOR] = jit;
	jit_lock_take(&cache->lock);
	jit_jumps_init(jit);
	jit->places = zeroes_map(cache->places.limit * sizeof(*jit->places));
	result = jit_views_create(&jit->views, cache->places.limit);
	if (!jit->places)
		result = -ENOMEM;
	if (result == 0) {
		jit->next_user = cache->users;
		cache->users = jit;
		atomic_store(&cache->is_shared, jit->next_user != NULL);
	}
	jit_lock_release(&cache->lock);
	if (result < 0) {
		detach(cpu);
		return result;
	}
	fill_constants(cpu);
	jit_slots_init(cpu);
	tier_add(cpu, &translator);
	if (cache->options.warmth > RUNS_ASKED)
		cpu->tiers->cold_runs = cache->options.warmth - RUNS_ASKED;
	return 0;
}

void jit_keep_all_flags(struct jit_cache *cache, bool keep)
{
	cache->options.keeps_all_flags = keep;
}

void jit_set_promotion(struct jit_cache *cache, unsigned promotion)
{
	cache->options.promotion = promotion;
	set_heat_steps(&cache->stubs, promotion);
}
