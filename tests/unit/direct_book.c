/*
 * Which address space runs: page tables that come back are known, those of another are not; a program is known
 * by its path, and runs directly at once when it lived long before. The stack with that path is the guest's. A space's
 * threads are known one by one, each where it pays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "engine/run/direct/book.h"
#include "x86_platform.h"

#define CROSSING 1000u /* ticks */
#define STACK_AT (X86_TEST_DATA + 0x10000)

static struct x86_test test;
static struct experiences experiences;
static struct book book, second; /* of two CPUs */

static int setup(void **state)
{
	(void)state;
	memset(&experiences, 0, sizeof(experiences));
	book = second = (struct book){ .experiences = &experiences };
	return x86_test_create(&test, 64);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

/* What Linux puts there: two arguments, an environment, and the path behind other entries. */
static void begin_program(const char *path)
{
	uint64_t words[] = { 2, 0x1111, 0x2222, 0, 0x3333, 0, 6, 4096, 31, STACK_AT + 0x400, 0, 0 };

	memcpy(test.memory + STACK_AT, words, sizeof(words));
	strcpy((char *)test.memory + STACK_AT + 0x400, path);
	memset(test.cpu.gpr, 0, sizeof(test.cpu.gpr));
	test.cpu.gpr[CPU_RSP] = STACK_AT;
	test.cpu.rip += 0x1000;
}

static struct book_entry *find(void)
{
	book_switched(&book);
	return book_find(&book, &test.cpu, CROSSING);
}

/* A stay of so many crossings' time. */
static void live(struct book_entry *entry, unsigned crossings)
{
	struct policy *policy = book_policy(&book, entry, &test.cpu);

	policy_note(policy, (uint64_t)crossings * CROSSING, 0, CROSSING, POLICY_EVENT);
	book_note(&book, entry, policy, (uint64_t)crossings * CROSSING, 1, true, CROSSING);
	test.cpu.gpr[CPU_RCX] = 1;
}

static void test_spaces(void **state)
{
	struct book_entry *entry;
	uint64_t *root = (uint64_t *)(test.memory + (test.cpu.cr3 & ~0xfffull));

	(void)state;
	test.cpu.gpr[CPU_RCX] = 1;
	entry = find();
	live(entry, 100);
	assert_ptr_equal(find(), entry);
	assert_int_equal(entry->policy.lived, 100 * CROSSING);
	/* Another PCID, the same tables. */
	test.cpu.cr3 |= 3;
	assert_ptr_equal(find(), entry);
	assert_int_equal(entry->policy.lived, 100 * CROSSING);
	/* A thread whose stack is far from the first one's. */
	root[0xfe] = root[0] + 0x1000;
	test.cpu.gpr[CPU_RSP] = 0x7f0012345000;
	assert_ptr_equal(find(), entry);
	assert_int_equal(entry->policy.lived, 100 * CROSSING);
	/* Other tables in the same memory. */
	root[0] ^= 0x8000000;
	assert_ptr_equal(find(), entry);
	assert_int_equal(entry->policy.lived, 0);
}

static void test_programs(void **state)
{
	struct book_entry *entry;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		begin_program("/usr/bin/short");
		entry = find();
		assert_string_equal(entry->program->name, "/usr/bin/short");
		assert_false(policy_is_direct(&entry->policy, 1));
		live(entry, 100);
	}
	assert_int_equal(entry->program->starts, 3);
	assert_int_equal(entry->program->crossings, 3);
	assert_int_equal(entry->program->direct, 300 * CROSSING);
	begin_program("/usr/bin/long");
	entry = find();
	assert_string_equal(entry->program->name, "/usr/bin/long");
	assert_false(policy_is_direct(&entry->policy, 1));
	/* The first instruction comes again after its page fault. */
	assert_ptr_equal(find(), entry);
	assert_int_equal(entry->program->starts, 1);
	live(entry, 2000);
	/* The second time it is known; after some short lives it is forgotten. */
	for (unsigned i = 0; i < 2; i++) {
		begin_program("/usr/bin/long");
		entry = find();
		assert_int_equal(policy_is_direct(&entry->policy, 1), i == 0);
		live(entry, 10);
	}
}

static struct book_entry *find_on_second(void)
{
	book_switched(&second);
	return book_find(&second, &test.cpu, CROSSING);
}

/* What one CPU has found out another one need not: of programs, and of address spaces that come to it. */
static void test_two_cpus(void **state)
{
	struct book_entry *entry;

	(void)state;
	begin_program("/usr/bin/long");
	entry = find();
	assert_false(policy_is_direct(&entry->policy, 1));
	live(entry, 2000);
	assert_true(policy_is_direct(&entry->policy, 1));
	/* It goes on on another CPU, which knows no name for it. */
	entry = find_on_second();
	assert_true(policy_is_direct(&entry->policy, 1));
	assert_ptr_equal(entry->program, &second.programs.all[0]);
	/* The next one begins there. */
	begin_program("/usr/bin/long");
	entry = find_on_second();
	assert_true(policy_is_direct(&entry->policy, 1));
	assert_string_equal(entry->program->name, "/usr/bin/long");
	/* What begins in its memory is nothing that anybody knows. */
	begin_program("/usr/bin/other");
	assert_false(policy_is_direct(&find_on_second()->policy, 1));
	test.cpu.gpr[CPU_RCX] = 1;
	second = (struct book){ .experiences = &experiences };
	assert_false(policy_is_direct(&find_on_second()->policy, 1));
}

/* A thread with its variables at `area` is in ring 3 again; for so many crossings' time, to make a system call. */
static void live_as(struct book *of, uint64_t area, unsigned ticks_of_call, unsigned calls)
{
	struct book_entry *entry;
	struct policy *policy;

	test.cpu.segment[CPU_FS].base = area;
	for (unsigned i = 0; i < calls; i++) {
		bool is_direct;

		book_switched(of);
		entry = book_find(of, &test.cpu, CROSSING);
		policy = book_policy(of, entry, &test.cpu);
		is_direct = policy_is_direct(policy, 1);
		policy_note(policy, ticks_of_call + (is_direct ? CROSSING : 0), is_direct, CROSSING, POLICY_EVENT);
		book_note(of, entry, policy, ticks_of_call + (is_direct ? CROSSING : 0), is_direct, is_direct, CROSSING);
		test.cpu.gpr[CPU_RCX] = 1;
	}
}

static bool is_direct_as(struct book *of, uint64_t area)
{
	test.cpu.segment[CPU_FS].base = area;
	book_switched(of);
	return policy_is_direct(book_policy(of, book_find(of, &test.cpu, CROSSING), &test.cpu), 1);
}

static void test_threads(void **state)
{
	const uint64_t computes = 0x7f0000001740, calls = 0x7f0000202740, later = 0x7f0000403740;

	(void)state;
	begin_program("/usr/bin/server");
	/* Before it has its variables, and then while it is new: all one. */
	live_as(&book, 0, 20 * CROSSING, 10);
	live_as(&book, computes, 20 * CROSSING, 30);
	assert_false(is_direct_as(&book, calls));
	live_as(&book, computes, 20 * CROSSING, 40);
	assert_true(is_direct_as(&book, computes));
	/* Another one goes on as the first stands, until its own calls have told that it is better translated. */
	assert_true(is_direct_as(&book, calls));
	for (unsigned i = 0; i < 3000; i++) {
		live_as(&book, computes, 20 * CROSSING, 1);
		live_as(&book, calls, CROSSING / 10, 10);
	}
	assert_true(is_direct_as(&book, computes));
	assert_false(is_direct_as(&book, calls));
	/* Who has come to another CPU is known there, whoever of them is the first; others go on as the first thread does. */
	assert_false(is_direct_as(&second, calls));
	assert_true(is_direct_as(&second, computes));
	assert_true(is_direct_as(&second, later));
	/* What begins in this memory has none of these threads. */
	begin_program("/usr/bin/other");
	live_as(&book, calls, 20 * CROSSING, 100);
	assert_true(is_direct_as(&book, calls));
}

/* 32-bit code has its variables by GS. */
static void test_narrow_threads(void **state)
{
	struct book_entry *entry;
	struct policy *policy;

	(void)state;
	begin_program("/usr/bin/narrow");
	test.cpu.segment[CPU_CS] = x86_test_segment(32, true);
	cpu_update_mode(&test.cpu);
	test.cpu.segment[CPU_GS].base = 0x1000;
	entry = find();
	policy = book_policy(&book, entry, &test.cpu);
	policy_begin_direct(policy);
	assert_ptr_equal(policy, &entry->policy);
	test.cpu.segment[CPU_FS].base = 0x5000;
	assert_ptr_equal(book_policy(&book, entry, &test.cpu), &entry->policy);
	test.cpu.segment[CPU_GS].base = 0x2000;
	assert_ptr_not_equal(book_policy(&book, entry, &test.cpu), &entry->policy);
}

/* Lives that have ended are told at once, and not once more when their memory is another's. */
static void test_ends(void **state)
{
	struct book_entry *entry;

	(void)state;
	begin_program("/usr/bin/long");
	entry = find();
	live(entry, 2000);
	book_end(&book, entry, CROSSING);
	/* Two short lives on the first CPU, whose tables nobody has taken yet: the second one knows of them. */
	for (unsigned i = 0; i < 2; i++) {
		begin_program("/usr/bin/long");
		entry = find();
		assert_int_equal(policy_is_direct(&entry->policy, 1), i == 0);
		live(entry, 10);
		book_end(&book, entry, CROSSING);
	}
	begin_program("/usr/bin/long");
	entry = find_on_second();
	assert_false(policy_is_direct(&entry->policy, 1));
	live(entry, 2000);
	live(entry, 2000);
	book_end(&second, entry, CROSSING);
	/* One long life and two short ones, and again a long one: were the last short one told again, this would be none. */
	begin_program("/usr/bin/other");
	find();
	begin_program("/usr/bin/long");
	assert_int_equal(experience_get(&experiences, entry->program->hash, false)->score, 0);
	experience_put(&experiences);
}

/* Stacks that are none: nothing is known, and nothing is read that is not there. */
static void test_wrong_stacks(void **state)
{
	uint64_t words[64];
	char path[600];

	(void)state;
	begin_program("/usr/bin/x");
	test.cpu.gpr[CPU_RSP] = 0x7fff00000000;
	assert_ptr_equal(find()->program, &book.programs.all[0]);
	begin_program("/usr/bin/x");
	test.cpu.gpr[CPU_RSP] += 4;
	assert_ptr_equal(find()->program, &book.programs.all[0]);
	begin_program("/usr/bin/x");
	memset(words, 0xff, sizeof(words));
	memcpy(test.memory + STACK_AT, words, sizeof(words));
	assert_ptr_equal(find()->program, &book.programs.all[0]);
	/* No end: of arguments, of a path. */
	begin_program("/usr/bin/x");
	memset(test.memory + STACK_AT + 8, 0x11, 0x8000);
	assert_ptr_equal(find()->program, &book.programs.all[0]);
	memset(path, 'y', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	path[0] = '\n';
	begin_program(path);
	assert_int_equal(strlen(find()->program->name), PROGRAM_NAME - 1);
	begin_program("\x1b[2J");
	assert_string_equal(find()->program->name, "?[2J");
	/* The path is nowhere. */
	begin_program("/usr/bin/x");
	*(uint64_t *)(test.memory + STACK_AT + 9 * 8) = 0x7fff00000000;
	assert_string_equal(find()->program->name, "");
}

static void count_line(void *context, const char *name, uint64_t value)
{
	unsigned *seen = context;

	seen[0] += strcmp(name, "program /bin/b: ms directly, with crossings") == 0 && value == 5;
	seen[1]++;
}

static void test_shown(void **state)
{
	unsigned seen[2] = { 0 };
	char path[32];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "/bin/%u", i);
		begin_program(path);
		live(find(), 1 + i % 7);
	}
	begin_program("/bin/b");
	live(find(), 5000);
	programs_visit(&book.programs, CROSSING * 1000, count_line, seen);
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 4 * 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_spaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_cpus, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_narrow_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_stacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shown, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
