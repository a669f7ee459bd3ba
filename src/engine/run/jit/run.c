/*
 * The tier: finds, makes and enters blocks, and has single instructions executed for them.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#include "engine/run/jit/cache/cache.h"
#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/cache/page.h"
#include "engine/run/jit/cache/site.h"
#include "engine/run/jit/internal.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/reuse/ask.h"
#include "engine/run/jit/reuse/take.h"
#include "engine/run/jit/translate.h"
#include "engine/x86/breakpoint.h"
#include "engine/x86/bytes.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/features.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"
#include "util/zeroes.h"

/* From the form in which translated code leaves the flags and x87's instruction pointer. */
static void state_to_guest(struct cpu *cpu)
{
	uint64_t flags = jit_frame(cpu)->flags;

	if (jit_frame(cpu)->x87_offset) {
		cpu->fpu.fip = jit_frame(cpu)->x87_page + (jit_frame(cpu)->x87_offset & 0xfff);
		jit_frame(cpu)->x87_offset = 0;
	}

	cpu->rflags = (cpu->rflags & ~(uint64_t)FLAGS_ARITHMETIC) |
		      (flags >> 8 & 0xd5) | (flags & 1) << 11;
}

static void flags_to_host(struct cpu *cpu)
{
	jit_frame(cpu)->flags = (cpu->rflags & 0xd5) << 8 | (cpu->rflags >> 11 & 1);
}

/* What of the control registers decides it: whoever changes them, by whatever way, is noticed. */
static struct jit_vector_control vector_control(const struct cpu *cpu)
{
	return (struct jit_vector_control){
		.is_live = cpu->fpu.live,
		.cr0 = (uint32_t)cpu->cr0 & (CR0_EM | CR0_TS),
		.cr4 = (uint32_t)cpu->cr4 & (CR4_OSFXSR | CR4_OSXSAVE),
		.xcr0 = (uint32_t)cpu->xcr0,
	};
}

static bool vector_control_changed(const struct cpu *cpu)
{
	const struct jit_vector_control now = vector_control(cpu), *then = &jit_of(cpu)->vector_control;

	return now.is_live != then->is_live || now.cr0 != then->cr0 || now.cr4 != then->cr4 ||
	       now.xcr0 != then->xcr0;
}

/* Which vector instructions may run as they stand: the state is in the host's registers, and
 * nothing in them can fault other than a memory access. */
static void update_vector(struct cpu *cpu)
{
	uint32_t mxcsr;
	uint16_t control;
	bool x87 = false, sse = false, avx = false, avx512 = false;

	jit_of(cpu)->vector_control = vector_control(cpu);
	if (cpu->fpu.live && !(cpu->cr0 & (CR0_EM | CR0_TS))) {
		__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
		x87 = (control & 0x3f) == 0x3f;
		sse = (cpu->cr4 & CR4_OSFXSR) && (mxcsr & 0x1f80) == 0x1f80;
		avx = sse && (cpu->cr4 & CR4_OSXSAVE) && (cpu->xcr0 & 6) == 6;
		avx512 = avx && (cpu->xcr0 & 0xe0) == 0xe0;
	}
	jit_frame(cpu)->vector_blocked[JIT_VECTOR_X87] = !x87;
	jit_frame(cpu)->vector_blocked[JIT_VECTOR_SSE] = !sse;
	jit_frame(cpu)->vector_blocked[JIT_VECTOR_AVX] = !avx;
	jit_frame(cpu)->vector_blocked[JIT_VECTOR_AVX512] = !avx512;
}

/* Base apart, a segment without checks: SDM vol. 3 §5.3, §5.5. */
static bool is_unchecked(const struct kvm_segment *segment)
{
	return segment->present && !segment->unusable && segment->s &&
	       (segment->type & 0xe) == 2 && segment->limit == 0xffffffff;
}

static void update_segments(struct cpu *cpu)
{
	for (unsigned i = 0; i < 2; i++)
		jit_frame(cpu)->segment_blocked[i] = !is_unchecked(&cpu->segment[CPU_FS + i]);
}

/* What user space may have changed since the last run. */
static void update_system(struct cpu *cpu)
{
	jit_frame(cpu)->rdtsc_blocked = !cpu->tsc_is_host;
	jit_frame(cpu)->rdtscp_blocked = !cpu->tsc_is_host || !cpu_has(cpu, FEATURE_RDTSCP);
	jit_frame(cpu)->ac_blocked = !cpu_has(cpu, FEATURE_SMAP);
}

/*
 * Translations are for CPUs to which the same bytes mean the same, as a VM's are to nearly all who make one. Whoever is
 * unlike the first one has none: its code is interpreted.
 */
static void update_rules(struct jit *jit)
{
	struct jit_cache *cache = jit->cache;
	struct rules_copy rules;

	if (jit->rules_changes == jit->cpu->rules_changes)
		return;
	fpu_leave(jit->cpu); /* what copies the rules may use vector registers */
	jit->rules_changes = jit->cpu->rules_changes;
	rules_copy_take(&rules, &jit->cpu->rules);
	jit_lock_take(&cache->lock);
	if (!cache->has_rules)
		bytes_copy(&cache->rules, &rules, sizeof(rules));
	cache->has_rules = true;
	jit->is_other = !rules_copy_is(&cache->rules, &rules);
	jit_lock_release(&cache->lock);
}

/* What translated code takes for granted besides the block's key, which tells CPL 3 from CPL 0. */
static bool translatable(const struct cpu *cpu)
{
	return jit_mode_is_translated(cpu->mode) && (cpu->cpl == 0 || cpu->cpl == 3) && !jit_of(cpu)->is_other &&
	       !(cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP) && !(cpu->rflags & RFLAGS_TF);
}

/* Take the view of the present address space. False: code is to be compared with memory first. */
static bool update_view(struct jit *jit)
{
	const struct cpu *cpu = jit->cpu;

	if (jit->epoch != cpu->code_epoch)
		return false;
	if (jit->views.generation != cpu->tlb_sets.generation)
		jit_views_update(&jit->views, &cpu->tlb_sets, jit_frame(cpu));
	return true;
}

/* To translated code for cpu->rip, when that needs no more than a look into the jump table; NULL: the
 * dispatcher's turn. */
static const uint8_t *go_on(struct cpu *cpu)
{
	struct jit *jit = jit_of(cpu);
	const uint8_t *entry;

	if (cpu->requests || !translatable(cpu) || jit->watcher || !update_view(jit))
		return NULL;
	entry = jit_find_entry(jit, jit_jump_set(jit_mode_of(cpu)), cpu->rip);
	if (!entry)
		return NULL;
	if (!jit_mode_is_64(cpu->mode))
		update_segments(cpu);
	/* The pairs (return.c) may be of another mode, or lack what was interpreted here. */
	jit_frame(cpu)->spill[2] = (uintptr_t)entry;
	return JIT_GO_ON;
}

/* Have the next SYSCALL and SYSRET executed by stubs (emit/system_call.c), if they may be. */
static void prepare_system_call(const struct cpu *cpu)
{
	struct jit_system_call *ready = &jit_frame(cpu)->system_call;

	if (ready->efer == cpu->efer && ready->star == cpu->star && ready->fmask == cpu->fmask)
		return;
	ready->efer = 0;
	/* Ring 0 begins with the TLB set for AC = 0. */
	if (!(cpu->efer & EFER_SCE) || !(cpu->fmask & RFLAGS_AC))
		return;
	*ready = (struct jit_system_call){
		.star = cpu->star, .fmask = cpu->fmask, .efer = cpu->efer,
		.entered = system_call_entered(cpu), .returned = system_call_returned(cpu, true),
	};
}

static void count_fallback(struct jit *jit, const struct jit_record *record)
{
	jit->statistics.fallbacks++;
	if (record->site.is_slow_path)
		jit->slow_paths[record->insn.mnemonic]++;
	else
		jit->fallbacks[record->insn.mnemonic]++;
}

/* What a block has checked before the instruction, or the instruction for those behind it. */
static bool checks_hold(const struct cpu *cpu, const struct jit_record *record)
{
	for (unsigned levels = record->site.vector_levels; levels; levels &= levels - 1)
		if (jit_frame(cpu)->vector_blocked[__builtin_ctz(levels)])
			return false;
	for (unsigned segments = record->site.segments; segments; segments &= segments - 1)
		if (jit_frame(cpu)->segment_blocked[__builtin_ctz(segments) - CPU_FS])
			return false;
	return true;
}

const uint8_t *jit_execute_fallback(struct cpu *cpu, const uint8_t *at)
{
	struct jit_watcher *watcher = jit_of(cpu)->watcher;
	bool vectors_live = cpu->fpu.live;
	const struct jit_record *record;
	uint64_t rip, next;
	bool stays;

	jit_of(cpu)->site = at;
	record = jit_record_find(jit_of(cpu), at);
	if (!record)
		return NULL;
	rip = jit_frame(cpu)->code_page + record->site.offset;
	if (record->site.is_hot) {
		cpu->rip = rip;
		jit_of(cpu)->hot = at;
		return NULL;
	}
	next = rip + record->insn.length;
	state_to_guest(cpu);
	/* The block takes for stored what an instruction would have that is executed here. */
	jit_frame(cpu)->x87_page = jit_frame(cpu)->code_page;
	cpu->rip = rip;
	cpu->next_rip = next;
	cpu->insn = &record->insn;
	cpu_begins(cpu, CPU_FALLS_BACK);
	count_fallback(jit_of(cpu), record);
	if (watcher)
		watcher->fallback(watcher, cpu, rip);
	cpu->io.is_reset_after = true;
	cpu->exits_softly = !watcher;
	record->insn.execute(cpu, &record->insn);
	cpu->io.is_reset_after = cpu->exits_softly = false;
	if (cpu->io.cursor)
		io_reset(cpu);
	cpu->rip = cpu_wrap_rip(cpu, cpu->next_rip);
	if (cpu->is_leaving) {
		flags_to_host(cpu);
		return NULL;
	}
	if (record->changes_vector || vector_control_changed(cpu))
		update_vector(cpu);
	if (record->loads_segment)
		update_segments(cpu);
	if (record->insn.mnemonic == ZYDIS_MNEMONIC_SYSCALL)
		prepare_system_call(cpu);
	flags_to_host(cpu);
	/* What follows in the block takes for granted that this had passed its checks, and those
	 * before it. */
	stays = (cpu->fpu.live || !vectors_live) && checks_hold(cpu, record);
	cpu_begins(cpu, CPU_RUNS_TRANSLATION);
	if (stays && record->resume && cpu->rip == next && !cpu->requests)
		return record->resume;
	return go_on(cpu);
}

/* Announce the code that a block depends on, a run of granules at a time. */
static void mark_granules(struct cpu *cpu, uint64_t page_gpa, uint64_t granules)
{
	while (granules) {
		unsigned first = __builtin_ctzll(granules);
		uint64_t from_first = ~(granules >> first);
		unsigned count = from_first ? __builtin_ctzll(from_first) : 64;

		code_mark(cpu, page_gpa + first * 64, count * 64);
		granules = first + count > 63 ? 0 : granules >> (first + count) << (first + count);
	}
}

/* The block at gpa, for the CPU's mode, if there is one that is what memory holds; NULL: none. */
static struct jit_block *find_translated(struct jit *jit, uint64_t gpa, const uint8_t *bytes)
{
	struct jit_cache *cache = jit->cache;
	struct jit_block *block = jit_block_find(cache, gpa, jit_mode_of(jit->cpu));
	struct jit_page *page = block ? block->page : jit_page_find(cache, gpa);
	uint64_t changed;

	if (!page)
		return NULL;
	/* Before `compared`: who marks a block resets that first. */
	if (block && !atomic_load_explicit(&block->is_marked, memory_order_acquire))
		block = NULL;
	if (atomic_load_explicit(&jit->places[page->index].compared, memory_order_acquire) ==
	    jit->epoch + 1)
		return block;
	jit_lock_take(&cache->lock);
	changed = jit_page_compare(jit, page, bytes - (gpa & 0xfff));
	jit_lock_release(&cache->lock);
	if (!changed)
		return block;
	jit_page_drop(jit, gpa, changed);
	return NULL;
}

/* The translation for fetches of the page behind the one that the CPU is in; NULL: the TLB has none. */
static const struct tlb_entry *next_page(const struct cpu *cpu, uint64_t *gpa)
{
	const struct tlb_set *set = &cpu->tlb_sets.sets[tlb_privilege(cpu)];
	uint64_t next = (cpu->rip & ~(uint64_t)0xfff) + 0x1000;
	unsigned index = next >> 12 & (TLB_ENTRIES - 1);

	*gpa = set->gpa[index] & ~(uint64_t)TLB_PAGE_FLAGS;
	return set->entries[index].tag_execute == next ? &set->entries[index] : NULL;
}

/* What may become of an instruction that reaches from the page at gpa into the next one: that one's first
 * bytes are added to the snapshot where they are known. */
static enum guest_crossing see_crossing(struct jit *jit, uint64_t gpa)
{
	struct cpu *cpu = jit->cpu;
	const struct tlb_entry *entry;

	if (jit->watcher || jit_mode_of(cpu) & JIT_MODE_EDGE || (!cpu_is_64(cpu) && cpu->rip >> 12 == 0xfffff))
		return CROSSING_ELSEWHERE;
	entry = next_page(cpu, &jit->next_gpa);
	if (!entry)
		return CROSSING_LATER;
	if (jit->next_gpa == (gpa & ~(uint64_t)0xfff) || code_is_hot(jit->cache->index, jit->next_gpa))
		return CROSSING_ELSEWHERE;
	memcpy((uint8_t *)jit->snapshot + 4096, tlb_host(entry, (cpu->rip & ~(uint64_t)0xfff) + 0x1000),
	       GUEST_CODE_BEHIND);
	return CROSSING_KNOWN;
}

/* Where the block's next page is the one that it was made from, let that be known. False: what is there has
 * changed, and the block is gone. */
static bool see_next_page(struct jit *jit, struct jit_block *block)
{
	struct jit_page *page = block->partner->page;
	const struct tlb_set *set = &jit->cpu->tlb_sets.sets[tlb_privilege(jit->cpu)];
	uint64_t next = (jit->cpu->rip & ~(uint64_t)0xfff) + 0x1000, gpa, changed = 0;
	const struct tlb_entry *entry = next_page(jit->cpu, &gpa);

	if (!entry || gpa >> 12 != page->number)
		return true;
	if (jit->places[page->index].compared != jit->epoch + 1) {
		jit_lock_take(&jit->cache->lock);
		changed = jit_page_compare(jit, page, tlb_host(entry, next));
		jit_lock_release(&jit->cache->lock);
	}
	if (changed) {
		jit_page_drop(jit, gpa, changed);
		return false;
	}
	jit_view_add(&jit->views, page->index, tlb_privilege(jit->cpu) == TLB_USER, next,
		     set->gpa[entry - set->entries] & TLB_PAGE_GLOBAL);
	return true;
}

/* Announce what the new block has looked at in the next page; false: that is not what it was made from, or
 * cannot be looked at now. */
static bool mark_next_page(struct jit *jit)
{
	const struct tlb_entry *entry;
	uint64_t gpa;

	code_mark(jit->cpu, jit->next_gpa, GUEST_CODE_BEHIND);
	if (jit->cpu->requests)
		return false;
	entry = next_page(jit->cpu, &gpa);
	return entry && gpa == jit->next_gpa &&
	       !memcmp((uint8_t *)jit->snapshot + 4096,
		       tlb_host(entry, (jit->cpu->rip & ~(uint64_t)0xfff) + 0x1000), GUEST_CODE_BEHIND);
}

/* The block at gpa, if it is kept. */
static struct jit_block *take_kept(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean)
{
	bool full;
	struct jit_block *block = jit_take_kept(jit, gpa, bytes, is_lean, &full);

	if (block || !full)
		return block;
	fpu_leave(jit->cpu); /* as it has been, where the cache was found full */
	jit_chunk_next(jit);
	return jit_take_kept(jit, gpa, bytes, is_lean, &full);
}

/* What is looked at by hash, and soon all of it. Guests that end before anything is warm do without. */
static void touch_tables(struct jit *jit)
{
	zeroes_touch(jit, sizeof(*jit));
	tlb_touch(jit->cpu);
	if (!jit->next_user)
		zeroes_touch((void *)jit->cache->blocks, sizeof(jit->cache->blocks));
}

static struct jit_block *translate(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean)
{
	struct jit_block *block;
	bool full;

	fpu_leave(jit->cpu); /* the decoder may use vector registers */
	if (!jit->statistics.blocks)
		touch_tables(jit);
	memcpy(jit->snapshot, bytes - (gpa & 0xfff), 4096);
	jit->crossing = see_crossing(jit, gpa);
	block = jit_translate(jit, gpa, is_lean, &full);
	if (!block && full) {
		jit_chunk_next(jit);
		block = jit_translate(jit, gpa, is_lean, &full);
	}
	if (block && jit_is_keeping(jit))
		jit_ask(jit, block, is_lean);
	return block;
}

/* Translate the block at gpa, or take what is kept of it, and only that if it is `cold`; NULL when that can't be
 * done now. */
static struct jit_block *make_block(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean,
				    bool is_cold)
{
	struct jit_cache *cache = jit->cache;
	struct cpu *cpu = jit->cpu;
	struct jit_block *block;
	uint64_t evictions;
	int result;
	bool has_next;

	cpu_begins(cpu, CPU_TRANSLATES);
	block = take_kept(jit, gpa, bytes, is_lean);
	if (!block && !is_cold)
		block = translate(jit, gpa, bytes, is_lean);
	if (!block)
		return NULL;
	/* Whoever made it has seen to that; so does what is called from here on need it. */
	fpu_leave(cpu);
	jit_lock_take(&cache->lock);
	result = jit_block_insert(jit, block);
	if (result < 0)
		block->dead = true;
	evictions = cache->evictions;
	has_next = block->partner;
	jit_lock_release(&cache->lock);
	/* Room for what is kept of pages comes back with the blocks of the oldest chunks. */
	if (result == -ENOSPC)
		jit_chunk_next(jit);
	if (result < 0)
		return NULL;
	mark_granules(cpu, gpa & ~(uint64_t)0xfff, block->granules);
	/* From here on the block may be gone. */
	if (has_next && !mark_next_page(jit)) {
		jit_page_drop(jit, jit->next_gpa, 1);
		return NULL;
	}
	jit_lock_take(&cache->lock);
	if (cache->evictions == evictions)
		jit_block_marked(cache, block);
	jit_lock_release(&cache->lock);
	/* If something has been mapped elsewhere meanwhile, `bytes` is no longer what it was. */
	return cpu->requests ? NULL : find_translated(jit, gpa, bytes);
}

/* What is watched is never hot: there, every other block is made in full. */
static bool is_to_be_lean(struct jit *jit, uint64_t gpa)
{
	if (!jit->cache->options.promotion)
		return false;
	return jit->watcher ? jit_hash(gpa) & 1 : *jit_hot_block(jit, gpa) != gpa + 1;
}

/* How often a block must have been asked for here. */
static uint8_t warmth_of(const struct cpu *cpu, const struct jit_options *options)
{
	return options->warmth - (tiers_leave_cold(cpu) ? cpu->tiers->cold_runs : 0);
}

/* The block at cpu->rip, translated when it is warm; NULL: the interpreter's turn. */
static struct jit_block *look_up(struct jit *jit)
{
	struct jit_cache *cache = jit->cache;
	struct cpu *cpu = jit->cpu;
	uint64_t gpa;
	const uint8_t *bytes = lin_fetch_pointer(cpu, cpu->rip, &gpa);
	uint8_t warmth = warmth_of(cpu, &cache->options), heat;
	struct jit_block *block;
	_Atomic uint8_t *runs;

	if (!bytes)
		return NULL;
	/* Blocks of a page may be linked with one another: none of a page with a breakpoint is entered. */
	if (cpu->code_breakpoints && breakpoint_code_hits(cpu, cpu->rip & ~(uint64_t)0xfff, 4096))
		return NULL;
	runs = &cache->heat[jit_heat_number(gpa)];
	heat = atomic_load_explicit(runs, memory_order_relaxed);
	/* What is cold was not translated. */
	if (heat >= warmth) {
		block = find_translated(jit, gpa, bytes);
		if (block || cpu->requests)
			return block;
	}
	if (code_is_hot(cache->index, gpa))
		return NULL;
	if (heat < warmth) {
		if (!heat && cache->kept.bytes)
			block = make_block(jit, gpa, bytes, is_to_be_lean(jit, gpa), true);
		else
			block = NULL;
		atomic_store_explicit(runs, block ? warmth : heat + 1, memory_order_relaxed);
		return block;
	}
	return make_block(jit, gpa, bytes, is_to_be_lean(jit, gpa), false);
}

static struct jit_block *find_block(struct jit *jit)
{
	struct jit_block *block = look_up(jit);
	struct cpu *cpu = jit->cpu;
	const struct tlb_set *set = &cpu->tlb_sets.sets[tlb_privilege(cpu)];

	if (!block || jit->watcher)
		return block;
	if (block->partner && !see_next_page(jit, block))
		return NULL;
	/* The fetch has left its translation there. */
	jit_enter_jump(jit, block, cpu->rip,
		       set->gpa[cpu->rip >> 12 & (TLB_ENTRIES - 1)] & TLB_PAGE_GLOBAL);
	return block;
}

/* All code is compared with memory before it runs again. */
static void begin_epoch(struct jit *jit)
{
	jit->epoch = jit->cpu->code_epoch;
	jit_views_forget(&jit->views);
	jit_views_update(&jit->views, &jit->cpu->tlb_sets, jit_frame(jit->cpu));
}

/* A lean block has run often: it retires, and is translated in full when it is run again. Another CPU may
 * have seen to that, and this one have come here by its own table of jumps. */
static void promote(struct jit *jit)
{
	struct jit_cache *cache = jit->cache;
	struct jit_block *block;

	jit_lock_take(&cache->lock);
	block = jit_block_at(cache, jit->hot - 1);
	if (!block->dead && !block->is_retired) {
		*jit_hot_block(jit, block->gpa) = block->gpa + 1;
		jit_block_retire(cache, block);
		jit->statistics.promotions++;
	}
	jit_lock_release(&cache->lock);
	jit->hot = jit->site = NULL;
}

/* Room for pairs (return.c), until there are requests: either these are seen afterwards, or they
 * take it away. */
static void begin_pairs(struct cpu *cpu)
{
	atomic_exchange(&cpu->request_limit,
			(uintptr_t)__builtin_frame_address(0) - JIT_PAIRS_SIZE);
}

/*
 * Translated code finds the CPU there. Where it takes a system call (0.1 to 8 us by the host), a thread makes it only for
 * another CPU than its last one: no other code of this process has a use for GS.
 */
static void set_gs_base(struct cpu *cpu)
{
	static _Thread_local const struct cpu *last __attribute__((tls_model("initial-exec")));
	long result = SYS_arch_prctl;

	if (host.has_fsgsbase) {
		__asm__ volatile("wrgsbase %0" : : "r"(cpu));
		return;
	}
	if (last == cpu)
		return;
	__asm__ volatile("syscall"
			 : "+a"(result) : "D"(ARCH_SET_GS), "S"(cpu) : "rcx", "r11", "memory");
	last = cpu;
}

void jit_enter(struct cpu *cpu)
{
	set_gs_base(cpu);
	update_system(cpu);
	update_rules(jit_of(cpu));
}

static struct jit_link *link_at(const struct jit_cache *cache, uint64_t offset)
{
	return offset ? (struct jit_link *)(cache->data + offset) : NULL;
}

enum tier_stop jit_run(struct cpu *cpu)
{
	struct jit *jit = jit_of(cpu);
	struct jit_link *link = NULL;
	bool is_misled = false;

	while (!cpu->requests && !cpu->is_leaving) {
		uint64_t evictions = jit->cache->evictions;
		struct jit_block *block;

		jit->site = NULL;
		if (!translatable(cpu))
			return TIER_DECLINES;
		if (!update_view(jit))
			begin_epoch(jit);
		cpu->rip = cpu_wrap_rip(cpu, cpu->rip);
		cpu_begins(cpu, CPU_DISPATCHES);
		/* A fault of the fetch is no instruction's. */
		cpu->insn = NULL;
		cpu->next_rip = cpu->rip;
		block = jit_find_jump(jit, jit_jump_set(jit_mode_of(cpu)), cpu->rip);
		if (!block)
			block = find_block(jit);
		else if (is_misled)
			jit_links_renew(jit, block, cpu->rip);
		if (jit->cache->evictions != evictions)
			link = NULL;
		if (!block && cpu->requests)
			break;
		if (!block) {
			jit->statistics.interpreted_blocks++;
			return TIER_DECLINES;
		}
		if (!block->is_used)
			block->is_used = true;
		if (link)
			jit->statistics.links += jit_link_to(jit, link, block);
		link = NULL;
		begin_pairs(cpu);
		if (cpu->requests)
			break;
		if (jit->watcher)
			jit->watcher->before(jit->watcher, cpu, block->script);
		update_vector(cpu);
		update_segments(cpu);
		flags_to_host(cpu);
		jit_frame(cpu)->code_page = cpu->rip & ~(uint64_t)0xfff;
		jit->statistics.entries++;
		cpu_begins(cpu, CPU_RUNS_TRANSLATION);
		link = link_at(jit->cache, jit->cache->stubs.enter(block->code));
		state_to_guest(cpu);
		if (link)
			cpu->rip = cpu_wrap_rip(cpu, jit_frame(cpu)->code_page +
							     (int64_t)link->page_distance * 4096 +
							     link->offset);
		/* If it finds its way at once now, it was led to an entry that is not there. */
		is_misled = !link && !jit->hot;
		if (jit->hot)
			promote(jit);
		if (jit->watcher) {
			jit->watcher->after(jit->watcher, cpu);
			link = NULL;
		}
	}
	return TIER_INTERRUPTED;
}
