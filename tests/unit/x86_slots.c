/*
 * Memory slots that change while a CPU waits within an instruction.
 *
 * The victim is one page of guest memory, the slot that changes; where in an instruction another thread
 * could have an exclusive section (cpu_exclusive_begin and cpu_exclusive_end), the platform here plays
 * that thread. Each program runs once for each of its waits, and at that wait either
 *
 * - the victim becomes other host memory, and the old one inaccessible: whoever uses what he had looked
 *   up before dies of it; or
 * - the dirty log is taken: pages written afterwards must be in the next one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "x86_platform.h"

/*
 * A window of two 4 KiB pages: the victim and one of RAM. They are entries 7 and 8 of their table, and the
 * code word says that there is code next to entry 8: a walk that sets its flags must wait.
 */
#define PAGE       4096u
#define REGION     0x40000000u
#define WINDOW     (REGION + 7 * PAGE)
#define MARKED_OFFSET 64 /* of entry 8 */
#define TABLE_GPA  (X86_TEST_TABLES + 0x3000u)
#define VICTIM_GPA 0xc00000u
#define SECOND_GPA 0x300000u
#define FRESH_GPA  0x400000u /* code that is new on its page */
#define PTE_FRESH  3u        /* present, writable */

enum event { VICTIM_CHANGES, LOG_IS_TAKEN };

static struct x86_test test;
static uint8_t *hosts[2]; /* memory that the victim can be */
static unsigned present;  /* which one it is */
static enum event event;
static unsigned waits, event_at;
static bool is_alone; /* inside an exclusive section */

static bool is_dirty;
static uint8_t copy[PAGE]; /* of the victim when the log was taken */

static void flush(void)
{
	cpu_request(&test.cpu, CPU_REQUEST_TLB_FLUSH);
}

static void wait_once(void)
{
	if (waits++ != event_at)
		return;
	if (event == LOG_IS_TAKEN) {
		memcpy(copy, hosts[present], PAGE);
		is_dirty = false;
	} else {
		mprotect(hosts[present], PAGE, PROT_NONE);
		present ^= 1;
		code_gone(&test.vm.code, 0, UINT64_MAX);
	}
	flush();
}

static bool page_lookup(void *context, uint64_t gpa, struct cpu_page *page)
{
	if (gpa != VICTIM_GPA)
		return x86_test_page(context, gpa, page);
	*page = (struct cpu_page){ .hva = hosts[present], .writable = true,
				   .dirty_logging = event == LOG_IS_TAKEN };
	return true;
}

static void page_dirty(void *context, uint64_t gpa)
{
	(void)context;
	is_dirty |= gpa == VICTIM_GPA;
}

static void exclusive_begin(void *context)
{
	(void)context;
	assert_false(is_alone);
	wait_once();
	is_alone = true;
}

static void exclusive_end(void *context)
{
	(void)context;
	assert_true(is_alone);
	is_alone = false;
	wait_once();
}

static const struct cpu_platform platform = {
	.page_lookup = page_lookup,
	.page_dirty = page_dirty,
	.exclusive_begin = exclusive_begin,
	.exclusive_end = exclusive_end,
};

static int setup_with(enum run_choice choice, unsigned promotion)
{
	for (unsigned i = 0; i < 2; i++)
		hosts[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (x86_test_create_eager(&test, choice, promotion))
		return -1;
	test.cpu.platform = &platform;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(RUN_INTERPRETED, 0);
}

static int setup_translator(void **state)
{
	(void)state;
	return setup_with(RUN_TRANSLATED, 0);
}

static int setup_lean(void **state)
{
	(void)state;
	return setup_with(RUN_TRANSLATED, JIT_PROMOTION);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	for (unsigned i = 0; i < 2; i++)
		munmap(hosts[i], PAGE);
	return 0;
}

/* A program as bytes. RSI is the window's address, RDI its second page, RBX the victim's own address, RDX
 * a place in the table that is marked, RBP code that is new. */
#define PROGRAM(name, text)                                                                        \
	__asm__(".pushsection .rodata\n" #name ":\n" text "\nhlt\n" #name "_end:\n.popsection\n"); \
	extern const uint8_t name[], name##_end[]

static uint64_t *table(void)
{
	return (uint64_t *)(test.memory + TABLE_GPA);
}

static void prepare(const uint8_t *program, const uint8_t *end)
{
	struct cpu *cpu = &test.cpu;
	uint64_t *directory = (uint64_t *)(test.memory + X86_TEST_TABLES + PAGE);

	for (unsigned i = 0; i < 2; i++) {
		mprotect(hosts[i], PAGE, PROT_READ | PROT_WRITE);
		memset(hosts[i], 0, PAGE);
	}
	present = 0;
	x86_test_reset(&test, 64);
	memset(test.memory + SECOND_GPA, 0, PAGE);
	memset(table(), 0, PAGE);
	/* Linear addresses from REGION on, which is 1 GiB, have a directory of their own. */
	directory[1] = (TABLE_GPA + PAGE) | PTE_FRESH;
	memset((uint8_t *)table() + PAGE, 0, PAGE);
	table()[512] = TABLE_GPA | PTE_FRESH;
	table()[7] = VICTIM_GPA | PTE_FRESH;
	table()[8] = SECOND_GPA | PTE_FRESH;
	memcpy(test.memory + X86_TEST_CODE, program, (size_t)(end - program));
	/* mov %rax, (%rbx); ret */
	memcpy(test.memory + FRESH_GPA, "\x48\x89\x03\xc3", 4);
	cpu->gpr[CPU_RAX] = 0x1122334455667788;
	cpu->gpr[CPU_RBX] = VICTIM_GPA;
	cpu->gpr[CPU_RSI] = WINDOW;
	cpu->gpr[CPU_RDI] = WINDOW + PAGE;
	cpu->gpr[CPU_RDX] = TABLE_GPA + 96;
	cpu->gpr[CPU_RBP] = FRESH_GPA;
	cpu->halted = false;
	waits = 0;
	is_alone = false;
	is_dirty = false;
	memset(copy, 0, sizeof(copy));
}

/* Other CPUs have code there. */
static void mark_table(void)
{
	test.cpu.platform = &x86_test_platform; /* nobody waits for that */
	code_mark(&test.cpu, TABLE_GPA + MARKED_OFFSET, 1);
	test.cpu.platform = &platform;
	flush();
}

static void run_at(const uint8_t *program, const uint8_t *end, void (*check)(void))
{
	prepare(program, end);
	mark_table();
	assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_HALTED);
	mprotect(hosts[0], PAGE, PROT_READ | PROT_WRITE);
	if (event == LOG_IS_TAKEN)
		assert_true(is_dirty || memcmp(copy, hosts[0], PAGE) == 0);
	else
		check();
}

/* Once for each wait. At least `least` of them, so that the program does what it is meant to. */
static void run_each(const uint8_t *program, const uint8_t *end, unsigned least, void (*check)(void))
{
	for (event = VICTIM_CHANGES; event <= LOG_IS_TAKEN; event++) {
		event_at = 0;
		do {
			run_at(program, end, check);
		} while (event_at++ < waits);
		assert_true(waits >= least);
	}
}

#define RUN_EACH(name, least, check) run_each(name, name##_end, least, check)

/* Some bytes of the victim: in the memory that it was, or in the one that it has become. */
static bool victim_has(unsigned offset, const void *bytes, unsigned size)
{
	return memcmp(hosts[0] + offset, bytes, size) == 0 ||
	       (present == 1 && memcmp(hosts[1] + offset, bytes, size) == 0);
}

/* -- two pages: the second one's walk waits -- */

PROGRAM(store_two, "mov %rax, -4(%rdi)");

static void check_store_two(void)
{
	assert_true(victim_has(PAGE - 4, "\x88\x77\x66\x55", 4));
	assert_memory_equal(test.memory + SECOND_GPA, "\x44\x33\x22\x11", 4);
}

static void test_store(void **state)
{
	(void)state;
	RUN_EACH(store_two, 2, check_store_two);
}

/* The victim reads as what it is at the end, or as what it was. */
PROGRAM(load_two, "movl $0x01020304, 0xffc(%rsi)\nmov -4(%rdi), %rax");

static void check_load_two(void)
{
	uint64_t rax = test.cpu.gpr[CPU_RAX];

	assert_true(rax == 0x01020304 || rax == 0);
}

static void test_load(void **state)
{
	(void)state;
	RUN_EACH(load_two, 2, check_load_two);
}

PROGRAM(store_vector, "movq %rax, %xmm0\nmovups %xmm0, -8(%rdi)\nfxsave -256(%rdi)");

static void check_nothing(void)
{
}

static void test_vector(void **state)
{
	(void)state;
	RUN_EACH(store_vector, 2, check_nothing);
}

PROGRAM(locked_two, "lock addl $1, -2(%rdi)\nmov %rax, (%rbx)\nlock addl $1, -2(%rdi)\nmov %eax, 8(%rbx)");

static void check_locked_two(void)
{
	assert_true(victim_has(0, "\x88\x77\x66\x55", 4) || present == 0);
	assert_true(victim_has(8, "\x88\x77\x66\x55", 4));
}

static void test_locked(void **state)
{
	(void)state;
	RUN_EACH(locked_two, 4, check_locked_two);
}

PROGRAM(string, "lea 0xf00(%rsi), %rsi\nmov $64, %ecx\nrep movsb");

static void test_string(void **state)
{
	(void)state;
	RUN_EACH(string, 2, check_nothing);
}

PROGRAM(string_down, "xchg %rsi, %rdi\nadd $0xff0, %rdi\nmov $64, %ecx\nrep movsb");

static void test_string_crossing(void **state)
{
	(void)state;
	RUN_EACH(string_down, 2, check_nothing);
}

/* mov $0x11223344, %ecx; hlt, two bytes of it in the victim. */
PROGRAM(fetch, "movw $0x44b9, 0xffe(%rsi)\nmovl $0xf4112233, 0x300000\n"
	"mov %rdi, %r8\nsub $2, %r8\njmp *%r8");

static void test_fetch(void **state)
{
	(void)state;
	/* What the victim becomes holds another instruction: mov $0x11223355, %ecx. */
	for (event_at = 0, event = VICTIM_CHANGES;; event_at++) {
		prepare(fetch, fetch_end);
		memcpy(hosts[1] + PAGE - 2, "\xb9\x55", 2);
		mark_table();
		assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_HALTED);
		if (event_at >= waits)
			break;
		assert_true(test.cpu.gpr[CPU_RCX] == 0x11223344 ||
			    test.cpu.gpr[CPU_RCX] == 0x11223355);
	}
	assert_true(waits >= 2);
	assert_int_equal(test.cpu.gpr[CPU_RCX], 0x11223344);
}

/* -- a wait at the end, and an access behind it that finds the TLB as it was -- */

PROGRAM(code_write, "mov %rax, (%rbx)\nmovb $1, 8(%rdx)\nmov %rax, 8(%rbx)\npush %rax\n"
	"mov %eax, 16(%rbx)");

static void check_code_write(void)
{
	assert_true(victim_has(0, "\x88\x77\x66\x55", 4));
	assert_true(victim_has(8, "\x88\x77\x66\x55", 4));
	assert_true(victim_has(16, "\x88\x77\x66\x55", 4));
}

static void test_code_write(void **state)
{
	(void)state;
	RUN_EACH(code_write, 2, check_code_write);
}

PROGRAM(exchange, "mov %rax, (%rbx)\nlock cmpxchg16b -32(%rdx)\nmov %rax, 8(%rbx)\n"
	"lock btsl $1, 2(%rdx)\nmov %rax, 16(%rbx)\nxchg %eax, 16(%rdx)\nmov %rsi, 24(%rbx)");

static void check_exchange(void)
{
	assert_true(victim_has(0, "\x88\x77\x66\x55", 4));
	assert_true(victim_has(24, "\x00\x70\x00\x40", 4));
}

static void test_exchange(void **state)
{
	(void)state;
	RUN_EACH(exchange, 2, check_exchange);
}

PROGRAM(fresh, "mov %eax, 8(%rbx)\ncall *%rbp\nmov %eax, 16(%rbx)");

static void check_fresh(void)
{
	assert_true(victim_has(0, "\x88\x77\x66\x55", 4));
	assert_true(victim_has(16, "\x88\x77\x66\x55", 4));
}

/* First code waits where another CPU may write to its page. */
static void test_fresh_code(void **state)
{
	static struct cpu other;
	struct tiers tiers = { .cpu = &other, .code = &test.vm.code };

	(void)state;
	assert_int_equal(cpu_create(&other, 1, NULL, &x86_test_platform, &test), 0);
	tlb_note_writable(&other, X86_TEST_CODE);
	tlb_note_writable(&other, FRESH_GPA);
	code_index_add_cpu(&test.vm.code, &tiers);
	RUN_EACH(fresh, 4, check_fresh);
	code_index_remove_cpu(&test.vm.code, &tiers);
	cpu_destroy(&other);
}

/* Stores off one base, which translated code proves together, around an instruction that waits. */
PROGRAM(region, "mov $3, %ecx\n1: mov %rax, (%rbx)\nmov %rax, 8(%rbx)\nlock addl $1, -2(%rdi)\n"
	"mov %rax, 16(%rbx)\nmov %rax, 24(%rbx)\ndec %ecx\njnz 1b");

static void check_region(void)
{
	for (unsigned i = 0; i < 4; i++)
		assert_true(victim_has(8 * i, "\x88\x77\x66\x55", 4));
}

static void test_region(void **state)
{
	(void)state;
	RUN_EACH(region, 4, check_region);
}

/* Pushes into the victim, each of which is a store of its own, the first into code. */
PROGRAM(frame, "lea 32(%rbx), %rsp\nmov %rax, (%rbx)\npushq $1\nlock addl $1, -2(%rdi)\npushq $2\n"
	"enter $8, $3\n");

static void test_frame(void **state)
{
	(void)state;
	RUN_EACH(frame, 2, check_nothing);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, setup, teardown),                                    \
	cmocka_unit_test_setup_teardown(name, setup_translator, teardown),                         \
	cmocka_unit_test_setup_teardown(name, setup_lean, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_store), TEST(test_load), TEST(test_vector), TEST(test_locked),
		TEST(test_string), TEST(test_string_crossing), TEST(test_fetch),
		TEST(test_code_write), TEST(test_exchange), TEST(test_fresh_code),
		TEST(test_region), TEST(test_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
