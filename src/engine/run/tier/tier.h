/*
 * A tier: one way to execute a CPU's instructions. The interpreter is one, the translator another.
 *
 * A tier knows the CPU (engine/x86) and this room, and no other tier. The dispatcher (run/dispatch.c)
 * asks a CPU's tiers in order, the fastest first, and goes to the next where one declines; the last of
 * them, the interpreter, declines nothing. What a tier keeps it hangs on tiers->state, and drops when
 * it hears by the functions below, or as a holder of code (code_index.h), that it is void.
 *
 * Where a function below does not say otherwise it is called on the CPU's own thread, and may be NULL.
 */
#ifndef KVIK_ENGINE_RUN_TIER_TIER_H
#define KVIK_ENGINE_RUN_TIER_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/tier/activity.h"
#include "engine/x86/cpu.h"
#include "engine/x86/observer.h"

/* Why a tier has stopped. The CPU is between two instructions. */
enum tier_stop {
	TIER_INTERRUPTED, /* cpu->requests or cpu->is_leaving is set */
	TIER_DECLINES,    /* what is at cpu->rip is another tier's */
};

/* A straight run of instructions, as a tier has decoded them. Handlers may be those for dead flags
 * (INSN_FLAGLESS). */
struct tier_decoded {
	const struct insn *insns;
	const struct insn_form *forms;
	unsigned count;
};

typedef void tier_visitor(void *context, const char *name, uint64_t value);

struct tier {
	const char *name;

	/* -- execution; exceptions and exits unwind out of these (x86/exception.h) -- */

	/* Around calls of the others, which may unwind past `leave`. Between them only tiers run. */
	void (*enter)(struct cpu *cpu);
	void (*leave)(struct cpu *cpu);
	/* Execute from cpu->rip on until cpu->requests is set, or something is to be declined. Never NULL. */
	enum tier_stop (*run)(struct cpu *cpu);
	/* Of the last tier, never NULL there: execute a little, at least one instruction unless a request
	 * comes in between, and return for the others to go on. */
	void (*run_piece)(struct cpu *cpu);
	/* Likewise: exactly one instruction, or one portion of a string instruction's iterations (one
	 * iteration while RFLAGS.TF is set), whatever cpu->requests says. */
	void (*run_one)(struct cpu *cpu);

	/* -- observation: as x86/observer.h has it -- */

	void (*tlb_changed)(struct cpu *cpu, enum tlb_change change, uint64_t where);
	void (*access_changed)(struct cpu *cpu);
	void (*fetch_mapped)(struct cpu *cpu, uint64_t gpa);
	/* Whether guest code may write gpa's page by other ways than the TLB's, without asking whether it holds code.
	 * It is noted, and asked, as tlb.h has it. On any CPU's thread that is inside the guest. */
	bool (*may_write)(const struct cpu *cpu, uint64_t gpa);
	/* Whether it may as long as the CPU is apart (vm/exclusive.h), and until tlb_changed said otherwise before. Exact. Inside
	 * an exclusive section, perhaps another CPU's, with a lock held. */
	bool (*writes_apart)(const struct cpu *cpu, uint64_t gpa);

	/* -- the rest -- */

	/* Of the last tier: what it has decoded from gpa on, in cpu->mode, if it was from the very bytes at
	 * `code`, of which there are `available`. False: nothing. Good until the tier executes anything, or the
	 * CPU waits for an exclusive section. */
	bool (*decoded)(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available,
			struct tier_decoded *decoded);

	/* The CPU ends: free what there is in tiers->state. Never NULL. */
	void (*detach)(struct cpu *cpu);
	/* Show the counters, for people. Any thread; numbers may be a little old. */
	void (*visit_counters)(const struct cpu *cpu, tier_visitor *visit, void *context);
};

/* Where each tier keeps what it has of a CPU. */
enum tier_slot { TIER_INTERPRETER, TIER_TRANSLATOR, TIER_DIRECT, TIER_SLOTS };

struct code_index;

/* A CPU's tiers: cpu->tiers. */
struct tiers {
	struct cpu *cpu;
	const struct tier *order[TIER_SLOTS]; /* `count` of them, the fastest first */
	unsigned count;
	void *state[TIER_SLOTS];
	struct code_index *code; /* the VM's */
	uint32_t doubts_seen;    /* of those of the code index: code_outside.c */
	struct tiers *next;      /* of the same VM: code_index.c */
	struct activity activity; /* others may look at it */
	uint64_t ticks_elsewhere; /* host TSC: in which it was executed, but not by its own thread (run/direct) */
	uint8_t cold_runs;        /* see tiers_leave_cold; a faster tier sets it when it is added */
};

/* The activity that begins now. */
static inline void cpu_begins(struct cpu *cpu, enum cpu_activity activity)
{
	activity_begins(&cpu->tiers->activity, activity);
}

static inline void *tier_state(const struct cpu *cpu, enum tier_slot slot)
{
	return cpu->tiers->state[slot];
}

/* The tier that takes everything. */
static inline const struct tier *tier_last(const struct cpu *cpu)
{
	return cpu->tiers->order[cpu->tiers->count - 1];
}

/*
 * Whether the last tier may go on by itself, within a piece, with code that it has run less than `cold_runs` times since
 * it was last asked to: the others would decline that. Not where user code may be run directly, which need not be warm.
 */
static inline bool tiers_leave_cold(const struct cpu *cpu)
{
	return cpu->tiers->cold_runs && (cpu->cpl != 3 || !tier_state(cpu, TIER_DIRECT));
}

/* See `decoded`. */
static inline bool tier_find_decoded(struct cpu *cpu, uint64_t gpa, const uint8_t *code,
				     unsigned available, struct tier_decoded *decoded)
{
	const struct tier *last = tier_last(cpu);

	return last->decoded && last->decoded(cpu, gpa, code, available, decoded);
}

/*
 * A handler for an instruction of which a tier knows only where it begins, such as one that reaches into
 * the next page: the last tier executes whatever is there now. `insn` says nothing more.
 */
void tier_execute_elsewhere(struct cpu *cpu, const struct insn *insn);

/* One more, slower than those that are there. */
static inline void tier_add(struct cpu *cpu, const struct tier *tier)
{
	cpu->tiers->order[cpu->tiers->count++] = tier;
}

#endif
