/*
 * What is hidden of the host (KVIK_HOST_WITHOUT) is hidden from the guest's CPUID and its state, with
 * all that depends on it; an unknown word is refused.
 *
 * The variable counts from a process's start, so this program runs itself: with an argument it
 * looks at what is left.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/x86/system/cpuid.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/host/host.h"
#include "engine/x86/host/host_claims.h"

#define BIT(n) (1u << (n))

static struct kvm_cpuid_entry2 supported(uint32_t leaf, uint32_t subleaf)
{
	struct kvm_cpuid_entry2 entries[CPUID_SUPPORTED_MAX];
	int count = cpuid_supported(host_claims(false), entries, CPUID_SUPPORTED_MAX);

	for (int i = 0; i < count; i++)
		if (entries[i].function == leaf && entries[i].index == subleaf)
			return entries[i];
	return (struct kvm_cpuid_entry2){0};
}

static bool lacks_avx512(void)
{
	struct kvm_cpuid_entry2 leaf7 = supported(7, 0);

	return !(leaf7.ebx & 0xdc230000) && !(leaf7.ecx & (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))) &&
	       !(leaf7.edx & (BIT(8) | BIT(23))) && !(supported(7, 1).eax & BIT(5)) &&
	       !(supported(0xd, 0).eax & 0xe0) && supported(0xd, 0).ebx <= 576 + 256 &&
	       supported(0xd, 5).eax == 0 && !(fpu_layout.components & FPU_AVX512);
}

static bool lacks_avx(void)
{
	struct kvm_cpuid_entry2 leaf7 = supported(7, 0);

	return lacks_avx512() && !(supported(1, 0).ecx & (BIT(12) | BIT(28) | BIT(29))) &&
	       !(leaf7.ebx & BIT(5)) && !(leaf7.ecx & (BIT(9) | BIT(10))) &&
	       supported(0xd, 0).eax <= 3 && supported(0xd, 0).ebx <= 576 &&
	       fpu_layout.components == (FPU_X87 | FPU_SSE);
}

static bool lacks_xsave(void)
{
	return lacks_avx() && !(supported(1, 0).ecx & BIT(26)) && supported(0xd, 0).eax == 0 &&
	       host.xcr0 == 0;
}

/* BMI2 does not come from AVX's registers, and stays without them. */
static bool lacks_bmi2(void)
{
	return !(supported(7, 0).ebx & BIT(8)) && !host.has_fast_pext;
}

/* The engine does FSGSBASE in software. */
static bool lacks_fsgsbase(void)
{
	return !host.has_fsgsbase && (supported(7, 0).ebx & BIT(0));
}

static bool lacks_invariant_tsc(void)
{
	return !(supported(0x80000007, 0).edx & BIT(8)) && !host.has_steady_tsc;
}

static bool lacks_several(void)
{
	return lacks_avx() && lacks_bmi2() && !(supported(1, 0).ecx & (BIT(23) | BIT(25)));
}

static const struct {
	const char *words;
	bool (*is_hidden)(void);
} cases[] = {
	{"avx512", lacks_avx512}, {"avx", lacks_avx}, {"xsave", lacks_xsave},
	{"bmi2", lacks_bmi2}, {"fsgsbase", lacks_fsgsbase},
	{"tsc-invariant", lacks_invariant_tsc}, {"avx,bmi2,popcnt,aes", lacks_several},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* The exit status of this program with the variable set. */
static int run_with(const char *words, const char *argument)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		setenv("KVIK_HOST_WITHOUT", words, 1);
		execl("/proc/self/exe", "x86_host", argument, (char *)NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_hidden(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CASES; i++) {
		char argument[16];

		snprintf(argument, sizeof(argument), "%u", i);
		if (run_with(cases[i].words, argument) != 0)
			fail_msg("%s is not hidden", cases[i].words);
	}
}

static void test_unknown_word(void **state)
{
	(void)state;
	assert_int_equal(run_with("avx,avx9000", "0"), 2);
	assert_int_equal(run_with("av", "0"), 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_unknown_word),
	};

	if (argc > 1)
		return !cases[strtoul(argv[1], NULL, 10) % CASES].is_hidden();
	return cmocka_run_group_tests_name("x86_host", tests, NULL, NULL);
}
