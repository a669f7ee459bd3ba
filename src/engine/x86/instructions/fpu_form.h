/*
 * What is known of a vector or x87 instruction while it is bound (isa_fpu.c).
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_FPU_FORM_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_FPU_FORM_H

#include "engine/x86/instructions/fpu_execute.h"

struct fpu_form {
	const struct decoded *decoded;
	uint32_t insn_traits; /* enum insn_trait: what its row says */
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *memory; /* NULL: none */
	bool has_vector, has_mmx, has_opmask, is_x87, is_store;
	struct thunk_traits traits;
	struct thunk_code code;
};

/* Look over the operands, with insn->traits filled in. False for what is not of this room. */
bool fpu_form_inspect(struct fpu_form *form, const struct insn *insn, const struct decoded *decoded);
/* The enable bits; -ENOTSUP where the mode rules the encoding out. */
int fpu_form_set_gate(struct fpu_form *form);
/* The memory operand's size and alignment. 0 or -ENOTSUP. */
int fpu_form_set_memory(struct fpu_form *form, const struct insn *insn);
/* VMASKMOVPS and kin: elements chosen by the signs of a vector register's. */
void fpu_form_set_vector_mask(struct fpu_form *form);
/* Elements of memory chosen by the opmask. 0 or -ENOTSUP. */
int fpu_form_set_opmask(struct fpu_form *form);

/* Bytes of memory that one bit of the mask guards: an element, but where an element of the result
 * comes from several in memory, or Zydis has the whole operand as one. */
unsigned fpu_form_element_size(const struct fpu_form *form);
/* The vector register of the operand with this encoding, or -1. */
int fpu_form_vector(const struct fpu_form *form, ZydisOperandEncoding encoding);
/* The number of the opmask that masks elements, 0 for none. */
unsigned fpu_form_opmask(const struct fpu_form *form);
/* Whether masked-out elements of the memory operand are not read. */
bool fpu_form_suppresses_faults(const struct fpu_form *form);

#endif
