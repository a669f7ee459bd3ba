/* One instruction on its way into a case: candidate.c finds it, steer.c makes its operands meet memory. */
#ifndef KVIK_TESTS_DIFFERENTIAL_CANDIDATE_H
#define KVIK_TESTS_DIFFERENTIAL_CANDIDATE_H

#include <Zydis/Zydis.h>

#include "state.h"

#define RFLAGS_STATUS 0x8d5ull

struct candidate {
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
};

/* The decoder for the case's code. */
const ZydisDecoder *decoder(const struct isa_case *test);
/* The instruction of c->bytes; false: they are none. */
bool decode(struct candidate *c, const struct isa_case *test);
/* Whether the host may run it. */
bool is_allowed(const struct candidate *c);
enum isa_class class_of(const struct candidate *c);
/* A random instruction of the class. */
void find_instruction(struct candidate *c, enum isa_class class, const struct isa_case *test);
/* The number of the general register that holds `reg`, or -1. */
int register_index(ZydisRegister reg);
bool is_direct_branch(const struct candidate *c);
/* With this in CL, or -1: any. */
uint64_t undefined_flags(const struct candidate *c, int cl);

/* -- steer.c -- */

/* Change registers and the displacement so that the instruction does something more often than
 * faulting. */
void steer(struct isa_case *test, struct candidate *c, uint64_t next_rip);
/* Note what the comparison must know of the case for this instruction. */
void classify(struct isa_case *test, const struct candidate *c);

/* -- block.c -- */

void generate_block(struct isa_case *test);
/* A few instructions that run a number of times, most of them with accesses off a base that moves. */
void generate_loop(struct isa_case *test);

#endif
