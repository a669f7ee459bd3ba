/*
 * Finding, making and comparing decoded blocks: code.h.
 */
#include "engine/run/interp/code.h"

#include <errno.h>

#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"

#define HOT_RUNS   65536 /* runs of hot blocks after which heat fades */
#define COPY_BYTES 64    /* of a block's code at a time */

struct interp_block block_alone = { .gpa = BLOCK_GPA_NONE, .size = 1, .flags = BLOCK_CROSSING };

/* -- freshness -- */

static uint64_t clock_now(const struct interp_cpu *interp)
{
	return atomic_load(&interp->store->clock);
}

static uint64_t *mapped_clock(struct interp_cpu *interp, uint64_t gpa)
{
	return &interp->mapped_clock[store_hash(gpa >> 12)];
}

static void see_epoch(struct interp_cpu *interp)
{
	if (interp->epoch == interp->cpu->code_epoch)
		return;
	interp->epoch = interp->cpu->code_epoch;
	interp->epoch_clock = clock_now(interp) + 1;
}

void block_page_mapped(struct interp_cpu *interp, uint64_t gpa)
{
	*mapped_clock(interp, gpa) = clock_now(interp) + 1;
}

/* What the clock must have been when a compare of gpa's code began. */
static uint64_t clock_needed(struct interp_cpu *interp, uint64_t gpa)
{
	uint64_t mapped = *mapped_clock(interp, gpa);

	see_epoch(interp);
	return interp->epoch_clock > mapped ? interp->epoch_clock : mapped;
}

bool block_is_fresh(struct interp_cpu *interp, const struct interp_block *block, uint64_t gpa)
{
	return atomic_load_explicit(&block->compared, memory_order_relaxed) >= clock_needed(interp, gpa);
}

/* A compare, or a copy, of gpa's code begins: the clock, which is what is needed at least. */
static uint64_t begin_compare(struct interp_cpu *interp, uint64_t gpa)
{
	uint64_t needed = clock_needed(interp, gpa), now = clock_now(interp);

	while (now < needed)
		if (atomic_compare_exchange_weak(&interp->store->clock, &now, needed))
			return needed;
	return now;
}

static bool is_equal(const struct interp_block *block, const uint8_t *code)
{
	return bytes_equal(block_source(block), code, block->size);
}

/* False: the block is not what memory holds. */
static bool compare(struct interp_cpu *interp, struct interp_block *block, uint64_t gpa, const uint8_t *code)
{
	uint64_t clock = begin_compare(interp, gpa);

	if (!is_equal(block, code))
		return false;
	atomic_store_explicit(&block->compared, clock, memory_order_relaxed);
	return true;
}

/* -- making one -- */

static void too_long(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* Which flags are read later decides, backwards from the block's end, where they need not be kept. */
static void choose_flagless(struct insn *insns, struct insn_form *forms, unsigned count)
{
	uint32_t live = FLAGS_ARITHMETIC;

	for (unsigned i = count; i-- > 0;) {
		struct insn *insn = &insns[i];
		insn_handler *flagless = forms[i].other;

		if (flagless && !(insn->flags_written & live)) {
			forms[i].other = insn->execute;
			insn->execute = flagless;
			insn->traits |= INSN_FLAGLESS;
		}
		/* Shifts and rotates by zero write nothing; undefined flags may mean unchanged ones: only
		 * instructions with a flagless form are known to write all that they name. */
		if (flagless)
			live &= ~insn->flags_written;
		else
			live |= forms[i].flags_undefined;
		live |= insn->flags_read;
		/* An exception shows all flags as they were before the instruction. */
		if (insn->traits & INSN_MAY_FAULT)
			live = FLAGS_ARITHMETIC;
	}
}

static void decode(struct cpu *cpu, struct block_draft *draft, const uint8_t *code, unsigned available)
{
	bool hot = draft->flags & BLOCK_HOT;
	unsigned count = 0, size = 0, copied = 0;

	if (available > BLOCK_BYTES_MAX)
		available = BLOCK_BYTES_MAX;
	while (count < BLOCK_INSNS_MAX && size < available) {
		struct insn *insn = &draft->insns[count];
		struct insn_form *form = &draft->forms[count];
		int rc;

		/* A piece at a time: most blocks are short. Each byte is read once. */
		while (copied < available && copied - size <= INSN_LENGTH_MAX) {
			unsigned piece = available - copied < COPY_BYTES ? available - copied : COPY_BYTES;

			bytes_copy(draft->source + copied, code + copied, piece);
			copied += piece;
		}
		rc = insn_decode_form(insn, form, draft->source + size, copied - size, cpu->mode, &cpu->rules);

		if (rc == -ENODATA)
			break;
		/* Which may show before the page's last byte; blocks end there. */
		if (rc == -E2BIG)
			insn_make_bad(insn, form, too_long,
				      available - size < INSN_LENGTH_MAX ? available - size : INSN_LENGTH_MAX);
		size += insn->length;
		count++;
		if (insn->ends_block || (hot && insn->traits & INSN_WRITES_MEMORY))
			break;
	}
	draft->count = count;
	draft->size = size;
}

/* NULL: there is no room for it. */
static struct interp_block *block_build(struct interp_cpu *interp, uint64_t gpa, const uint8_t *code,
					unsigned available)
{
	struct cpu *cpu = interp->cpu;
	struct block_draft draft;

	draft.gpa = gpa;
	draft.mode = block_mode(interp);
	draft.flags = code_is_hot(interp->store->index, gpa) ? BLOCK_HOT : 0;
	draft.compared = begin_compare(interp, gpa);
	decode(cpu, &draft, code, available);
	if (!draft.count) {
		draft.flags = BLOCK_CROSSING;
		draft.size = 1;
	}
	choose_flagless(draft.insns, draft.forms, draft.count);
	return store_add(interp, &draft);
}

/* -- finding one -- */

static bool block_is_current(struct interp_cpu *interp, struct interp_block *block, uint64_t gpa, const uint8_t *code)
{
	struct code_index *index = interp->store->index;

	if (block->flags & BLOCK_HOT) {
		if (++interp->hot_runs >= HOT_RUNS) {
			interp->hot_runs = 0;
			code_cool(index);
		}
		return code_is_hot(index, gpa) && is_equal(block, code);
	}
	return block->flags & BLOCK_CROSSING || block_is_fresh(interp, block, gpa) ||
	       compare(interp, block, gpa, code);
}

bool code_decoded(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available,
		  struct tier_decoded *decoded)
{
	struct interp_cpu *interp = interp_of(cpu);
	const struct interp_block *block = store_find(interp->store, gpa, block_mode(interp));

	if (!block || !block->count || block->size > available || !is_equal(block, code))
		return false;
	*decoded = (struct tier_decoded){block->insns, block_forms(block), block->count};
	return true;
}

/*
 * Stores to the block's code are to be noticed from here on. False: it is not what memory holds, or is no longer there,
 * or the CPU has waited.
 */
static bool mark(struct interp_cpu *interp, struct interp_block *block, uint64_t gpa, const uint8_t *code,
		 uint64_t evictions)
{
	struct interp_store *store = interp->store;

	code_mark(interp->cpu, gpa, block->size);
	/* If that has waited, its memory may be another's, and something else may be mapped here. */
	if (atomic_load(&store->evictions) != evictions || interp->cpu->requests)
		return false;
	/* Others may have stored to the code before the mark. */
	if (block_gpa(block) == BLOCK_GPA_NONE || !is_equal(block, code)) {
		fpu_leave(interp->cpu);
		store_remove(store, block);
		return false;
	}
	atomic_store_explicit(&block->is_marked, true, memory_order_release);
	return true;
}

struct interp_block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available)
{
	struct interp_cpu *interp = interp_of(cpu);
	struct interp_store *store = interp->store;
	uint64_t evictions = atomic_load(&store->evictions);
	struct interp_block *block = store_find(store, gpa, block_mode(interp));

	if (block && (block->size > available || !block_is_current(interp, block, gpa, code))) {
		fpu_leave(cpu);
		store_remove(store, block);
		block = NULL;
	}
	if (!block) {
		fpu_leave(cpu); /* the decoder may use vector registers, too */
		block = block_build(interp, gpa, code, available);
		if (!block)
			return store_make_room(interp, evictions) ? NULL : &block_alone;
	}
	if (block->flags || atomic_load_explicit(&block->is_marked, memory_order_acquire))
		return block;
	return mark(interp, block, gpa, code, evictions) ? block : NULL;
}
