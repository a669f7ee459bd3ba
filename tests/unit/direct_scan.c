/*
 * The scan of code before it runs directly: instructions that show the host are found at instruction
 * boundaries, the same bytes inside other instructions are not, and a page that changed is looked at anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "engine/run/direct/scan.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/host/host.h"
#include "x86_platform.h"

static struct x86_test test;
static struct scan_cache cache;
static uint8_t page[4096];

static int setup(void **state)
{
	(void)state;
	memset(&cache, 0, sizeof(cache));
	memset(page, 0x90, sizeof(page));
	return x86_test_create(&test, 64);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

static bool is_clean_at(unsigned at, const char *bytes, unsigned size, unsigned allowed)
{
	memset(page, 0x90, sizeof(page));
	memcpy(page + at, bytes, size);
	return scan_is_clean(&cache, &test.cpu, 0x5000, page, allowed, false);
}

#define CLEAN(bytes) assert_true(is_clean_at(100, bytes, sizeof(bytes) - 1, 0))
#define SENSITIVE(bytes) assert_false(is_clean_at(100, bytes, sizeof(bytes) - 1, 0))

static void test_instructions(void **state)
{
	(void)state;
	SENSITIVE("\x0f\xa2");             /* cpuid */
	SENSITIVE("\x0f\x31");             /* rdtsc */
	SENSITIVE("\x0f\x01\xf9");         /* rdtscp */
	SENSITIVE("\x0f\x01\xd0");         /* xgetbv */
	SENSITIVE("\x0f\x01\xef");         /* wrpkru */
	CLEAN("\x0f\x01\x07");             /* sgdt [rdi] */
	CLEAN("\x0f\x00\xc0");             /* sldt eax */
	SENSITIVE("\xf3\x0f\xc7\xf8");     /* rdpid rax */
	SENSITIVE("\xf3\x41\x0f\xc7\xf8"); /* rdpid r8 */
	SENSITIVE("\x48\x0f\x03\xc1");     /* lsl rax, ecx */
	CLEAN("\x0f\x03\x0f");             /* lsl ecx, [rdi] */
	CLEAN("\x0f\x34");                 /* sysenter */
	CLEAN("\x0f\x05");                 /* syscall */
	CLEAN("\xcd\x80");                 /* int 0x80 */
	CLEAN("\x0f\xae\xf0");             /* mfence */
	CLEAN("\x0f\xc7\xf8");             /* rdseed eax */
	CLEAN("\x0f\x01\xd5");             /* xend */
	CLEAN("\x0f\x1f\x40");             /* nop */
}

static void test_boundaries(void **state)
{
	(void)state;
	CLEAN("\xb8\x0f\xa2\x00\x00");             /* mov eax, 0xa20f */
	CLEAN("\x48\x8b\x84\x24\x0f\xa2\x00\x00"); /* mov rax, [rsp + 0xa20f] */
	CLEAN("\x0f\xb6\x0f\x31\xc0");             /* movzx ecx, byte [rdi]; xor eax, eax */
	SENSITIVE("\x48\x8b\x0f\x0f\xa2");         /* mov rcx, [rdi]; cpuid */
	/* Behind what cannot be decoded, zeroes, and in the page's first bytes it may be data... */
	CLEAN("\x06\x06\x0f\xa2");
	CLEAN("\x00\x00\x90\x90\x0f\xa2");
	SENSITIVE("\x00\x00\x90\x90\x90\x90\x0f\xa2");
	assert_true(is_clean_at(1, "\x0f\xa2", 2, 0));
	/* ... unless it is what comes next. */
	assert_false(scan_is_clean(&cache, &test.cpu, 0x6001, page, 0, false));
	assert_false(is_clean_at(4094, "\x0f\xa2", 2, 0));
	assert_true(is_clean_at(4095, "\x0f", 1, 0));
	/* Cut off: LSL of whatever. */
	assert_false(is_clean_at(4094, "\x0f\x03", 2, 0));
}

static void test_allowed(void **state)
{
	(void)state;
	assert_true(is_clean_at(9, "\x0f\x31", 2, SCAN_RDTSC));
	assert_false(is_clean_at(9, "\x0f\x31", 2, SCAN_CPUID));
	assert_false(is_clean_at(9, "\x0f\x01\xf9", 3, SCAN_RDTSC | SCAN_CPUID));
	assert_true(is_clean_at(9, "\x0f\xa2", 2, SCAN_CPUID));
	assert_false(is_clean_at(9, "\x0f\xa2", 2, SCAN_RDTSC));
	assert_true(is_clean_at(9, "\x0f\x01\xee\x0f\x01\xef", 6, SCAN_PKRU));
	assert_false(is_clean_at(9, "\x0f\xa2\x0f\x01\xd0", 5, SCAN_CPUID)); /* ...; xgetbv */
}

static void test_changes(void **state)
{
	uint64_t scans;

	(void)state;
	assert_true(is_clean_at(0, "\x90", 1, 0));
	scans = cache.scans;
	assert_true(is_clean_at(0, "\x90", 1, 0));
	assert_int_equal(cache.scans, scans);
	assert_false(is_clean_at(2000, "\x0f\xa2", 2, 0));
	assert_true(is_clean_at(2000, "\x0f\xa3", 2, 0));
	assert_int_equal(cache.scans, scans + 2);
	/* The same bytes elsewhere are another page's. */
	assert_true(scan_is_clean(&cache, &test.cpu, 0x5000 + SCAN_ENTRIES * 4096ull, page, 0, false));
	assert_int_equal(cache.scans, scans + 3);
}

/* The short look: at a page of which nothing is known, that was not clean, or is another now. */
static void test_sample(void **state)
{
	(void)state;
	memset(page, 0x90, sizeof(page));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
	assert_true(scan_is_clean(&cache, &test.cpu, 0x9000, page, 0, false));
	assert_true(scan_seems_same(&cache, &test.cpu, 0x9abc, page, 0));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, SCAN_RDTSC));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000 + SCAN_ENTRIES * 4096ull, page, 0));
	memset(page, 0x91, sizeof(page));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
	memcpy(page + 2048, "\x0f\xa2", 2);
	assert_false(scan_is_clean(&cache, &test.cpu, 0x9000, page, 0, false));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
}

/* XSAVE of everything, where the host has what the guest has not; and of what the guest has. */
static void test_components(void **state)
{
	static const char all[] = "\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff\x0f\xae\x27";
	static const char some[] = "\xb8\xff\xff\xff\xff\xb8\x07\0\0\0\x31\xd2\x48\x0f\xc7\x64\x24\x40";
	uint64_t xcr0 = host.xcr0;

	(void)state;
	host.xcr0 = fpu_layout.components;
	CLEAN(all);
	memset(&cache, 0, sizeof(cache));
	host.xcr0 |= 1u << 18;
	SENSITIVE(all);
	CLEAN(some);
	SENSITIVE("\x0f\xae\x27"); /* with a mask from elsewhere */
	CLEAN("\x0f\xae\x2f");     /* xrstor [rdi] */
	CLEAN("\x0f\xae\xe8");     /* lfence */
	host.xcr0 = xcr0;
}

/* A page that is marked is not read again until it was written to, or a device may have. */
static void test_marked(void **state)
{
	(void)state;
	memset(page, 0x90, sizeof(page));
	assert_true(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	memcpy(page + 64, "\x0f\xa2", 2);
	assert_true(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	assert_true(scan_seems_same(&cache, &test.cpu, 0xb000, page, 0));
	assert_false(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, false));
	assert_false(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	memset(page, 0x90, sizeof(page));
	scan_forget(&cache, 0xa000, 0xafff);
	assert_false(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	scan_forget(&cache, 0xafff, 0xb03f);
	assert_true(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	page[64] = 0x0f, page[65] = 0xa2;
	test.cpu.code_epoch++;
	assert_false(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
	memset(page, 0x90, sizeof(page));
	scan_forget(&cache, 0, UINT64_MAX);
	assert_true(scan_is_clean(&cache, &test.cpu, 0xb000, page, 0, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_instructions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_components, setup, teardown),
		cmocka_unit_test_setup_teardown(test_boundaries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_marked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sample, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
