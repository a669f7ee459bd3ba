/* Shared by the translator's files that stand on all of its rooms: the dispatcher's, and who tells of blocks. */
#ifndef KVIK_ENGINE_RUN_JIT_INTERNAL_H
#define KVIK_ENGINE_RUN_JIT_INTERNAL_H

#include "engine/run/jit/cache/parts.h"

#define JIT_PAIRS_SIZE (16 << 10) /* bytes of the thread's stack for pairs: return.c */

/* run.c: struct tier's, and what the fallback stub calls. */
void jit_enter(struct cpu *cpu);
enum tier_stop jit_run(struct cpu *cpu);
jit_fallback jit_execute_fallback;

/* observe.c: struct tier's. */
void jit_slots_init(struct cpu *cpu);
void jit_tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where);
void jit_access_changed(struct cpu *cpu);
void jit_fetch_mapped(struct cpu *cpu, uint64_t gpa);

struct jit_item;
struct translation;

/* script.c: for a watched block; NULL when there is nothing to keep, or no memory. For free(). */
struct jit_script *jit_script_create(const struct jit_item *items, unsigned count);

/* counters.c: struct tier's. */
void jit_visit_counters(const struct cpu *cpu, tier_visitor *visit, void *context);

/* dump.c: write a finished block to options.dump_fd: guest and host instructions. */
void jit_dump_block(const struct jit *jit, const struct translation *t);

#endif
