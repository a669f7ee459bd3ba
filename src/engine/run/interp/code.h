/*
 * How a CPU gets at decoded blocks (store.h): it finds or makes them, and sees to it that they are what
 * memory holds.
 *
 * What others than CPUs write is noticed by comparing (tier/code_index.h): a CPU that begins an epoch, or maps a page for
 * fetches, has seen something behind which blocks may be old. It notes that by the store's clock: what is to run needs a
 * compare that has begun later. Any CPU's will do. The clock is counted up by who compares for such a reason, so
 * that neither runs of blocks nor what puts them in doubt take a locked instruction.
 *
 * Why that is enough: the one that doubts reads the clock, c, and from then on needs c + 1. Another one's compare
 * counts if it has found the clock at c + 1 before it looked at the bytes. So it looked after the clock was counted up from
 * c, which was after the doubt, and what the first CPU had seen before that, the other one sees, too, because
 * stores become visible to all processors but their own at once (SDM vol. 3 §9.2.2).
 */
#ifndef KVIK_ENGINE_RUN_INTERP_CODE_H
#define KVIK_ENGINE_RUN_INTERP_CODE_H

#include "engine/run/interp/store.h"

static inline struct jump_entry *jump_entry_of(struct interp_cpu *interp, uint64_t gva)
{
	return &interp->jumps[(gva ^ gva >> JUMP_BITS) & ((1u << JUMP_BITS) - 1)];
}

/* What stands for an instruction that must be executed alone. */
extern struct interp_block block_alone;

/*
 * The block at gpa for cpu->mode, decoded now if need be from `code` (the host address of gpa;
 * `available` > 0 bytes lie before the end of the page and of the code segment). Up to date with
 * its bytes. NULL: the CPU has waited, or another one has changed something; look again. Where there is no room for it
 * at all, block_alone.
 */
struct interp_block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available);

/* As struct tier's `decoded`. */
bool code_decoded(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available,
		  struct tier_decoded *decoded);

/* Whether the block, which is gpa's, was compared with its code since that may have changed unseen. */
bool block_is_fresh(struct interp_cpu *interp, const struct interp_block *block, uint64_t gpa);

/* gpa's page gets a translation for fetches: its blocks are compared before the CPU runs them again. */
void block_page_mapped(struct interp_cpu *interp, uint64_t gpa);

#endif
