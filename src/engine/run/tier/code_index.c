/*
 * Changes of the code index: code_index.h.
 */
#include "engine/run/tier/code_index.h"

#include <stdlib.h>
#include <string.h>

#include "engine/x86/mmu/tlb.h"

#define MUCH_MEMORY (UINT64_C(1) << 30)

void code_index_init(struct code_index *index)
{
	for (unsigned i = 0; i < CODE_RUN_HASHES; i++)
		index->runs[i] = NULL;
	pthread_mutex_init(&index->lock, NULL);
	index->holders = NULL;
	index->cpus = NULL;
	memset(&index->outside, 0, sizeof(index->outside));
}

void code_index_destroy(struct code_index *index)
{
	for (unsigned i = 0; i < CODE_RUN_HASHES; i++)
		while (index->runs[i]) {
			struct code_run *run = index->runs[i];

			index->runs[i] = run->next;
			free(run);
		}
	pthread_mutex_destroy(&index->lock);
}

void code_index_add_cpu(struct code_index *index, struct tiers *tiers)
{
	pthread_mutex_lock(&index->lock);
	tiers->next = index->cpus;
	index->cpus = tiers;
	pthread_mutex_unlock(&index->lock);
}

void code_index_remove_cpu(struct code_index *index, struct tiers *tiers)
{
	struct tiers **at = &index->cpus;

	pthread_mutex_lock(&index->lock);
	while (*at && *at != tiers)
		at = &(*at)->next;
	if (*at)
		*at = tiers->next;
	pthread_mutex_unlock(&index->lock);
}

void code_index_add_holder(struct code_index *index, struct code_holder *holder)
{
	pthread_mutex_lock(&index->lock);
	holder->next = index->holders;
	index->holders = holder;
	pthread_mutex_unlock(&index->lock);
}

void code_index_remove_holder(struct code_index *index, struct code_holder *holder)
{
	struct code_holder **at = &index->holders;

	pthread_mutex_lock(&index->lock);
	while (*at && *at != holder)
		at = &(*at)->next;
	if (*at)
		*at = holder->next;
	pthread_mutex_unlock(&index->lock);
}

/* With the lock held. */
static struct code_run *run_add(struct code_index *index, uint64_t gpa)
{
	struct code_run *_Atomic *bucket = &index->runs[(gpa >> CODE_RUN_SHIFT) % CODE_RUN_HASHES];
	struct code_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->number = gpa >> CODE_RUN_SHIFT;
	run->next = *bucket;
	*bucket = run;
	return run;
}

/* The page's word; NULL without memory. */
static _Atomic uint64_t *word_make(struct code_index *index, uint64_t gpa)
{
	struct code_run *run = code_run_find(index, gpa);

	if (!run) {
		pthread_mutex_lock(&index->lock);
		run = code_run_find(index, gpa);
		if (!run)
			run = run_add(index, gpa);
		pthread_mutex_unlock(&index->lock);
	}
	return run ? &run->words[(gpa >> 12) % CODE_RUN_PAGES] : NULL;
}

/* The page gets its first code: no CPU stores there on its quick way any more. In an exclusive section. */
static void protect(struct code_index *index, uint64_t gpa)
{
	pthread_mutex_lock(&index->lock);
	for (struct tiers *tiers = index->cpus; tiers; tiers = tiers->next) {
		tlb_flush_writes(tiers->cpu, gpa);
		tlb_renew_writable(tiers->cpu);
	}
	pthread_mutex_unlock(&index->lock);
}

static bool may_write(const struct tiers *tiers, uint64_t gpa)
{
	if (tlb_may_write(tiers->cpu, gpa))
		return true;
	for (unsigned i = 0; i < tiers->count; i++)
		if (tiers->order[i]->may_write && tiers->order[i]->may_write(tiers->cpu, gpa))
			return true;
	return false;
}

static bool others_write(struct cpu *cpu, uint64_t gpa)
{
	struct code_index *index = cpu->tiers->code;
	bool any = false;

	pthread_mutex_lock(&index->lock);
	for (struct tiers *tiers = index->cpus; tiers && !any; tiers = tiers->next)
		any = tiers != cpu->tiers && may_write(tiers, gpa);
	pthread_mutex_unlock(&index->lock);
	return any;
}

/* The same without a section, as it can be if no other CPU has a quick way there. */
static bool protect_alone(struct cpu *cpu, uint64_t gpa)
{
	if (others_write(cpu, gpa))
		return false;
	tlb_flush_writes(cpu, gpa);
	return true;
}

/* As long as it takes, other CPUs that mark the page may not rely on its word. */
static _Atomic uint8_t *unsettled_of(struct code_index *index, uint64_t gpa)
{
	struct code_run *run = code_run_find(index, gpa);

	return run ? &run->is_unsettled[(gpa >> 12) % CODE_RUN_PAGES] : NULL;
}

/* True: the page is protected. */
static bool mark_first_alone(struct cpu *cpu, uint64_t gpa, _Atomic uint64_t *word, uint64_t mask)
{
	_Atomic uint8_t *is_unsettled = unsettled_of(cpu->tiers->code, gpa);

	atomic_store(is_unsettled, 1);
	/* Locked: it comes before the look at what other CPUs have noted (tlb_note_writable). */
	atomic_fetch_or(word, mask);
	if (!protect_alone(cpu, gpa))
		return false;
	atomic_store(is_unsettled, 0);
	return true;
}

/* Who writes there by what its CPU's TLB does not keep it from. Inside a section: exact, while notes and counts are not. */
static bool others_write_apart(struct cpu *cpu, uint64_t gpa)
{
	struct code_index *index = cpu->tiers->code;
	bool any = false;

	pthread_mutex_lock(&index->lock);
	for (struct tiers *tiers = index->cpus; tiers && !any; tiers = tiers->next)
		for (unsigned i = 0; i < tiers->count && !any; i++)
			any = tiers != cpu->tiers && tiers->order[i]->writes_apart &&
			      tiers->order[i]->writes_apart(tiers->cpu, gpa);
	pthread_mutex_unlock(&index->lock);
	return any;
}

static void mark_first_exclusively(struct cpu *cpu, uint64_t gpa, uint64_t mask)
{
	struct code_index *index = cpu->tiers->code;
	bool began = cpu_exclusive_begin_beside(cpu);
	_Atomic uint64_t *word = word_make(index, gpa); /* the run may be another by now */

	if (word) {
		atomic_fetch_or(word, mask);
		if (others_write_apart(cpu, gpa))
			cpu_exclusive_widen(cpu);
		protect(index, gpa);
		atomic_store(unsettled_of(index, gpa), 0);
	}
	if (began)
		cpu_exclusive_end(cpu);
}

/*
 * With a page's first code, stores to it must leave their quick way. CPUs note which pages they have one to
 * (tlb.h): where none has, which is what comes of reading programs from memory that was written long ago, there
 * is nothing to do; else it takes an exclusive section. Later on
 * they look at the word after they have stored (memory.c), and words fall to zero in exclusive
 * sections only: the locked OR, and their fence, see to it that one side notices the other.
 */
void code_mark(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	struct code_index *index = cpu->tiers->code;
	uint64_t mask = code_granules(gpa, size), present;
	_Atomic uint64_t *word;

	fpu_leave(cpu);
	word = word_make(index, gpa);
	if (!word)
		return;
	present = atomic_load(word);
	if (present && !atomic_load(unsettled_of(index, gpa))) {
		if ((present & mask) != mask)
			atomic_fetch_or(word, mask);
		return;
	}
	/* A CPU whose notes are never forgotten looks through its whole TLB for each page. */
	if (present || tlb_has_many_notes(cpu) || !mark_first_alone(cpu, gpa, word, mask))
		mark_first_exclusively(cpu, gpa, mask);
}

static bool drop(struct code_index *index, uint64_t gpa, uint64_t last)
{
	bool any = false;

	for (struct code_holder *holder = index->holders; holder; holder = holder->next)
		any |= holder->drop(holder, gpa, last);
	return any;
}

/* In one page. */
static void page_changed(struct code_index *index, uint64_t gpa, unsigned size)
{
	uint64_t first = gpa & ~(uint64_t)(CODE_GRANULE - 1);
	uint64_t last = (gpa + size - 1) | (CODE_GRANULE - 1);
	bool any = drop(index, first, last);
	struct code_run *run = code_run_find(index, gpa);
	unsigned page = (gpa >> 12) % CODE_RUN_PAGES;

	if (!run)
		return;
	/* Nobody has code in these granules any more: further stores there go the quick way. */
	atomic_fetch_and(&run->words[page], ~code_granules(gpa, size));
	if (any && run->heat[page] < UINT8_MAX)
		run->heat[page]++;
	if (any && run->losses[page] < UINT8_MAX)
		run->losses[page]++;
}

void code_stop_apart(struct cpu *cpu, uint64_t gpa, uint64_t last)
{
	struct code_index *index = cpu->tiers->code;
	bool any = false;

	pthread_mutex_lock(&index->lock);
	for (struct code_holder *holder = index->holders; holder && !any; holder = holder->next)
		any = holder->runs_apart && holder->runs_apart(holder, gpa, last);
	pthread_mutex_unlock(&index->lock);
	if (any)
		cpu_exclusive_widen(cpu);
}

void code_changed(struct code_index *index, uint64_t gpa, unsigned size)
{
	pthread_mutex_lock(&index->lock);
	while (size) {
		unsigned left = 0x1000 - (gpa & 0xfff), part = size < left ? size : left;

		page_changed(index, gpa, part);
		gpa += part;
		size -= part;
	}
	pthread_mutex_unlock(&index->lock);
}

/* Of the run's pages, from gpa's to the one that holds `last`, which may be behind the run. */
static void run_forget(struct code_index *index, struct code_run *run, uint64_t gpa, uint64_t last)
{
	uint64_t end = ((run->number + 1) << CODE_RUN_SHIFT) - 1;

	if (last > end)
		last = end;
	for (;;) {
		uint64_t page = gpa & ~UINT64_C(0xfff), page_last = gpa | 0xfff;
		_Atomic uint64_t *word = &run->words[(gpa >> 12) % CODE_RUN_PAGES];
		uint64_t mask = *word & code_granules(gpa, (last < page_last ? last : page_last) - gpa + 1);

		if (mask) {
			drop(index, page + (unsigned)__builtin_ctzll(mask) * CODE_GRANULE,
			     page + (64 - (unsigned)__builtin_clzll(mask)) * CODE_GRANULE - 1);
			atomic_fetch_and(word, ~mask);
		}
		if (page_last >= last)
			return;
		gpa = page_last + 1;
	}
}

void code_forget(struct code_index *index, uint64_t gpa, uint64_t last)
{
	for (uint64_t number = gpa >> CODE_RUN_SHIFT; number <= last >> CODE_RUN_SHIFT; number++) {
		struct code_run *run = code_run_find(index, number << CODE_RUN_SHIFT);
		uint64_t start = number << CODE_RUN_SHIFT;

		if (run)
			run_forget(index, run, start > gpa ? start : gpa, last);
	}
}

/* Whether nothing of the run is outside [gpa, last]; then it can go. Otherwise its pages in there do. */
static bool run_gone(struct code_run *run, uint64_t gpa, uint64_t last)
{
	uint64_t start = run->number << CODE_RUN_SHIFT, page = start;

	if (start >= gpa && start + ((1u << CODE_RUN_SHIFT) - 1) <= last)
		return true;
	for (unsigned i = 0; i < CODE_RUN_PAGES; i++, page += 0x1000)
		if (page >= gpa && page <= last) {
			run->words[i] = 0;
			run->heat[i] = run->losses[i] = 0;
		}
	return false;
}

void code_gone(struct code_index *index, uint64_t gpa, uint64_t last)
{
	pthread_mutex_lock(&index->lock);
	drop(index, gpa, last);
	for (unsigned i = 0; i < CODE_RUN_HASHES; i++) {
		struct code_run *_Atomic *at = &index->runs[i];

		while (*at) {
			struct code_run *run = *at;

			if (run_gone(run, gpa, last)) {
				*at = run->next;
				free(run);
			} else {
				at = &run->next;
			}
		}
	}
	pthread_mutex_unlock(&index->lock);
}

/* Of the run's pages, from gpa's to the one that holds `last`, which may be behind the run. */
static bool run_is_made_of(const struct code_run *run, uint64_t gpa, uint64_t last)
{
	uint64_t end = ((run->number + 1) << CODE_RUN_SHIFT) - 1;

	if (last > end)
		last = end;
	for (;;) {
		uint64_t page_last = gpa | 0xfff, size = (last < page_last ? last : page_last) - gpa + 1;

		if (atomic_load(&run->words[(gpa >> 12) % CODE_RUN_PAGES]) & code_granules(gpa, size))
			return true;
		if (page_last >= last)
			return false;
		gpa = page_last + 1;
	}
}

bool code_is_made_of(struct code_index *index, uint64_t gpa, uint64_t size)
{
	uint64_t last = gpa + size - 1;
	bool is_made = false;

	if (!size)
		return false;
	/* All of memory, as after a pause: not worth a look. */
	if (size > MUCH_MEMORY)
		return true;
	if (last < gpa)
		last = UINT64_MAX;
	/* Runs may go. The lock orders, besides, what was written before the look at the words. */
	pthread_mutex_lock(&index->lock);
	for (uint64_t number = gpa >> CODE_RUN_SHIFT; !is_made && number <= last >> CODE_RUN_SHIFT; number++) {
		const struct code_run *run = code_run_find(index, number << CODE_RUN_SHIFT);
		uint64_t start = number << CODE_RUN_SHIFT;

		is_made = run && run_is_made_of(run, start > gpa ? start : gpa, last);
	}
	pthread_mutex_unlock(&index->lock);
	return is_made;
}

void code_cool(struct code_index *index)
{
	for (unsigned i = 0; i < CODE_RUN_HASHES; i++)
		for (struct code_run *run = index->runs[i]; run; run = run->next)
			for (unsigned page = 0; page < CODE_RUN_PAGES; page++)
				run->heat[page] = run->heat[page] / 2;
}
