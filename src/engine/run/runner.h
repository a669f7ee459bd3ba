/*
 * The room that executes CPUs, seen from outside: make a CPU with its tiers, run it, end it.
 *
 * A struct run_vm is what the CPUs of one VM share to execute: the code index, decoded blocks and the translations. A
 * struct runner is one CPU with the tiers that were chosen for it. Which tier runs when is the
 * dispatcher's business (dispatch.c); what a tier is says tier/tier.h.
 */
#ifndef KVIK_ENGINE_RUN_RUNNER_H
#define KVIK_ENGINE_RUN_RUNNER_H

#include "engine/run/direct/direct.h"
#include "engine/run/direct/experience.h"
#include "engine/run/jit/frame.h"
#include "engine/run/jit/jit.h"
#include "engine/run/tier/code_index.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/cpu.h"

/* Which tiers a CPU gets besides the interpreter. */
enum run_choice {
	RUN_BEST,        /* the translator, and ring 3 directly where that pays; as the host allows it */
	RUN_INTERPRETED, /* none */
	RUN_TRANSLATED,  /* the translator, or an error */
	RUN_DIRECT,      /* ring 3 always directly, where the host allows it; else as RUN_BEST */
	RUN_DIRECT_COMPARED, /* likewise, compared with the interpreter at each crossing: for one CPU */
	RUN_LOCKSTEP,    /* the translator, compared with the interpreter block by block: for one CPU */
};

struct run_vm {
	struct code_index code;
	struct jit_options options;
	const struct stub_source *stubs; /* for direct execution; NULL: there are none */
	uint32_t tsc_khz;                /* the host's; for direct execution */
	struct direct_memory memory;     /* what stubs can map; before the first CPU */
	struct experiences experiences;  /* of all CPUs, with programs */
	struct interp_store *decoded;    /* made with the first CPU; NULL */
	struct jit_cache *translations; /* made with the first CPU that wants them; NULL */
};

/* `options` is for translations. */
void run_vm_init(struct run_vm *vm, const struct jit_options *options);
void run_vm_destroy(struct run_vm *vm); /* its CPUs have ended */

/* Whether CPUs of this choice may run programs unmodified, which then read the host's TSC. */
bool run_may_be_direct(const struct run_vm *vm, enum run_choice choice);

/*
 * Memory [gpa, last] is no longer there, or is other memory now: all code made from it goes. Inside an
 * exclusive section. CPUs have to flush their TLBs besides.
 */
void run_vm_memory_gone(struct run_vm *vm, uint64_t gpa, uint64_t last);

/* [gpa, gpa + size) was written by others than the CPUs: code_written_outside. Any thread. */
void run_vm_written(struct run_vm *vm, uint64_t gpa, uint64_t size);

struct runner {
	/* The CPU, and behind it, at a fixed distance, what translated code has of it: first. */
	struct jit_cpu cpu;
	struct tiers tiers;
};

/*
 * Make a CPU of the VM (cpu_create) with its tiers. CPUs of a VM are made one at a time; others may run
 * meanwhile, but translations that one made while it was alone are to be dropped before this one runs.
 * `runner` is of zeroes: from the kernel, those of its tables that are not used cost nothing. 0, -ENOMEM,
 * or why there is no translator.
 */
int runner_create(struct runner *runner, struct run_vm *vm, enum run_choice choice, unsigned id,
		  struct kvm_run *run, const struct cpu_platform *platform, void *platform_context);
void runner_destroy(struct runner *runner);

/* Execute until something stops it. The CPU's own thread. */
enum cpu_exit cpu_run(struct cpu *cpu);
/* The part of it that executes instructions: until cpu->requests or cpu->is_leaving is set. Unwinds. */
void tiers_run(struct cpu *cpu);

/* Show the counters of all its tiers. */
void runner_visit_counters(const struct runner *runner, tier_visitor *visit, void *context);

#endif
