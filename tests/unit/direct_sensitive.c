/*
 * The scan for instructions that tell ring 3 of the host (run/direct/sensitive.c), which knows them by raw bytes,
 * against the table of instructions, whose rows say the same of mnemonics: neither knows any that the other does
 * not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/run/direct/sensitive.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/host/host.h"

#define MODE_64                                                                                    \
	(CPU_MODE_CODE64 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_FLAT)
#define MODE_32 (CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_FLAT)

static uint8_t page[PAGE_SIZE];
static const struct insn_rules rules = {.has_lzcnt = true, .has_tzcnt = true};

static bool is_fs_or_gs(const struct insn *insn)
{
	for (unsigned i = 0; i < 2; i++)
		if (insn->kind[i] == INSN_OPERAND_SEGMENT)
			return insn->reg[i] == CPU_FS || insn->reg[i] == CPU_GS;
	return true;
}

/* What the row says; and what the scan leaves alone by its operands. */
static bool tells(const struct insn *insn, bool is_64)
{
	if (insn->mnemonic == ZYDIS_MNEMONIC_LSL && insn->kind[1] == INSN_OPERAND_MEMORY)
		return false;
	if (is_64 && (host.has_fsgsbase || insn->mnemonic == ZYDIS_MNEMONIC_SYSCALL ||
		      insn->mnemonic == ZYDIS_MNEMONIC_SYSENTER))
		return insn->traits & INSN_TELLS_HOST;
	return insn->traits & INSN_TELLS_HOST || (insn->traits & INSN_TELLS_HOST_32 && is_fs_or_gs(insn));
}

/* By mnemonic. */
static bool is_met[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static void compare(bool is_64, unsigned length)
{
	unsigned allowed = SENSITIVE_RANDOM | (is_64 ? 0 : SENSITIVE_CODE32), escape;
	bool is_found = sensitive_begins(page, 0, allowed, &escape), is_told;
	struct insn insn;

	if (insn_decode(&insn, page, INSN_LENGTH_MAX, is_64 ? MODE_64 : MODE_32, &rules) ||
	    !insn.mnemonic)
		return;
	is_told = tells(&insn, is_64);
	/* It may be coarse about what guests do not have (PTWRITE, SENDUIPI). */
	if (is_found && !is_told && insn.execute == isa_find(ZYDIS_MNEMONIC_UD2)->execute)
		return;
	is_met[insn.mnemonic] |= is_told;
	/* A page is looked at whole before that, and any byte may begin one there. */
	if (is_found != is_told || (is_told && !sensitive_may_begin(page, allowed))) {
		for (unsigned i = 0; i < length; i++)
			fprintf(stderr, "%02x ", page[i]);
		fail_msg("%s, %u bits: found %d, told %d", ZydisMnemonicGetString(insn.mnemonic),
			 is_64 ? 64 : 32, is_found, is_told);
	}
}

/* An opcode of one or two bytes with any ModRM byte, with each of the prefixes that choose instructions. */
static void compare_opcode(bool is_64, bool has_escape, uint8_t opcode)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0x48 /* REX.W */};

	for (unsigned n = 0; n < (is_64 ? 5 : 4); n++) {
		for (unsigned modrm = 0; modrm < 256; modrm++) {
			unsigned at = 0;

			memset(page, 0, 16);
			if (prefixes[n])
				page[at++] = prefixes[n];
			if (has_escape)
				page[at++] = 0x0f;
			page[at++] = opcode;
			page[at++] = (uint8_t)modrm;
			compare(is_64, at);
		}
	}
}

static void test_scan_is_table(void **state)
{
	static const struct isa_table *const tables[] = {
		&isa_arithmetic, &isa_logic, &isa_shift, &isa_bit, &isa_move, &isa_string, &isa_branch, &isa_flag,
		&isa_stack, &isa_far, &isa_segment, &isa_system, &isa_io, &isa_msr, &isa_fpu,
	};

	(void)state;
	/* As if the host had components that no guest gets, so that XSAVE counts. */
	fpu_layout.components = 0;
	if (!host.xcr0)
		host.xcr0 = FPU_X87 | FPU_SSE;
	for (unsigned is_64 = 0; is_64 < 2; is_64++) {
		for (unsigned opcode = 0; opcode < 256; opcode++) {
			/* The one is VEX's maps, the other another opcode. */
			compare_opcode(is_64, true, (uint8_t)opcode);
			if (opcode != 0x0f)
				compare_opcode(is_64, false, (uint8_t)opcode);
		}
	}
	for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (size_t n = 0; n < tables[i]->count; n++) {
			const struct isa_row *row = &tables[i]->rows[n];

			/* What the host does not have is undefined (RDSEED). */
			if (row->traits & (INSN_TELLS_HOST | INSN_TELLS_HOST_32) && !is_met[row->mnemonic] &&
			    (row->mnemonic != ZYDIS_MNEMONIC_RDSEED || host_has(HOST_RDSEED)))
				fail_msg("%s was not met", ZydisMnemonicGetString(row->mnemonic));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_is_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
