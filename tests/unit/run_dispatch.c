/*
 * The dispatcher and its tiers: a tier of the test's own above the interpreter, which executes one
 * instruction and declines all others, sees what a tier is promised (tier.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system/control.h"
#include "x86_platform.h"

#define OTHER_PAGE (X86_TEST_DATA + 0x5000u)

static struct x86_test test;

static struct {
	unsigned enters, leaves, runs, executed, detaches;
	unsigned stops_after; /* executed instructions: then there is a request */
	bool is_inside;
	/* What it has heard. */
	unsigned changes[TLB_LOST_WRITES + 1];
	uint64_t where[TLB_LOST_WRITES + 1];
	unsigned access_changes, fetches;
	uint64_t fetched_gpa;
} seen;

static void enter(struct cpu *cpu)
{
	(void)cpu;
	seen.enters++;
	seen.is_inside = true;
}

static void leave(struct cpu *cpu)
{
	(void)cpu;
	assert_true(seen.is_inside);
	seen.leaves++;
	seen.is_inside = false;
}

/* INC of EAX, as ff c0, is this tier's. */
static enum tier_stop run(struct cpu *cpu)
{
	assert_true(seen.is_inside);
	seen.runs++;
	while (!cpu->requests) {
		const uint8_t *code = test.memory + cpu->rip;

		if (code[0] != 0xff || code[1] != 0xc0)
			return TIER_DECLINES;
		cpu->gpr[CPU_RAX] = (uint32_t)(cpu->gpr[CPU_RAX] + 1);
		cpu->rip += 2;
		if (++seen.executed == seen.stops_after)
			cpu_request(cpu, CPU_REQUEST_EXIT);
	}
	return TIER_INTERRUPTED;
}

static void tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where)
{
	(void)cpu;
	seen.changes[change]++;
	seen.where[change] = where;
}

static void access_changed(struct cpu *cpu)
{
	(void)cpu;
	seen.access_changes++;
}

static void fetch_mapped(struct cpu *cpu, uint64_t gpa)
{
	(void)cpu;
	seen.fetches++;
	seen.fetched_gpa = gpa;
}

static void detach(struct cpu *cpu)
{
	(void)cpu;
	seen.detaches++;
}

static const struct tier own_tier = {
	.name = "test",
	.enter = enter,
	.leave = leave,
	.run = run,
	.tlb_changed = tlb_changed,
	.access_changed = access_changed,
	.fetch_mapped = fetch_mapped,
	.detach = detach,
};

/* Above the interpreter, which is there already. */
static int setup(void **state)
{
	struct tiers *tiers = &test.runner.tiers;

	(void)state;
	if (x86_test_create(&test, 64))
		return -1;
	tiers->order[1] = tiers->order[0];
	tiers->order[0] = &own_tier;
	tiers->count = 2;
	memset(&seen, 0, sizeof(seen));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	seen.detaches = 0;
	x86_test_destroy(&test);
	return seen.detaches == 1 ? 0 : -1;
}

/* What the tier declines, the interpreter executes, and no more than that. */
static void test_order(void **state)
{
	static const uint8_t code[] = {
		0xb9, 3, 0, 0, 0, /* mov $3, %ecx */
		0xff, 0xc0,       /* 1: inc %eax */
		0xff, 0xc0,       /* inc %eax */
		0xff, 0xc9,       /* dec %ecx */
		0x75, 0xf8,       /* jnz 1b */
		0x0f, 0x0b,       /* ud2 */
	};

	(void)state;
	assert_int_equal(x86_test_run_code(&test, code, sizeof(code)), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 6);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + sizeof(code) - 2);
	/* The interpreter's first block went on to the end of the first turn; the tier had the others. */
	assert_int_equal(seen.executed, 4);
	assert_true(seen.runs >= 3);
	/* The exception went past `leave`. */
	assert_int_equal(seen.enters, 1);
	assert_int_equal(seen.leaves, 0);
}

/* A request ends both, between instructions. */
static void test_request(void **state)
{
	static const uint8_t code[] = {0xff, 0xc0, 0xeb, 0xfc}; /* 1: inc %eax; jmp 1b */

	(void)state;
	seen.stops_after = 3;
	assert_int_equal(x86_test_run_code(&test, code, sizeof(code)), -1);
	assert_true(test.cpu.request_limit == UINT64_MAX);
	assert_int_equal(seen.executed, 3);
	assert_int_equal(seen.enters, 1);
	assert_int_equal(seen.leaves, 1);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + 2);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 3);
}

static void test_tlb_changes(void **state)
{
	static const struct {
		enum tlb_change change;
		uint64_t where;
	} expected[] = {
		{ TLB_LOST_ALL, 0 },
		{ TLB_LOST_NONGLOBAL, 0 },
		{ TLB_LOST_PAGE, X86_TEST_DATA },
		{ TLB_LOST_PCID, 5 },
		{ TLB_LOST_PCID_PAGE, X86_TEST_DATA | 7 },
		{ TLB_LOST_WRITES, X86_TEST_DATA },
		{ TLB_SWITCHED, 0 },
	};
	struct cpu *cpu = &test.cpu;

	(void)state;
	tlb_flush_all(cpu);
	tlb_flush_nonglobal(cpu);
	tlb_flush_page(cpu, X86_TEST_DATA + 0x123);
	tlb_flush_pcid(cpu, 5);
	tlb_flush_pcid_page(cpu, 7, X86_TEST_DATA + 0x123);
	tlb_flush_writes(cpu, X86_TEST_DATA);
	tlb_switch(cpu, true);
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_int_equal(seen.changes[expected[i].change], 1);
		assert_int_equal(seen.where[expected[i].change], expected[i].where);
	}
	/* Another address space has sets of its own. */
	assert_true(seen.access_changes >= 1);
}

/* First code on a page takes the right to write there from the TLB, and a fetch tells of its page. */
static void test_code_is_told(void **state)
{
	static const uint8_t code[] = {0x90, 0x0f, 0x0b};

	(void)state;
	memcpy(test.memory + OTHER_PAGE, code, sizeof(code));
	test.cpu.rip = OTHER_PAGE;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	assert_int_equal(seen.fetches, 1);
	assert_true(seen.fetched_gpa >> 12 == OTHER_PAGE >> 12);
	assert_int_equal(seen.changes[TLB_LOST_WRITES], 1);
	assert_true(seen.where[TLB_LOST_WRITES] >> 12 == OTHER_PAGE >> 12);
}

/* A handler of a tier's for what it does not know has the last tier execute one instruction. */
static void test_elsewhere(void **state)
{
	static const uint8_t code[] = {0x83, 0xc0, 0x05, 0x83, 0xc0, 0x05};

	(void)state;
	memcpy(test.memory + X86_TEST_CODE, code, sizeof(code));
	test.cpu.rip = X86_TEST_CODE;
	tier_execute_elsewhere(&test.cpu, NULL);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 5);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tlb_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_code_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
	};

	return cmocka_run_group_tests_name("run_dispatch", tests, NULL, NULL);
}
