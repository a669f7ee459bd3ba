/*
 * Lockstep: a debug mode in which the interpreter's handlers go before the translator, block by block,
 * and their results are compared. For one vCPU.
 */
#ifndef KVIK_ENGINE_RUN_LOCKSTEP_LOCKSTEP_H
#define KVIK_ENGINE_RUN_LOCKSTEP_LOCKSTEP_H

struct cpu;

/* Have the CPU's translator, which has run nothing yet, watched. 0 or -ENOMEM. When the CPU ends, the counts
 * go to standard error, as each difference has. */
int lockstep_attach(struct cpu *cpu);

#endif
