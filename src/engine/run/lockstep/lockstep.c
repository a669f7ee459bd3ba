/*
 * How two engines execute the same block on one memory: the interpreter first, while what each
 * store overwrites is noted (struct memory_watch). Then memory and registers are put back, the
 * translation runs, and registers, flags and the bytes that the interpreter had written must be the
 * same, at the address where the translation leaves the block.
 *
 * For that, blocks are neither linked nor found by jumps in this mode, so each run is one pass. The
 * comparison ends before the first instruction that is the interpreter's in either engine: among
 * those is all that must not happen twice. What turns out not to be repeatable (an access to a
 * device, a fault, a store to code) unwinds, and the block runs without comparison.
 *
 * Flags are compared where they are defined and may still be read (jit/analyse/flags.c).
 */
#include "engine/run/lockstep/lockstep.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run/jit/watch.h"
#include "engine/run/tier/catch.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"

#define REPORTS_MAX 20

#define STORE_LOG_ENTRIES 256
#define STORE_LOG_BYTES   64

/* What the interpreter's stores have overwritten, in order. */
struct store_log {
	unsigned count;
	struct {
		uint8_t *hva;
		unsigned size;
		uint8_t before[STORE_LOG_BYTES];
	} entries[STORE_LOG_ENTRIES];
};

struct state {
	uint64_t gpr[CPU_REGISTERS];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base, kernel_gs_base;
	uint64_t shadow_rip; /* 0: there is no interrupt shadow */
	uint8_t interrupt_shadow;
};

struct lockstep {
	struct jit_watcher watcher; /* first: lockstep_of */
	struct memory_watch watch;
	struct store_log log;
	uint8_t after[STORE_LOG_ENTRIES][STORE_LOG_BYTES]; /* what the interpreter left there */
	struct state states[JIT_SCRIPT_STEPS + 1]; /* before each instruction, and at the end */
	unsigned done;          /* instructions that the interpreter has executed */
	bool is_armed;          /* there is something to compare with */
	bool stops_at_fallback;
	const struct jit_script *script; /* of the block that runs */
	uint64_t host_generation; /* of the log's host addresses */
	uint8_t image[FPU_AREA_SIZE], image_after[FPU_AREA_SIZE];
	struct fpu fpu_before;
	uint64_t x87_pointer_after;
	uint64_t compared, skipped, abandoned;
};

/* Nothing that could be taken back. */
static void give_up(struct memory_watch *watch, struct cpu *cpu)
{
	(void)watch;
	cpu_unwind(cpu, UNWIND_EVENT);
}

static void note_store(struct memory_watch *watch, struct cpu *cpu, uint8_t *hva, unsigned size)
{
	struct lockstep *lockstep =
		(struct lockstep *)((char *)watch - offsetof(struct lockstep, watch));
	struct store_log *log = &lockstep->log;

	if (log->count == STORE_LOG_ENTRIES || size > STORE_LOG_BYTES)
		give_up(watch, cpu);
	log->entries[log->count].hva = hva;
	log->entries[log->count].size = size;
	bytes_copy(log->entries[log->count].before, hva, size);
	log->count++;
}

static void save_state(const struct cpu *cpu, struct state *state)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		state->gpr[i] = cpu->gpr[i];
	state->rip = cpu->rip;
	state->rflags = cpu->rflags;
	state->fs_base = cpu->segment[CPU_FS].base;
	state->gs_base = cpu->segment[CPU_GS].base;
	state->kernel_gs_base = cpu->kernel_gs_base;
	state->interrupt_shadow = cpu->interrupt_shadow;
	state->shadow_rip = cpu->interrupt_shadow ? cpu->shadow_rip : 0;
}

static void load_state(struct cpu *cpu, const struct state *state)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		cpu->gpr[i] = state->gpr[i];
	cpu->rip = state->rip;
	cpu->rflags = state->rflags;
	cpu->segment[CPU_FS].base = state->fs_base;
	cpu->segment[CPU_GS].base = state->gs_base;
	cpu->kernel_gs_base = state->kernel_gs_base;
	cpu->interrupt_shadow = state->interrupt_shadow;
	cpu->shadow_rip = state->shadow_rip;
}

static bool is_repeated(const struct insn *insn)
{
	return insn->prefixes & (INSN_REP | INSN_REPNE);
}

/* A string instruction may do a portion of its iterations and come again: here, until it is over, as translated code
 * does where memory allows it. */
static void interpret_one(struct cpu *cpu, const struct insn *insn)
{
	uint64_t at = cpu->rip, count;

	do {
		count = cpu->gpr[CPU_RCX];
		cpu->insn = insn;
		cpu->next_rip = at + insn->length;
		insn->execute(cpu, insn);
		cpu->rip = cpu_wrap_rip(cpu, cpu->next_rip);
	} while (is_repeated(insn) && cpu->rip == at && cpu->gpr[CPU_RCX] != count);
}

/* Run the script. Unwinds where that isn't repeatable. */
static void interpret(struct cpu *cpu, struct lockstep *lockstep,
		      const struct jit_script *script)
{
	for (unsigned i = 0; i < script->count; i++) {
		const struct insn *insn = &script->steps[i].insn;
		uint64_t next = cpu->rip + insn->length;

		save_state(cpu, &lockstep->states[i]);
		interpret_one(cpu, insn);
		lockstep->done = i + 1;
		if (cpu->rip != next)
			break;
	}
	save_state(cpu, &lockstep->states[lockstep->done]);
}

/* Take back what was written, and remember it. */
static void undo(struct lockstep *lockstep)
{
	struct store_log *log = &lockstep->log;

	for (unsigned i = 0; i < log->count; i++)
		bytes_copy(lockstep->after[i], log->entries[i].hva, log->entries[i].size);
	for (unsigned i = log->count; i-- > 0;)
		bytes_copy(log->entries[i].hva, log->entries[i].before, log->entries[i].size);
}

static bool interpret_and_undo(struct cpu *cpu, struct lockstep *lockstep,
			       const struct jit_script *script)
{
	struct cpu_event exception = cpu->exception;
	uint32_t stop = cpu->requests & CPU_REQUEST_STOP_BLOCK;
	uint64_t cr2 = cpu->cr2, debug_pending = cpu->debug_pending;
	volatile bool is_complete = false;
	struct state start;
	struct catch catch;

	save_state(cpu, &start);
	lockstep->log.count = 0;
	lockstep->done = 0;
	catch_begin(&catch, cpu);
	if (setjmp(catch.place) == 0) {
		cpu->watch = &lockstep->watch;
		tlb_update(cpu); /* all accesses take the slow path */
		interpret(cpu, lockstep, script);
		is_complete = true;
	}
	cpu->watch = NULL;
	catch_end(&catch, cpu);
	fpu_leave(cpu);
	undo(lockstep);
	load_state(cpu, &start);
	tlb_update(cpu);
	/* STI asks for it where an interrupt waits. */
	if (!stop)
		atomic_fetch_and(&cpu->requests, ~(uint32_t)CPU_REQUEST_STOP_BLOCK);
	cpu->exception = exception;
	cpu->cr2 = cr2;
	cpu->debug_pending = debug_pending;
	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	return is_complete;
}

static struct lockstep *lockstep_of(struct jit_watcher *watcher)
{
	return (struct lockstep *)watcher;
}

/* Have the interpreter's handlers execute the block, and take that back. */
static void before(struct jit_watcher *watcher, struct cpu *cpu, const struct jit_script *script)
{
	struct lockstep *lockstep = lockstep_of(watcher);
	bool was_live = cpu->fpu.live;

	lockstep->is_armed = false;
	lockstep->host_generation = cpu->tlb_sets.host_generation;
	if (!script) {
		lockstep->skipped++;
		return;
	}
	fpu_leave(cpu);
	if (script->has_vectors) {
		bytes_copy(lockstep->image, cpu->fpu.area, FPU_AREA_SIZE);
		lockstep->fpu_before = cpu->fpu;
	}
	lockstep->is_armed = interpret_and_undo(cpu, lockstep, script);
	if (script->has_vectors) {
		bytes_copy(lockstep->image_after, cpu->fpu.area, FPU_AREA_SIZE);
		lockstep->x87_pointer_after = cpu->fpu.fip;
		bytes_copy(cpu->fpu.area, lockstep->image, FPU_AREA_SIZE);
		cpu->fpu.fip = lockstep->fpu_before.fip;
		cpu->fpu.fdp = lockstep->fpu_before.fdp;
		cpu->fpu.fop = lockstep->fpu_before.fop;
	}
	if (was_live || script->has_vectors)
		fpu_enter(cpu);
	lockstep->abandoned += !lockstep->is_armed;
	lockstep->stops_at_fallback = script->ends_in_fallback && lockstep->done == script->count;
	lockstep->script = script;
}

/* Whether the CPU is in the state that the interpreter had before step `n`. */
static bool state_equal(const struct cpu *cpu, const struct lockstep *lockstep, unsigned n)
{
	const struct state *state = &lockstep->states[n];
	const struct jit_script *script = lockstep->script;
	uint64_t ignored = FLAGS_ARITHMETIC & ~(n ? script->steps[n - 1].flags : FLAGS_ARITHMETIC);

	return bytes_equal(cpu->gpr, state->gpr, sizeof(state->gpr)) && cpu->rip == state->rip &&
	       !((cpu->rflags ^ state->rflags) & ~ignored) &&
	       cpu->segment[CPU_FS].base == state->fs_base &&
	       cpu->segment[CPU_GS].base == state->gs_base &&
	       cpu->kernel_gs_base == state->kernel_gs_base &&
	       cpu->interrupt_shadow == state->interrupt_shadow &&
	       (!cpu->interrupt_shadow || cpu->shadow_rip == state->shadow_rip);
}

/* It has left in the midst of a string instruction that it gave to the interpreter. */
static bool is_inside_string(const struct cpu *cpu, const struct lockstep *lockstep)
{
	for (unsigned n = 0; n < lockstep->done; n++)
		if (cpu->rip == lockstep->states[n].rip && is_repeated(&lockstep->script->steps[n].insn))
			return true;
	return false;
}

static bool memory_equal(const struct lockstep *lockstep)
{
	const struct store_log *log = &lockstep->log;

	for (unsigned i = 0; i < log->count; i++)
		if (!bytes_equal(log->entries[i].hva, lockstep->after[i], log->entries[i].size))
			return false;
	return true;
}

static bool part_equal(const uint8_t *a, const uint8_t *b, unsigned component, unsigned offset,
		       unsigned size)
{
	uint64_t held = bytes_load64(a + FPU_IMAGE_XSTATE_BV) & bytes_load64(b + FPU_IMAGE_XSTATE_BV);

	/* What is in its initial state on one side is not written there. */
	return !(held >> component & 1) || bytes_equal(a + offset, b + offset, size);
}

static bool vectors_equal(struct cpu *cpu, const struct lockstep *lockstep)
{
	const uint8_t *ours = cpu->fpu.area, *theirs = lockstep->image_after;

	if (!lockstep->script->has_vectors)
		return true;
	fpu_leave(cpu);
	if (cpu->fpu.fip != lockstep->x87_pointer_after)
		return false;
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if (fpu_layout.size[i] &&
		    !part_equal(ours, theirs, i, fpu_layout.offset[i], fpu_layout.size[i]))
			return false;
	return part_equal(ours, theirs, 0, FPU_IMAGE_FCW, 5) &&
	       part_equal(ours, theirs, 0, FPU_IMAGE_ST, 128) &&
	       bytes_load32(ours + FPU_IMAGE_MXCSR) == bytes_load32(theirs + FPU_IMAGE_MXCSR) &&
	       part_equal(ours, theirs, 1, FPU_IMAGE_XMM, 256);
}

static void report(struct cpu *cpu, const struct lockstep *lockstep, const char *what)
{
	const struct jit_script *script = lockstep->script;
	const struct state *state = &lockstep->states[lockstep->done];

	fpu_leave(cpu);
	fprintf(stderr, "lockstep: %s differ: block at %lx, %u of %u instructions, rip %lx, not %lx, "
		"rflags %lx, not %lx (%x of them count)\n", what, lockstep->states[0].rip,
		lockstep->done, script->count, cpu->rip, state->rip, cpu->rflags, state->rflags,
		script->steps[lockstep->done - 1].flags);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (cpu->gpr[i] != state->gpr[i])
			fprintf(stderr, "  register %u is %lx, not %lx; was %lx\n", i, cpu->gpr[i],
				state->gpr[i], lockstep->states[0].gpr[i]);
	for (unsigned i = 0; i < script->count; i++)
		fprintf(stderr, "  %s", ZydisMnemonicGetString(script->steps[i].insn.mnemonic));
	fprintf(stderr, "\n");
}

static void compare(struct lockstep *lockstep, struct cpu *cpu)
{
	const char *what = NULL;

	lockstep->is_armed = false;
	if (cpu->tlb_sets.host_generation != lockstep->host_generation) {
		lockstep->abandoned++;
		return;
	}
	if (state_equal(cpu, lockstep, lockstep->done)) {
		if (!memory_equal(lockstep))
			what = "stores";
		else if (!vectors_equal(cpu, lockstep))
			what = "vector registers";
	} else if (is_inside_string(cpu, lockstep)) {
		lockstep->abandoned++;
		return;
	} else {
		/* It may have left early, behind an instruction that it gave to the interpreter. */
		what = "registers";
		for (unsigned n = 1; n < lockstep->done; n++)
			if (state_equal(cpu, lockstep, n))
				what = NULL;
	}
	lockstep->compared++;
	if (what && lockstep->watcher.differences++ < REPORTS_MAX)
		report(cpu, lockstep, what);
}

static void after(struct jit_watcher *watcher, struct cpu *cpu)
{
	struct lockstep *lockstep = lockstep_of(watcher);

	if (lockstep->is_armed)
		compare(lockstep, cpu);
}

static void fallback(struct jit_watcher *watcher, struct cpu *cpu, uint64_t rip)
{
	struct lockstep *lockstep = lockstep_of(watcher);

	if (lockstep->is_armed && lockstep->stops_at_fallback &&
	    rip == lockstep->states[lockstep->done].rip)
		compare(lockstep, cpu);
}

static void end(struct jit_watcher *watcher)
{
	struct lockstep *lockstep = lockstep_of(watcher);

	fprintf(stderr, "lockstep: %lu runs compared, %lu not, %lu not repeatable, %lu differences\n",
		lockstep->compared, lockstep->skipped, lockstep->abandoned, lockstep->watcher.differences);
	free(lockstep);
}

int lockstep_attach(struct cpu *cpu)
{
	struct lockstep *lockstep = calloc(1, sizeof(*lockstep));

	if (!lockstep)
		return -ENOMEM;
	lockstep->watcher = (struct jit_watcher){ before, after, fallback, end, 0 };
	lockstep->watch = (struct memory_watch){ .store = note_store, .lasting = give_up };
	jit_watch(cpu, &lockstep->watcher);
	return 0;
}
