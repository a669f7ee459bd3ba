/*
 * The inner loop, and how it finds the next block.
 *
 * The common way from block to block takes no function call: a direct-mapped table by linear
 * address, whose hit counts while no translation, mode or epoch has changed since. If one has, it
 * still counts if the fetch TLB maps that page to the block's page right now.
 * Within a block nothing is looked at between instructions except CPU_REQUEST_STOP_BLOCK; other
 * requests wait for the block's end, where RFLAGS is exact whatever flags were dead inside.
 */
#include "engine/run/interp/interp.h"

#include <errno.h>

#include "engine/x86/breakpoint.h"
#include "engine/x86/bytes.h"
#include "engine/run/interp/code.h"
#include "engine/x86/exception.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/system.h"
#include "util/page.h"

/* The guest runs code where there is no memory: nothing that the engine could emulate. */
static _Noreturn void fetch_failed(struct cpu *cpu)
{
	if (cpu->run) {
		cpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		cpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
		cpu->run->internal.ndata = 0;
	}
	cpu_exit_to_user(cpu);
}

/* Bytes from cpu->rip to the end of its page or of the code segment; raises #GP(0) beyond that. */
static unsigned fetch_available(struct cpu *cpu, uint64_t gva)
{
	unsigned in_page = PAGE_SIZE - (gva & (PAGE_SIZE - 1));

	if (!cpu_is_64(cpu)) {
		uint32_t limit = cpu->segment[CPU_CS].limit;

		if ((uint32_t)cpu->rip > limit)
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		if (limit - (uint32_t)cpu->rip < in_page - 1)
			return limit - (uint32_t)cpu->rip + 1;
	}
	return in_page;
}

static struct single_insn *single_of(struct cpu *cpu, uint64_t gva)
{
	return &interp_of(cpu)->singles[(gva ^ gva >> 6) % SINGLE_INSNS];
}

/*
 * The code behind the page end that an instruction at gva reaches after `size` bytes; *rest is how
 * many bytes of it the segment's limit allows. Faults as the fetch that it is.
 */
static const uint8_t *fetch_rest(struct cpu *cpu, uint64_t gva, unsigned size, unsigned *rest)
{
	uint64_t next = gva + size, gpa;
	const uint8_t *code;

	*rest = INSN_LENGTH_MAX - size;
	if (!cpu_is_64(cpu)) {
		uint32_t left = cpu->segment[CPU_CS].limit - (uint32_t)cpu->rip;

		next = (uint32_t)next;
		if (left < size)
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		if (left - size < *rest - 1)
			*rest = left - size + 1;
	}
	code = lin_fetch_pointer(cpu, next, &gpa);
	if (!code)
		fetch_failed(cpu);
	return code;
}

/* Whether `single` is still what the bytes at gva mean; `available` of them are at `code`. */
static bool single_is_current(struct cpu *cpu, const struct single_insn *single, uint64_t gva,
			      const uint8_t *code, unsigned available)
{
	unsigned length = single->insn.length, rest;

	if (!length || single->mode != cpu->mode)
		return false;
	if (length <= available)
		return bytes_equal(single->bytes, code, length);
	/* A fetch must not fault for nothing: the rest only if the beginning asks for it. */
	if ((gva + available) % PAGE_SIZE || !bytes_equal(single->bytes, code, available))
		return false;
	code = fetch_rest(cpu, gva, available, &rest);
	return length - available <= rest &&
	       bytes_equal(single->bytes + available, code, length - available);
}

/* The same from one state of the memory slots; NULL: they have changed since the first page was
 * looked up, because the second one's look-up waited. */
static const struct insn *fetch_single_once(struct cpu *cpu)
{
	uint64_t gva = cpu_linear_rip(cpu), gpa, generation;
	unsigned available = fetch_available(cpu, gva), rest;
	struct single_insn *single = single_of(cpu, gva);
	const uint8_t *code = lin_fetch_pointer(cpu, gva, &gpa);
	bool is_current;
	int rc;

	if (!code)
		fetch_failed(cpu);
	if (available > INSN_LENGTH_MAX)
		available = INSN_LENGTH_MAX;
	generation = cpu->tlb_sets.host_generation;
	is_current = single_is_current(cpu, single, gva, code, available);
	if (cpu->tlb_sets.host_generation != generation)
		return NULL;
	if (is_current)
		return &single->insn;

	single->mode = UINT32_MAX;
	bytes_copy(single->bytes, code, available);
	fpu_leave(cpu);
	rc = insn_decode(&single->insn, single->bytes, available, cpu->mode, &cpu->rules);
	if (rc == -ENODATA && (gva + available) % PAGE_SIZE == 0) {
		code = fetch_rest(cpu, gva, available, &rest);
		if (cpu->tlb_sets.host_generation != generation)
			return NULL;
		bytes_copy(single->bytes + available, code, rest);
		fpu_leave(cpu);
		rc = insn_decode(&single->insn, single->bytes, available + rest, cpu->mode,
		                 &cpu->rules);
	}
	if (rc)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	single->mode = cpu->mode;
	return &single->insn;
}

/* The instruction at cpu->rip, decoded anew unless its bytes are those of the last time. */
static const struct insn *fetch_single(struct cpu *cpu)
{
	const struct insn *insn;

	do {
		insn = fetch_single_once(cpu);
	} while (!insn);
	return insn;
}

static void run_one(struct cpu *cpu)
{
	const struct insn *insn;

	cpu->next_rip = cpu->rip;
	insn = fetch_single(cpu);
	cpu->insn = insn;
	cpu->next_rip = cpu->rip + insn->length;
	insn->execute(cpu, insn);
	cpu->rip = cpu_wrap_rip(cpu, cpu->next_rip);
	cpu->insn = NULL;
	interp_of(cpu)->instructions++;
	if (cpu->io.done | cpu->io.cursor)
		io_reset(cpu);
}

/*
 * All that a found block depends on besides its address and the TLB set: both counters only ever
 * grow, so their sum is new whenever one of them is.
 */
static inline uint64_t jump_key(const struct cpu *cpu)
{
	return (cpu->tlb_sets.generation + cpu->code_epoch) << 8 | cpu->mode;
}

/* Outside 64-bit mode code segments have limits. */
static inline bool block_in_limit(const struct cpu *cpu, const struct interp_block *block)
{
	uint32_t limit = cpu->segment[CPU_CS].limit;

	return cpu->mode & CPU_MODE_FLAT || cpu_is_64(cpu) ||
	       (cpu->rip <= limit && block->size <= (uint64_t)limit - cpu->rip + 1);
}

static void jump_remember(struct cpu *cpu, uint64_t gva, struct interp_block *block)
{
	struct interp_cpu *interp = interp_of(cpu);

	*jump_entry_of(interp, gva) = (struct jump_entry){
		.gva = gva, .block = block, .key = jump_key(cpu), .tlb = cpu->tlb,
	};
	interp->has_jumps = true;
}

/* The block found here before if the fetch TLB leads to it now. */
static struct interp_block *block_by_tlb(struct cpu *cpu, uint64_t gva)
{
	struct interp_cpu *interp = interp_of(cpu);
	const struct jump_entry *jump = jump_entry_of(interp, gva);
	const struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);
	struct interp_block *block = jump->block;
	uint64_t page = cpu->tlb->gpa[entry - cpu->tlb->entries], gpa;

	if (!block || jump->gva != gva || entry->tag_execute != (gva & ~0xfffull))
		return NULL;
	gpa = block_gpa(block);
	if ((page ^ gpa) >= PAGE_SIZE || block->mode != block_mode(interp) ||
	    !block_is_fresh(interp, block, gpa) || !block_in_limit(cpu, block))
		return NULL;
	jump_remember(cpu, gva, block);
	return block;
}

/*
 * The long way to the block at cpu->rip: through the TLB, the store, the decoder. NULL: look again.
 * An empty block means that run_one must run the instruction.
 */
static __attribute__((noinline)) struct interp_block *find_any_block(struct cpu *cpu, uint64_t gva)
{
	struct interp_block *block = block_by_tlb(cpu, gva);
	const uint8_t *code;
	unsigned available;
	uint64_t gpa;

	if (block)
		return block;
	/* A fault from here on is no instruction's of the last block. */
	interp_of(cpu)->running = NULL;
	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	available = fetch_available(cpu, gva);
	code = lin_fetch_pointer(cpu, gva, &gpa);
	if (!code)
		fetch_failed(cpu);
	block = code_block(cpu, gpa, code, available);
	if (block && !block->flags)
		jump_remember(cpu, gva, block);
	return block;
}

/* The same while there are code breakpoints: none has one behind its first instruction, nor is jumped to
 * without being looked at. NULL also where the dispatcher must stop. */
static struct interp_block *find_unbroken_block(struct cpu *cpu, uint64_t gva)
{
	struct interp_block *block;

	if (breakpoint_code_hits(cpu, gva, 1)) {
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
		return NULL;
	}
	block = find_any_block(cpu, gva);
	if (!block || !breakpoint_code_hits(cpu, gva, block->size))
		return block;
	*jump_entry_of(interp_of(cpu), gva) = (struct jump_entry){0};
	return &block_alone;
}

static __attribute__((noinline)) struct interp_block *find_block(struct cpu *cpu, uint64_t gva)
{
	return cpu->code_breakpoints ? find_unbroken_block(cpu, gva) : find_any_block(cpu, gva);
}

/* The block that was found at gva last, while nothing has happened that could make it another; or NULL. */
static inline struct interp_block *block_at_hand(const struct cpu *cpu, struct interp_cpu *interp, uint64_t gva)
{
	const struct jump_entry *jump = jump_entry_of(interp, gva);
	struct interp_block *block = jump->block;

	if (__builtin_expect(jump->gva == gva && jump->key == jump_key(cpu) &&
			     jump->tlb == cpu->tlb && block_in_limit(cpu, block) &&
			     block_gpa(block) != BLOCK_GPA_NONE, 1))
		return block;
	return NULL;
}

static inline struct interp_block *next_block(struct cpu *cpu, struct interp_cpu *interp)
{
	uint64_t gva = cpu_linear_rip(cpu);
	struct interp_block *block = block_at_hand(cpu, interp, gva);

	return __builtin_expect(block != NULL, 1) ? block : find_block(cpu, gva);
}

static inline void run_block(struct cpu *cpu, struct interp_cpu *interp, const struct interp_block *block)
{
	const struct insn *insn = block->insns, *end = insn + block->count;
	uint64_t rip = cpu->rip;

	interp->running = block;
	do {
		cpu->insn = insn;
		cpu->rip = rip;
		rip += insn->length;
		cpu->next_rip = rip;
		insn->execute(cpu, insn);
		insn++;
	} while (insn != end && !(cpu->requests & CPU_REQUEST_STOP_BLOCK));
	cpu->rip = cpu_wrap_rip(cpu, cpu->next_rip);
	interp->instructions += insn - block->insns;
}

/* -- the tier -- */

/* Count what a block had completed when an exception unwound out of it. */
static void enter(struct cpu *cpu)
{
	struct interp_cpu *interp = interp_of(cpu);
	const struct interp_block *block = interp->running;

	if (block && cpu->insn >= block->insns && cpu->insn < block->insns + block->count)
		interp->instructions += cpu->insn - block->insns;
	interp->running = NULL;
	cpu->insn = NULL;
	if (interp->rules_changes != cpu->rules_changes) {
		fpu_leave(cpu);
		store_take_rules(interp);
	}
}

static void leave(struct cpu *cpu)
{
	interp_of(cpu)->running = NULL;
	cpu->insn = NULL;
	if (cpu->io.done | cpu->io.cursor)
		io_reset(cpu);
}

static inline __attribute__((always_inline)) void run_next(struct cpu *cpu,
							   struct interp_cpu *interp)
{
	struct interp_block *block = next_block(cpu, interp);

	if (__builtin_expect(!block, 0))
		return;
	if (__builtin_expect(!block->count, 0))
		run_one(cpu);
	else
		run_block(cpu, interp, block);
}

/* The block at cpu->rip if it is at hand and cold, which is counted; else NULL. */
static inline struct interp_block *next_cold_block(const struct cpu *cpu, struct interp_cpu *interp)
{
	struct interp_block *block = block_at_hand(cpu, interp, cpu_linear_rip(cpu));

	uint8_t runs;

	if (!block)
		return NULL;
	runs = atomic_load_explicit(&block->cold_runs, memory_order_relaxed);
	if (runs >= cpu->tiers->cold_runs)
		return NULL;
	atomic_store_explicit(&block->cold_runs, (uint8_t)(runs + 1), memory_order_relaxed);
	return block;
}

static void run_piece(struct cpu *cpu)
{
	struct interp_cpu *interp = interp_of(cpu);
	struct interp_block *block;

	cpu_begins(cpu, CPU_INTERPRETS);
	run_next(cpu, interp);
	while (!cpu->requests && !cpu->is_leaving && tiers_leave_cold(cpu) && (block = next_cold_block(cpu, interp)))
		run_block(cpu, interp, block);
	interp->running = NULL;
}

static enum tier_stop run(struct cpu *cpu)
{
	struct interp_cpu *interp = interp_of(cpu);

	cpu_begins(cpu, CPU_INTERPRETS);
	while (!cpu->requests)
		run_next(cpu, interp);
	return TIER_INTERRUPTED;
}

static void fetch_mapped(struct cpu *cpu, uint64_t gpa)
{
	block_page_mapped(interp_of(cpu), gpa);
}

static void detach(struct cpu *cpu)
{
	interp_cpu_destroy(interp_of(cpu));
	cpu->tiers->state[TIER_INTERPRETER] = NULL;
}

struct interp_statistics interp_get_statistics(const struct cpu *cpu)
{
	const struct interp_cpu *interp = interp_of(cpu);

	return (struct interp_statistics){ .instructions = interp->instructions,
					   .blocks = interp->decoded };
}

static void visit_counters(const struct cpu *cpu, tier_visitor *visit, void *context)
{
	struct interp_statistics statistics = interp_get_statistics(cpu);

	visit(context, "instructions of the interpreter", statistics.instructions);
	visit(context, "blocks decoded", statistics.blocks);
}

static const struct tier interpreter = {
	.name = "interpreter",
	.enter = enter,
	.leave = leave,
	.run = run,
	.run_piece = run_piece,
	.run_one = run_one,
	.fetch_mapped = fetch_mapped,
	.decoded = code_decoded,
	.detach = detach,
	.visit_counters = visit_counters,
};

int interp_attach(struct cpu *cpu, struct interp_store *store)
{
	struct interp_cpu *interp = interp_cpu_create(cpu, store);

	if (!interp)
		return -ENOMEM;
	cpu->tiers->state[TIER_INTERPRETER] = interp;
	tier_add(cpu, &interpreter);
	return 0;
}
