/*
 * What the translator inserts has no BMI2 where the host has none, no PEXT where that is slow, and
 * changes flags only where they are free.
 *
 * What is hidden of the host counts from a process's start: this program runs itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <Zydis/Zydis.h>

#include "engine/run/jit/emit/emitter.h"
#include "engine/x86/host/host.h"

#define HAS_PEXT 1 /* exit statuses, as bits */
#define HAS_RORX 2
#define IS_WRONG 4

/* Look over all kinds of insertions. */
static int look(void)
{
	uint8_t code[1024];
	struct emitter e = {.base = code, .code = code, .size = sizeof(code)};
	ZydisDecoder decoder;
	ZydisDecodedInstruction in;
	bool flags_are_kept = false;
	int found = 0;

	emit_rotate(&e, HOST_R14, HOST_R13, 7);
	emit_rotate(&e, HOST_RDX, HOST_RAX, 32);
	emit_shift_signed(&e, false, HOST_R14, HOST_RDX);
	emit_shift_signed(&e, true, HOST_R14, HOST_RAX);
	emit_any_bits(&e, HOST_RCX, HOST_R14, 0x100);
	emit_field(&e, HOST_R14, HOST_R13, 0x100, 12);
	emit_keep_bits(&e, HOST_R13, 0x100);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t at = 0; at < e.position; at += in.length) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, code + at,
								e.position - at, &in)))
			return IS_WRONG;
		switch (in.mnemonic) {
		case ZYDIS_MNEMONIC_PEXT:
		case ZYDIS_MNEMONIC_PDEP: found |= HAS_PEXT; break;
		case ZYDIS_MNEMONIC_RORX:
		case ZYDIS_MNEMONIC_SARX: found |= HAS_RORX; break;
		case ZYDIS_MNEMONIC_LAHF: flags_are_kept = true; break;
		case ZYDIS_MNEMONIC_SAHF: flags_are_kept = false; break;
		default:
			/* Between saving and restoring anything may change them. */
			if (in.cpu_flags && (in.cpu_flags->modified | in.cpu_flags->undefined) &&
			    !flags_are_kept)
				found |= IS_WRONG;
		}
	}
	return flags_are_kept ? IS_WRONG : found;
}

static int look_without(const char *words)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		const char *before = getenv("KVIK_HOST_WITHOUT");
		char list[256];

		snprintf(list, sizeof(list), "%s%s%s", words, before && *before ? "," : "",
			 before ? before : "");
		setenv("KVIK_HOST_WITHOUT", list, 1);
		execl("/proc/self/exe", "jit_bits", "look", (char *)NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_bmi2(void **state)
{
	int all = (host_has(HOST_BMI2) ? HAS_RORX : 0) | (host.has_fast_pext ? HAS_PEXT : 0);

	(void)state;
	assert_int_equal(look(), all);
	assert_int_equal(look_without("bmi2"), 0);
	assert_int_equal(look_without("fast-pext"), all & ~HAS_PEXT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bmi2),
	};

	(void)argv;
	if (argc > 1)
		return look();
	return cmocka_run_group_tests_name("jit_bits", tests, NULL, NULL);
}
