/*
 * Catching what unwinds out of an instruction (x86/exception.h), with setjmp:
 *
 *	struct catch catch;
 *
 *	catch_begin(&catch, cpu);
 *	switch (setjmp(catch.place)) { case 0: execute ...; case UNWIND_EVENT: ... }
 *	catch_end(&catch, cpu);
 *
 * They nest, innermost first. The place is good for as long as the function that called setjmp runs.
 */
#ifndef KVIK_ENGINE_RUN_TIER_CATCH_H
#define KVIK_ENGINE_RUN_TIER_CATCH_H

#include <setjmp.h>

#include "engine/x86/cpu.h"
#include "engine/x86/exception.h"

struct catch {
	struct cpu_catcher catcher; /* first: catch_caught */
	struct cpu_catcher *outer;
	jmp_buf place;
};

static inline __attribute__((noreturn)) void catch_caught(struct cpu_catcher *catcher,
							enum unwind why)
{
	longjmp(((struct catch *)catcher)->place, (int)why);
}

static inline void catch_begin(struct catch *catch, struct cpu *cpu)
{
	catch->catcher.caught = catch_caught;
	catch->outer = cpu->catcher;
	cpu->catcher = &catch->catcher;
}

static inline void catch_end(struct catch *catch, struct cpu *cpu)
{
	cpu->catcher = catch->outer;
}

#endif
