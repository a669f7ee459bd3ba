/*
 * TLB contexts, filling and flushing (tlb.h; Intel SDM vol. 3 §4.10).
 *
 * Guests flush often (each CR3 load without PCID, each munmap), so flushes walk the bitmaps of used
 * entries. INVLPG of any address inside a large page must drop all of that page: its translations
 * are cached by 4 KiB here, so entries of large pages are marked, and a filter says whether
 * searching for them is worthwhile at all.
 */
#include "engine/x86/bytes.h"
#include "engine/x86/mmu/tlb.h"

#include <errno.h>

#include "engine/x86/observer.h"
#include "engine/x86/system.h"
#include "util/page.h"
#include "util/zeroes.h"

#define WORDS        (TLB_ENTRIES / 64)
#define SETS_SIZE    (sizeof(struct tlb_set) * (TLB_CONTEXTS * TLB_PRIVILEGES + 1))
#define PCID_MASK    0xfff

/* The largest INVLPG granules are 4 MiB (32-bit paging; covers 2 MiB) and 1 GiB. */
#define LARGE_SHIFT 22
#define HUGE_SHIFT  30

/* Bits of a filter at which it is worth making it anew from what the TLB holds. */
#define FILTER_MANY (1u << (TLB_FILTER_BITS - 1))
/* Fills: at which it is for the pages that may be written, whose mistakes stop all CPUs. */
#define WRITABLE_MANY (1u << (TLB_FILTER_BITS - 3))

/* The region of 1 << shift bytes at gva; its two bits are in the upper half. */
static uint64_t filter_hash(uint64_t gva, unsigned shift)
{
	return ((gva >> shift) * 64 + shift) * 0x9e3779b97f4a7c15ull;
}

static bool filter_bit(const struct tlb_filter *filter, uint64_t hash)
{
	hash >>= 64 - TLB_FILTER_BITS;
	return __atomic_load_n(&filter->words[hash >> 6], __ATOMIC_RELAXED) >> (hash & 63) & 1;
}

static void filter_set(struct tlb_filter *filter, uint64_t hash)
{
	uint64_t *word;

	filter->count += !filter_bit(filter, hash);
	hash >>= 64 - TLB_FILTER_BITS;
	word = &filter->words[hash >> 6];
	/* One CPU writes, others may look. */
	__atomic_store_n(word, *word | 1ull << (hash & 63), __ATOMIC_RELAXED);
}

static bool filter_has(const struct tlb_filter *filter, uint64_t gva, unsigned shift)
{
	uint64_t hash = filter_hash(gva, shift);

	return filter_bit(filter, hash) && filter_bit(filter, hash << TLB_FILTER_BITS);
}

static void filter_add(struct tlb_filter *filter, uint64_t gva, unsigned shift)
{
	uint64_t hash = filter_hash(gva, shift);

	filter_set(filter, hash);
	filter_set(filter, hash << TLB_FILTER_BITS);
}

static void filter_clear(struct tlb_filter *filter)
{
	if (!filter->count)
		return;
	/* Compilers make a call of memset of a loop. */
	bytes_zero(filter->words, sizeof(filter->words));
	filter->count = 0;
}

static struct tlb_set *context_sets(const struct tlb *tlb, unsigned context)
{
	return tlb->contexts + context * TLB_PRIVILEGES;
}

static void entry_clear(struct tlb_set *set, unsigned index)
{
	struct tlb_entry *entry = &set->entries[index];

	entry->tag_read = entry->tag_write = entry->tag_execute = tlb_tag_none(index);
}

static bool entry_holds(const struct tlb_entry *entry, uint64_t page)
{
	return entry->tag_read == page || entry->tag_execute == page || entry->tag_write == page;
}

static void set_drop(struct tlb_set *set, unsigned index)
{
	entry_clear(set, index);
	set->used_global[index / 64] &= ~(1ull << index % 64);
	set->used_local[index / 64] &= ~(1ull << index % 64);
}

/* The page may be written, or could but for the code that it holds: target_code_page may let it. */
static bool is_writable(const struct tlb_set *set, unsigned index)
{
	return set->entries[index].tag_write != tlb_tag_none(index) ||
	       (set->gpa[index] & TLB_PAGE_CODE);
}

/* Where a guest-physical page has its entry in most kernels' map of all memory, which begins at a multiple of 1 GiB or more. */
static unsigned own_index(uint64_t gpa)
{
	return (gpa >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/* Entry `index` may be written, of that page. */
static void note_writable(struct tlb *tlb, struct tlb_set *set, unsigned index, uint64_t gpa)
{
	filter_add(&tlb->writable, gpa, PAGE_SHIFT);
	/* That one is looked at in any case. */
	if (index != own_index(gpa))
		filter_add(&set->writable, gpa, PAGE_SHIFT);
}

/* Of zeroes: where tlb_tag_none is 0, an entry is empty already. */
static void set_init(struct tlb_set *set)
{
	entry_clear(set, 0);
	entry_clear(set, TLB_ENTRIES - 1);
}

/* The first word of the bitmaps that may have bits, from this one on; WORDS: none. */
static unsigned used_word(const struct tlb_set *set, unsigned from)
{
	while (from < WORDS) {
		uint64_t words = set->used_words[from / 64] >> from % 64;

		if (words)
			return from + (unsigned)__builtin_ctzll(words);
		from = (from / 64 + 1) * 64;
	}
	return WORDS;
}

static void set_clear_used(struct tlb_set *set, uint64_t *used)
{
	for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
		uint64_t bits = used[word];

		used[word] = 0;
		if (!(set->used_global[word] | set->used_local[word]))
			set->used_words[word / 64] &= ~(1ull << word % 64);
		for (; bits; bits &= bits - 1)
			entry_clear(set, word * 64 + __builtin_ctzll(bits));
	}
}

static void context_flush_nonglobal(struct tlb *tlb, unsigned context)
{
	struct tlb_set *sets = context_sets(tlb, context);

	tlb->context[context].losses++;
	for (unsigned i = 0; i < TLB_PRIVILEGES; i++) {
		set_clear_used(&sets[i], sets[i].used_local);
		if (used_word(&sets[i], 0) == WORDS)
			filter_clear(&sets[i].writable);
	}
}

static void context_flush(struct tlb *tlb, unsigned context)
{
	struct tlb_set *sets = context_sets(tlb, context);

	tlb->context[context].losses++;
	for (unsigned i = 0; i < TLB_PRIVILEGES; i++) {
		set_clear_used(&sets[i], sets[i].used_local);
		set_clear_used(&sets[i], sets[i].used_global);
		filter_clear(&sets[i].large);
		filter_clear(&sets[i].writable);
	}
}

/* The page of an entry in use: what cannot be read may still be executed. */
static uint64_t entry_page(const struct tlb_set *set, unsigned index)
{
	const struct tlb_entry *entry = &set->entries[index];

	return entry->tag_read != tlb_tag_none(index) ? entry->tag_read : entry->tag_execute;
}

/* Drop the entries of large (huge) pages in gva's region of 4 MiB (1 GiB). */
static void set_drop_large(struct tlb_set *set, uint64_t gva, unsigned shift, unsigned flag)
{
	for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
		uint64_t bits = set->used_global[word] | set->used_local[word];

		for (; bits; bits &= bits - 1) {
			unsigned index = word * 64 + __builtin_ctzll(bits);

			if ((set->gpa[index] & flag) &&
			    entry_page(set, index) >> shift == gva >> shift)
				set_drop(set, index);
		}
	}
}

static void note_large(struct tlb_set *set, uint64_t gva, unsigned flags)
{
	if (flags & TLB_PAGE_LARGE)
		filter_add(&set->large, gva, LARGE_SHIFT);
	if (flags & TLB_PAGE_HUGE)
		filter_add(&set->large, gva, HUGE_SHIFT);
}

/* Forget the regions of entries that went one by one. */
static void renew_large(struct tlb_set *set)
{
	filter_clear(&set->large);
	for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
		uint64_t bits = set->used_global[word] | set->used_local[word];

		for (; bits; bits &= bits - 1) {
			unsigned index = word * 64 + __builtin_ctzll(bits);

			note_large(set, entry_page(set, index), set->gpa[index]);
		}
	}
}

static void context_flush_page(struct tlb *tlb, unsigned context, uint64_t gva)
{
	struct tlb_set *sets = context_sets(tlb, context);
	unsigned index = (gva >> 12) & (TLB_ENTRIES - 1);

	for (unsigned i = 0; i < TLB_PRIVILEGES; i++) {
		struct tlb_set *set = &sets[i];

		if (entry_holds(&set->entries[index], gva & PAGE_MASK))
			set_drop(set, index);
		if (set->large.count >= FILTER_MANY)
			renew_large(set);
		if (filter_has(&set->large, gva, LARGE_SHIFT))
			set_drop_large(set, gva, LARGE_SHIFT, TLB_PAGE_LARGE);
		if (filter_has(&set->large, gva, HUGE_SHIFT))
			set_drop_large(set, gva, HUGE_SHIFT, TLB_PAGE_HUGE);
	}
}

/* The context that holds `pcid`, or TLB_CONTEXTS. */
static unsigned context_find(const struct tlb *tlb, uint16_t pcid)
{
	unsigned i;

	for (i = 0; i < tlb->contexts_used; i++)
		if (tlb->context[i].valid && tlb->context[i].pcid == pcid)
			return i;
	return TLB_CONTEXTS;
}

/* A context for a PCID that has none: a free one, a new one, or the one used longest ago. */
static unsigned context_take(struct tlb *tlb)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < tlb->contexts_used; i++) {
		if (!tlb->context[i].valid)
			return i;
		if (tlb->clock - tlb->context[i].last_used >
		    tlb->clock - tlb->context[oldest].last_used)
			oldest = i;
	}
	if (tlb->contexts_used < TLB_CONTEXTS) {
		for (unsigned i = 0; i < TLB_PRIVILEGES; i++)
			set_init(&context_sets(tlb, tlb->contexts_used)[i]);
		return tlb->contexts_used++;
	}
	context_flush(tlb, oldest);
	return oldest;
}

static void context_select(struct cpu *cpu, uint16_t pcid, bool keep)
{
	struct tlb *tlb = &cpu->tlb_sets;
	unsigned context = context_find(tlb, pcid);

	observe_tlb_change(cpu, TLB_SWITCHED, 0);
	tlb->generation++;
	if (context == TLB_CONTEXTS)
		context = context_take(tlb);
	else if (!keep)
		context_flush_nonglobal(tlb, context);
	tlb->context[context].valid = true;
	tlb->context[context].pcid = pcid;
	tlb->context[context].last_used = ++tlb->clock;
	tlb->current = context;
	tlb->sets = context_sets(tlb, context);
	tlb_update(cpu);
}

static uint16_t present_pcid(const struct cpu *cpu)
{
	return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & PCID_MASK : 0;
}

int tlb_create(struct cpu *cpu)
{
	struct tlb *tlb = &cpu->tlb_sets;

	*tlb = (struct tlb){0};
	tlb->contexts = zeroes_map(SETS_SIZE);
	if (!tlb->contexts)
		return -ENOMEM;
	tlb->empty = context_sets(tlb, TLB_CONTEXTS);
	set_init(tlb->empty);
	context_select(cpu, 0, true);
	return 0;
}

void tlb_touch(struct cpu *cpu)
{
	zeroes_touch(&context_sets(&cpu->tlb_sets, 0)[TLB_SUPERVISOR], sizeof(struct tlb_set));
}

void tlb_destroy(struct cpu *cpu)
{
	zeroes_unmap(cpu->tlb_sets.contexts, SETS_SIZE);
	cpu->tlb_sets = (struct tlb){0};
	cpu->tlb = NULL;
}

enum tlb_privilege tlb_privilege(const struct cpu *cpu)
{
	if (cpu->cpl == 3)
		return TLB_USER;
	if ((cpu->cr4 & CR4_SMAP) && (cpu->rflags & RFLAGS_AC))
		return TLB_SUPERVISOR_AC;
	return TLB_SUPERVISOR;
}

void tlb_update(struct cpu *cpu)
{
	bool checks_alignment = cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags & RFLAGS_AC);

	/* In the empty set all accesses take the slow path. */
	cpu->tlb = checks_alignment || cpu->watch ? cpu->tlb_sets.empty :
						    &cpu->tlb_sets.sets[tlb_privilege(cpu)];
	if (cpu->observer)
		cpu->observer->access_changed(cpu);
}

void tlb_switch(struct cpu *cpu, bool keep)
{
	/* What others hold of the PCID may have outlived its context here. */
	if (!keep)
		observe_tlb_change(cpu, TLB_LOST_PCID, present_pcid(cpu));
	context_select(cpu, present_pcid(cpu), keep);
}

/* Whether somebody may know the page at gva, or a large page around it, as code. */
static bool may_be_executable(const struct tlb *tlb, uint64_t gva)
{
	return filter_has(&tlb->executable, gva, PAGE_SHIFT) ||
	       filter_has(&tlb->executable, gva, LARGE_SHIFT) ||
	       filter_has(&tlb->executable, gva, HUGE_SHIFT);
}

static void note_executable(struct tlb *tlb, uint64_t gva, unsigned flags)
{
	filter_add(&tlb->executable, gva,
		   flags & TLB_PAGE_HUGE  ? HUGE_SHIFT :
		   flags & TLB_PAGE_LARGE ? LARGE_SHIFT :
					    PAGE_SHIFT);
}

static void note_all_executable(struct tlb *tlb, const struct tlb_set *set)
{
	for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
		uint64_t bits = set->used_global[word] | set->used_local[word];

		for (; bits; bits &= bits - 1) {
			unsigned index = word * 64 + __builtin_ctzll(bits);

			if (set->entries[index].tag_execute != tlb_tag_none(index))
				note_executable(tlb, set->entries[index].tag_execute, set->gpa[index]);
		}
	}
}

/*
 * Nobody may go on with what he knows: all ask the TLB again. So a filter that has become too full
 * to be of use can be made anew from what the TLB holds.
 */
static void all_code_may_move(struct tlb *tlb)
{
	tlb->generation++;
	tlb->global_generation++;
	if (tlb->executable.count < FILTER_MANY)
		return;
	filter_clear(&tlb->executable);
	for (unsigned i = 0; i < tlb->contexts_used * TLB_PRIVILEGES; i++)
		note_all_executable(tlb, &tlb->contexts[i]);
}

void tlb_flush_all(struct cpu *cpu)
{
	struct tlb *tlb = &cpu->tlb_sets;

	observe_tlb_change(cpu, TLB_LOST_ALL, 0);
	for (unsigned i = 0; i < tlb->contexts_used; i++) {
		if (!tlb->context[i].valid)
			continue;
		context_flush(tlb, i);
		tlb->context[i].valid = i == tlb->current;
	}
	tlb->context[tlb->current].pcid = present_pcid(cpu);
	/* Only now does the TLB hold nothing executable, nor writable: others may look (tlb_may_write). */
	atomic_thread_fence(memory_order_release);
	filter_clear(&tlb->executable);
	filter_clear(&tlb->writable);
	tlb->writable_fills = 0;
	all_code_may_move(tlb);
}

bool tlb_obey_flush(struct cpu *cpu)
{
	if (!(atomic_load(&cpu->requests) & CPU_REQUEST_TLB_FLUSH))
		return false;
	atomic_fetch_and(&cpu->requests, ~(uint32_t)CPU_REQUEST_TLB_FLUSH);
	tlb_flush_all(cpu);
	cpu->tlb_sets.host_generation++;
	return true;
}

void tlb_flush_nonglobal(struct cpu *cpu)
{
	observe_tlb_change(cpu, TLB_LOST_NONGLOBAL, 0);
	cpu->tlb_sets.generation++;
	for (unsigned i = 0; i < cpu->tlb_sets.contexts_used; i++)
		context_flush_nonglobal(&cpu->tlb_sets, i);
}

/* INVLPG also drops global translations of every PCID: simplest is to drop all of them. */
void tlb_flush_page(struct cpu *cpu, uint64_t gva)
{
	observe_tlb_change(cpu, TLB_LOST_PAGE, gva & PAGE_MASK);
	for (unsigned i = 0; i < cpu->tlb_sets.contexts_used; i++)
		context_flush_page(&cpu->tlb_sets, i, gva);
	if (may_be_executable(&cpu->tlb_sets, gva))
		all_code_may_move(&cpu->tlb_sets);
}

void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid)
{
	unsigned context = context_find(&cpu->tlb_sets, pcid);

	observe_tlb_change(cpu, TLB_LOST_PCID, pcid);
	cpu->tlb_sets.generation++;
	if (context != TLB_CONTEXTS)
		context_flush_nonglobal(&cpu->tlb_sets, context);
}

void tlb_flush_pcid_page(struct cpu *cpu, uint16_t pcid, uint64_t gva)
{
	unsigned context = context_find(&cpu->tlb_sets, pcid);

	observe_tlb_change(cpu, TLB_LOST_PCID_PAGE, (gva & PAGE_MASK) | pcid);
	if (context != TLB_CONTEXTS)
		context_flush_page(&cpu->tlb_sets, context, gva);
	if (may_be_executable(&cpu->tlb_sets, gva))
		all_code_may_move(&cpu->tlb_sets);
}

/* Forget the pages whose entries have gone. */
static void renew_writable(struct tlb *tlb)
{
	filter_clear(&tlb->writable);
	tlb->writable_fills = 0;
	for (unsigned i = 0; i < tlb->contexts_used * TLB_PRIVILEGES; i++) {
		struct tlb_set *set = &tlb->contexts[i];

		filter_clear(&set->writable);
		for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
			uint64_t bits = set->used_global[word] | set->used_local[word];

			for (; bits; bits &= bits - 1) {
				unsigned index = word * 64 + __builtin_ctzll(bits);

				if (!is_writable(set, index))
					continue;
				note_writable(tlb, set, index, set->gpa[index]);
			}
		}
	}
}

static void forbid_write(struct tlb_set *set, unsigned index)
{
	set->entries[index].tag_write = tlb_tag_none(index);
	set->gpa[index] &= ~(uint64_t)TLB_PAGE_CODE;
}

static bool is_of(const struct tlb_set *set, unsigned index, uint64_t gpa)
{
	return (set->gpa[index] & PAGE_MASK) == (gpa & PAGE_MASK);
}

static void set_flush_writes(struct tlb_set *set, uint64_t gpa)
{
	if (gpa != TLB_ALL_PAGES) {
		/* Which may be in use no more, and has no such right then. */
		if (is_of(set, own_index(gpa), gpa))
			forbid_write(set, own_index(gpa));
		if (!filter_has(&set->writable, gpa, PAGE_SHIFT))
			return;
	}
	for (unsigned word = used_word(set, 0); word < WORDS; word = used_word(set, word + 1)) {
		uint64_t bits = set->used_global[word] | set->used_local[word];

		for (; bits; bits &= bits - 1) {
			unsigned index = word * 64 + __builtin_ctzll(bits);

			if (gpa == TLB_ALL_PAGES || is_of(set, index, gpa))
				forbid_write(set, index);
		}
	}
}

void tlb_note_writable(struct cpu *cpu, uint64_t gpa)
{
	struct tlb *tlb = &cpu->tlb_sets;

	tlb->writable_fills++;
	if (filter_has(&tlb->writable, gpa, PAGE_SHIFT))
		return;
	filter_add(&tlb->writable, gpa, PAGE_SHIFT);
	/* Pairs with the one in code_mark's: either the code is seen here, or this there. */
	atomic_thread_fence(memory_order_seq_cst);
}

bool tlb_may_write(const struct cpu *cpu, uint64_t gpa)
{
	return filter_has(&cpu->tlb_sets.writable, gpa, PAGE_SHIFT);
}

bool tlb_has_many_notes(const struct cpu *cpu)
{
	return cpu->tlb_sets.writable_fills >= WRITABLE_MANY;
}

void tlb_renew_writable(struct cpu *cpu)
{
	if (tlb_has_many_notes(cpu))
		renew_writable(&cpu->tlb_sets);
}

void tlb_flush_writes(struct cpu *cpu, uint64_t gpa)
{
	struct tlb *tlb = &cpu->tlb_sets;

	observe_tlb_change(cpu, TLB_LOST_WRITES, gpa);
	/* Code mostly comes to pages that nobody writes any more. */
	if (gpa != TLB_ALL_PAGES && !filter_has(&tlb->writable, gpa, PAGE_SHIFT))
		return;
	for (unsigned i = 0; i < tlb->contexts_used * TLB_PRIVILEGES; i++)
		set_flush_writes(&tlb->contexts[i], gpa);
}

void tlb_fill(struct cpu *cpu, enum tlb_privilege privilege, uint64_t gva, uint64_t gpa,
	      uint8_t *hva, struct tlb_page_rights rights, unsigned flags)
{
	struct tlb_set *set = &cpu->tlb_sets.sets[privilege];
	unsigned index = (gva >> 12) & (TLB_ENTRIES - 1);
	struct tlb_entry *entry = &set->entries[index];
	uint64_t page = gva & PAGE_MASK;
	uint64_t none = tlb_tag_none(index);
	uint64_t bit = 1ull << index % 64;

	entry->tag_read = rights.readable ? page : none;
	entry->tag_write = rights.writable && !(flags & TLB_PAGE_CODE) ? page : none;
	entry->tag_execute = rights.executable ? page : none;
	entry->delta = (uintptr_t)hva - page;
	set->gpa[index] = (gpa & PAGE_MASK) | flags;
	if (rights.executable)
		note_executable(&cpu->tlb_sets, gva, flags);
	if (rights.writable)
		note_writable(&cpu->tlb_sets, set, index, gpa);

	set->used_words[index / 64 / 64] |= 1ull << index / 64 % 64;
	if (flags & TLB_PAGE_GLOBAL) {
		set->used_global[index / 64] |= bit;
		set->used_local[index / 64] &= ~bit;
	} else {
		set->used_local[index / 64] |= bit;
		set->used_global[index / 64] &= ~bit;
	}
	note_large(set, gva, flags);
}
