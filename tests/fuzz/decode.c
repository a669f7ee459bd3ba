/*
 * Fuzz target: the instruction decoder.
 *
 * Input: one byte that selects the mode, then bytes that are decoded one instruction after another,
 * each from an allocation that ends where the input ends. Whatever the bytes, the answer has to be
 * a well-formed `struct insn` or one of the documented errors.
 */
#include <errno.h>

#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"
#include "fuzz.h"

static const uint32_t modes[] = {
	CPU_MODE_CODE16,
	CPU_MODE_CODE16 | CPU_MODE_PROTECTED,
	CPU_MODE_CODE16 | CPU_MODE_VM86,
	CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED,
	CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_FLAT,
	CPU_MODE_CODE16 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG,
	CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG,
	CPU_MODE_CODE64 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG,
	CPU_MODE_CODE64 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_FLAT,
};

static void check_insn(const struct insn *insn, size_t size)
{
	fuzz_check(insn->execute);
	fuzz_check(insn->length >= 1 && insn->length <= 15 && insn->length <= size);
	/* What is undefined has no sizes. */
	fuzz_check(insn->address_size == 2 || insn->address_size == 4 || insn->address_size == 8 ||
		   !insn->address_size);
	fuzz_check(insn->scale <= 3);
	fuzz_check(insn->segment < CPU_SEGMENTS);
	fuzz_check(insn->base < CPU_REGISTERS || insn->base >= INSN_BASE_RIP);
	fuzz_check(insn->index < CPU_REGISTERS || insn->index == INSN_REGISTER_NONE);
	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		switch (insn->kind[i]) {
		case INSN_OPERAND_REGISTER:
			/* A byte offset: AH is at RAX + 1. */
			fuzz_check(insn->reg[i] < CPU_REGISTERS * sizeof(uint64_t));
			break;
		case INSN_OPERAND_SEGMENT: fuzz_check(insn->reg[i] < CPU_SEGMENTS); break;
		case INSN_OPERAND_CONTROL:
		case INSN_OPERAND_DEBUG: fuzz_check(insn->reg[i] < 16); break;
		case INSN_OPERAND_VECTOR: fuzz_check(insn->reg[i] < 32); break;
		case INSN_OPERAND_X87:
		case INSN_OPERAND_MMX:
		case INSN_OPERAND_MASK: fuzz_check(insn->reg[i] < 8); break;
		default: fuzz_check(insn->kind[i] <= INSN_OPERAND_MASK);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct insn insn;
	uint32_t mode;
	int result;

	if (size < 2)
		return 0;
	mode = modes[*data++ % (sizeof(modes) / sizeof(modes[0]))];
	size--;
	while (size) {
		memset(&insn, 0, sizeof(insn));
		result = insn_decode(&insn, data, size, mode, &insn_host_rules);
		if (result < 0) {
			fuzz_check(result == -E2BIG || (result == -ENODATA && size < 15));
			break;
		}
		check_insn(&insn, size);
		data += insn.length;
		size -= insn.length;
	}
	return 0;
}
