/* Whether a guest instruction can be copied as a host instruction, and what of it names registers. */
#ifndef KVIK_ENGINE_JIT_ANALYSE_COPY_H
#define KVIK_ENGINE_JIT_ANALYSE_COPY_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

/* What is found out about an instruction's operands. */
struct reencode_info {
	bool possible;         /* the instruction can be copied at all */
	bool has_memory;       /* an explicit memory operand by ModRM */
	bool memory_written;
	bool memory_read;
	bool reg_is_gpr, rm_is_gpr, vvvv_is_gpr, opcode_is_gpr;
	bool high_byte;        /* names AH, CH, DH or BH: no REX prefix possible */
	bool is_moffs;         /* MOV with an address in place of ModRM: 32-bit code only */
	uint16_t gpr_read;     /* explicit general registers read, by guest number (not addresses) */
	uint16_t gpr_written;
	unsigned memory_size;  /* bytes */
};

/* Look at a decoded instruction of 64-bit or 32-bit code. */
void reencode_inspect(struct reencode_info *info, const ZydisDecodedInstruction *instruction,
		      const ZydisDecodedOperand *operands, const uint8_t *bytes);

#endif
