/*
 * The code index: what is marked, who hears of a change, and that only what lies in a range goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "engine/run/events.h"
#include "engine/run/interp/interp.h"
#include "engine/run/tier/code_outside.h"
#include "x86_platform.h"

#define PAGE  0x1000u
#define OTHER (X86_TEST_CODE + 8 * PAGE) /* code in another page */
#define FAR   (4ull << 30)

static struct x86_test test;

/* A holder that says what it is told. */
struct listener {
	struct code_holder holder;
	uint64_t gpa, last;
	unsigned calls;
	bool has_code;
};

static bool hear(struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	struct listener *listener = (struct listener *)holder;

	listener->gpa = gpa;
	listener->last = last;
	listener->calls++;
	return listener->has_code;
}

static struct listener listener;

static int setup_with(enum run_choice choice)
{
	if (x86_test_create_eager(&test, choice, 0))
		return -1;
	listener = (struct listener){ .holder.drop = hear };
	code_index_add_holder(&test.vm.code, &listener.holder);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(RUN_INTERPRETED);
}

static int setup_translator(void **state)
{
	(void)state;
	return setup_with(RUN_BEST);
}

static int teardown(void **state)
{
	(void)state;
	code_index_remove_holder(&test.vm.code, &listener.holder);
	x86_test_destroy(&test);
	return 0;
}

static void test_marks(void **state)
{
	struct code_index *index = &test.vm.code;

	(void)state;
	assert_int_equal(code_word(index, 0x5000), 0);
	code_mark(&test.cpu, 0x5040, 65);
	assert_int_equal(code_word(index, 0x5fff), 6);
	code_mark(&test.cpu, 0x5fff, 1);
	assert_true(code_word(index, 0x5000) == (6 | 1ull << 63));
	/* The same place in each of many runs, of which some share a bucket. */
	for (uint64_t i = 1; i <= 3 * CODE_RUN_HASHES; i++)
		code_mark(&test.cpu, 0x5000 + (i << CODE_RUN_SHIFT), (unsigned)(i % 64) + 1);
	for (uint64_t i = 1; i <= 3 * CODE_RUN_HASHES; i++)
		assert_int_equal(code_word(index, 0x5000 + (i << CODE_RUN_SHIFT)), 1);
	assert_true(code_word(index, 0x5000) == (6 | 1ull << 63));
}

/* -- a page's first code, and another CPU -- */

static struct cpu other;
static struct tiers other_tiers;
static unsigned sections, widened;
static bool tier_writes;

static void begin_section(void *context)
{
	(void)context;
	sections++;
}

static void end_section(void *context)
{
	(void)context;
}

static void begin_section_beside(void *context)
{
	(void)context;
	sections++;
}

static void widen_section(void *context)
{
	(void)context;
	widened++;
}

static bool other_may_write(const struct cpu *cpu, uint64_t gpa)
{
	return cpu == &other && tier_writes && (gpa >> 12 == 0xa || gpa >> 12 == 0xb);
}

static bool other_writes_apart(const struct cpu *cpu, uint64_t gpa)
{
	return other_may_write(cpu, gpa) && gpa >> 12 == 0xb;
}

static int setup_other_with(enum run_choice choice)
{
	static const struct cpu_platform platform = {
		.page_lookup = x86_test_page, .exclusive_begin = begin_section, .exclusive_end = end_section,
		.exclusive_begin_beside = begin_section_beside, .exclusive_widen = widen_section,
	};
	static const struct tier tier = { .name = "other", .may_write = other_may_write,
				     .writes_apart = other_writes_apart };

	if (setup_with(choice) || cpu_create(&other, 1, NULL, &platform, &test))
		return -1;
	other_tiers = (struct tiers){ .cpu = &other, .order = { &tier }, .count = 1, .code = &test.vm.code };
	code_index_add_cpu(&test.vm.code, &other_tiers);
	test.cpu.platform = &platform;
	sections = widened = 0;
	tier_writes = false;
	return 0;
}

static int setup_other(void **state)
{
	(void)state;
	return setup_other_with(RUN_INTERPRETED);
}

static int setup_other_translated(void **state)
{
	(void)state;
	return setup_other_with(RUN_TRANSLATED);
}

static int teardown_other(void **state)
{
	code_index_remove_cpu(&test.vm.code, &other_tiers);
	cpu_destroy(&other);
	return teardown(state);
}

/* Others are stopped only where one of them has noted that it may write. */
static void test_first_code(void **state)
{
	(void)state;
	code_mark(&test.cpu, 0x5000, 64);
	tlb_note_writable(&test.cpu, 0x6000); /* its own */
	code_mark(&test.cpu, 0x6000, 64);
	assert_int_equal(sections, 0);
	tlb_note_writable(&other, 0x7000);
	code_mark(&test.cpu, 0x7000, 64);
	assert_int_equal(sections, 1);
	assert_int_equal(code_word(&test.vm.code, 0x7000), 1);
	code_mark(&test.cpu, 0x7040, 64); /* not the first */
	code_mark(&test.cpu, 0x8000, 64);
	assert_int_equal(sections, 1);
	tier_writes = true;
	code_mark(&test.cpu, 0xa000, 64);
	assert_int_equal(sections, 2);
	/* Who is apart stops if it writes there, and not since it might. */
	assert_int_equal(widened, 0);
	code_mark(&test.cpu, 0xb000, 64);
	assert_int_equal(sections, 3);
	assert_int_equal(widened, 1);
	/* A flush of all forgets what was noted. */
	tlb_note_writable(&other, 0x9000);
	tlb_flush_all(&other);
	code_mark(&test.cpu, 0x9000, 64);
	assert_int_equal(sections, 3);
}

static bool runs_apart(const struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	(void)holder;
	return gpa <= 0xc000 && last >= 0xc000;
}

/* Who is apart stops before code goes that it may run a copy of; and a section for all inside of one beside is for all. */
static void test_stop_apart(void **state)
{
	(void)state;
	listener.holder.runs_apart = runs_apart;
	assert_true(cpu_exclusive_begin_beside(&test.cpu));
	code_stop_apart(&test.cpu, 0xd000, 0xdfff);
	assert_int_equal(widened, 0);
	code_stop_apart(&test.cpu, 0xbff0, 0xc03f);
	assert_int_equal(widened, 1);
	code_stop_apart(&test.cpu, 0xbff0, 0xc03f);
	assert_int_equal(widened, 1);
	cpu_exclusive_end(&test.cpu);
	assert_true(cpu_exclusive_begin_beside(&test.cpu));
	assert_false(cpu_exclusive_begin(&test.cpu));
	assert_int_equal(widened, 2);
	cpu_exclusive_end(&test.cpu);
	assert_int_equal(sections, 2);
}

/* Run a REP instruction over the page at X86_TEST_DATA, which is marked. */
static void run_over_code(uint8_t opcode, uint64_t source, uint64_t target, uint64_t count)
{
	const uint8_t code[] = { 0xf3, opcode, 0x0f, 0x0b };

	x86_test_reset(&test, 64);
	test.cpu.rip = X86_TEST_CODE + opcode * PAGE;
	memcpy(test.memory + test.cpu.rip, code, sizeof(code));
	test.cpu.gpr[CPU_RSI] = source;
	test.cpu.gpr[CPU_RDI] = target;
	test.cpu.gpr[CPU_RCX] = count;
	test.cpu.gpr[CPU_RAX] = 0x5a;
	code_mark(&test.cpu, X86_TEST_DATA, PAGE);
	sections = 0;
	listener.calls = 0;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RCX], 0);
	assert_int_equal(test.cpu.gpr[CPU_RDI], target + count);
}

/* A page of code that is overwritten is told of once, by whatever elements. */
static void test_code_overwritten(void **state)
{
	uint8_t *data = test.memory + X86_TEST_DATA;

	(void)state;
	run_over_code(0xaa, 0, X86_TEST_DATA - 100, PAGE + 200);
	assert_int_equal(sections, 1);
	assert_int_equal(listener.calls, 1);
	assert_true(listener.gpa == X86_TEST_DATA && listener.last == X86_TEST_DATA + PAGE - 1);
	assert_int_equal(code_word(&test.vm.code, X86_TEST_DATA), 0);
	for (int i = -101; i <= (int)PAGE + 100; i++)
		assert_int_equal(data[i], i >= -100 && i < (int)PAGE + 100 ? 0x5a : 0);
	/* Some granules of it; elements overlap as they must. */
	data[640] = 0x77;
	run_over_code(0xa4, X86_TEST_DATA + 640, X86_TEST_DATA + 641, 200);
	/* The first one goes alone: its look-up of the source brings the page in. */
	assert_int_equal(sections, 2);
	assert_true(listener.gpa == X86_TEST_DATA + 640 && listener.last == X86_TEST_DATA + 895);
	assert_true(code_word(&test.vm.code, X86_TEST_DATA) == (UINT64_MAX & ~(15ull << 10)));
	for (unsigned i = 639; i < 842; i++)
		assert_int_equal(data[i], i >= 640 && i < 841 ? 0x77 : 0x5a);
}

#define RACE_PAGES 20000u
#define RACE_BASE  (1ull << 30)

static _Atomic unsigned race_turn[2];
static bool race_saw[RACE_PAGES], race_stopped[RACE_PAGES];

static void meet(unsigned self, unsigned turn)
{
	atomic_store(&race_turn[self], turn + 1);
	for (unsigned i = 0; atomic_load(&race_turn[!self]) < turn + 1; i++)
		if (i >= 1000)
			sched_yield();
}

static void *write_pages(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < RACE_PAGES; i++) {
		meet(1, 2 * i);
		tlb_note_writable(&other, RACE_BASE + i * PAGE);
		race_saw[i] = code_word(&test.vm.code, RACE_BASE + i * PAGE) != 0;
		meet(1, 2 * i + 1);
		tlb_flush_all(&other);
	}
	return NULL;
}

/* At the same time: either the one that is about to write sees the code, or it is stopped. */
static void test_first_code_races(void **state)
{
	unsigned seen = 0, stopped = 0;
	pthread_t thread;

	(void)state;
	atomic_store(&race_turn[0], 0);
	atomic_store(&race_turn[1], 0);
	/* Its run of the index is there before, so that the two are as close as they can be. */
	for (unsigned i = 0; i < RACE_PAGES; i += CODE_RUN_PAGES)
		code_mark(&test.cpu, RACE_BASE + (RACE_PAGES + i) * PAGE, 1);
	sections = 0;
	assert_int_equal(pthread_create(&thread, NULL, write_pages, NULL), 0);
	for (unsigned i = 0; i < RACE_PAGES; i++) {
		unsigned before = sections;

		meet(0, 2 * i);
		code_mark(&test.cpu, RACE_BASE + i * PAGE, 64);
		meet(0, 2 * i + 1);
		race_stopped[i] = sections != before;
	}
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < RACE_PAGES; i++) {
		assert_true(race_saw[i] || race_stopped[i]);
		seen += race_saw[i];
		stopped += race_stopped[i];
	}
	print_message("%u of %u saw the code, %u were stopped\n", seen, RACE_PAGES, stopped);
}

/* What is written is told in whole granules, a page at a time, and is marked no more. */
static void test_changes(void **state)
{
	struct code_index *index = &test.vm.code;

	(void)state;
	code_mark(&test.cpu, 0x6f80, 128);
	code_mark(&test.cpu, 0x7000, 128);
	code_changed(index, 0x6f85, 2);
	assert_int_equal(listener.calls, 1);
	assert_true(listener.gpa == 0x6f80 && listener.last == 0x6fbf);
	assert_true(code_word(index, 0x6000) == 1ull << 63);
	code_changed(index, 0x6ffc, 8);
	assert_int_equal(listener.calls, 3);
	assert_true(listener.gpa == 0x7000 && listener.last == 0x703f);
	assert_int_equal(code_word(index, 0x6000), 0);
	assert_int_equal(code_word(index, 0x7000), 2);
}

/* A page is hot when code was lost there often enough, and cools. */
static void test_heat(void **state)
{
	struct code_index *index = &test.vm.code;

	(void)state;
	code_mark(&test.cpu, 0x8000, 64);
	for (unsigned i = 0; i < 2 * CODE_HEAT_LIMIT; i++)
		code_changed(index, 0x8000, 8);
	assert_false(code_is_hot(index, 0x8000));
	listener.has_code = true;
	for (unsigned i = 0; i < CODE_HEAT_LIMIT; i++) {
		assert_false(code_is_hot(index, 0x8000));
		code_changed(index, 0x8000, 8);
	}
	assert_true(code_is_hot(index, 0x8fff));
	assert_int_equal(code_losses(index, 0x8123), CODE_HEAT_LIMIT);
	assert_int_equal(code_losses(index, 0x9000), 0);
	assert_false(code_is_hot(index, 0x9000));
	code_cool(index);
	assert_false(code_is_hot(index, 0x8000));
}

/* Memory goes: marks and heat of its pages, of whole runs and of parts of them, and no others. */
static void test_range(void **state)
{
	struct code_index *index = &test.vm.code;
	const uint64_t run = 1ull << CODE_RUN_SHIFT;

	(void)state;
	for (uint64_t at = FAR; at < FAR + 4 * run; at += run / 2) {
		code_mark(&test.cpu, at, 64);
		code_mark(&test.cpu, at + run / 2 - PAGE, 64);
	}
	code_gone(index, FAR + run / 2, FAR + 3 * run + run / 2 - PAGE - 1);
	assert_true(listener.gpa == FAR + run / 2 && listener.last == FAR + 3 * run + run / 2 - PAGE - 1);
	for (uint64_t at = FAR; at < FAR + 4 * run; at += PAGE) {
		bool was_marked = at % (run / 2) == 0 || at % (run / 2) == run / 2 - PAGE;
		bool is_gone = at >= FAR + run / 2 && at < FAR + 3 * run + run / 2 - PAGE;

		assert_int_equal(code_word(index, at), was_marked && !is_gone);
	}
	code_gone(index, 0, UINT64_MAX);
	assert_int_equal(code_word(index, FAR), 0);
}

/* add $1, %eax; ud2: run, how many blocks were decoded or translated for it. */
static uint64_t run_at(uint64_t gpa, uint32_t sum)
{
	struct interp_statistics before = interp_get_statistics(&test.cpu);
	struct jit_statistics translated[2] = { { 0 }, { 0 } };

	if (test.vm.translations)
		jit_get_statistics(&test.cpu, &translated[0]);
	test.cpu.rip = gpa;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], sum);
	if (test.vm.translations)
		jit_get_statistics(&test.cpu, &translated[1]);
	return interp_get_statistics(&test.cpu).blocks - before.blocks + translated[1].blocks -
	       translated[0].blocks;
}

/* Code outside of the memory that goes needs not be made again; code inside it does. */
static void test_code_stays(void **state)
{
	static const uint8_t code[] = {0x83, 0xc0, 0x01, 0x0f, 0x0b};
	const uint64_t last[] = { OTHER + PAGE - 1, OTHER + 1000 * PAGE - 1 };
	uint32_t sum = 0;

	(void)state;
	memcpy(test.memory + X86_TEST_CODE, code, sizeof(code));
	memcpy(test.memory + OTHER, code, sizeof(code));
	test.cpu.code_epoch++;
	/* UD2 is an instruction of its own for the interpreter: several runs until all is made. */
	for (unsigned i = 0; i < 3; i++) {
		run_at(X86_TEST_CODE, ++sum);
		run_at(OTHER, ++sum);
	}
	for (unsigned i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
		code_gone(&test.vm.code, OTHER, last[i]);
		assert_int_equal(run_at(X86_TEST_CODE, ++sum), 0);
		assert_true(run_at(OTHER, ++sum) > 0);
		run_at(OTHER, ++sum);
		assert_int_equal(run_at(OTHER, ++sum), 0);
	}
}

/* Whoever writes from outside is told whether it matters: granules of which code was made, in any page of a range. */
static void test_made_of(void **state)
{
	struct code_index *index = &test.vm.code;
	const uint64_t run = 1ull << CODE_RUN_SHIFT;

	(void)state;
	code_mark(&test.cpu, FAR + 0x1040, 64);
	code_mark(&test.cpu, FAR + 3 * run, 64);
	assert_true(code_is_made_of(index, FAR + 0x1040, 1));
	assert_true(code_is_made_of(index, FAR + 0x107f, 1));
	assert_true(code_is_made_of(index, FAR + 0x1000, 0x41));
	assert_false(code_is_made_of(index, FAR + 0x1000, 0x40));
	assert_false(code_is_made_of(index, FAR + 0x1080, PAGE));
	assert_false(code_is_made_of(index, FAR + 0x1040, 0));
	assert_true(code_is_made_of(index, FAR, 2 * PAGE));
	assert_false(code_is_made_of(index, FAR, PAGE));
	/* Over runs that there are, and are not, up to the first byte of one. */
	assert_false(code_is_made_of(index, FAR + 0x2000, 3 * run - 0x2000));
	assert_true(code_is_made_of(index, FAR + 0x2000, 3 * run - 0x2000 + 1));
	assert_false(code_is_made_of(index, FAR + 3 * run + 64, run));
	assert_true(code_is_made_of(index, 0, UINT64_MAX));
	code_changed(index, FAR + 0x1040, 4);
	assert_false(code_is_made_of(index, FAR, 2 * PAGE));
	assert_false(code_is_made_of(index, UINT64_MAX - 7, 8));
}

/* What CPUs see of writes from outside that were told. */
static void write_outside(uint64_t gpa, uint64_t size)
{
	code_written_outside(&test.vm.code, gpa, size);
	event_see_outside_writes(&test.cpu);
}

/* Code that was written from outside runs as it is when that was told, before the CPU runs again. Code beside it stays, and is
 * not even compared. */
static void test_told_writes(void **state)
{
	static const uint8_t code[] = { 0x83, 0xc0, 0x01, 0x0f, 0x0b };
	uint64_t epoch;
	uint32_t sum = 0;

	(void)state;
	memcpy(test.memory + OTHER, code, sizeof(code));
	memcpy(test.memory + OTHER + 2 * CODE_GRANULE, code, sizeof(code));
	test.cpu.tells_outside_writes = true;
	write_outside(0, UINT64_MAX);
	for (unsigned i = 0; i < 3; i++) {
		run_at(OTHER, ++sum);
		run_at(OTHER + 2 * CODE_GRANULE, ++sum);
	}
	epoch = test.cpu.code_epoch;
	write_outside(OTHER + CODE_GRANULE, CODE_GRANULE);
	assert_int_equal(run_at(OTHER, ++sum), 0);
	for (unsigned i = 0; i < 2 * CODE_HEAT_LIMIT; i++) {
		assert_true(code_is_made_of(&test.vm.code, OTHER + 2, 1));
		test.memory[OTHER + 2] = (uint8_t)(2 + i % 4);
		write_outside(OTHER - PAGE, PAGE + 3);
		assert_false(code_is_made_of(&test.vm.code, OTHER, CODE_GRANULE));
		assert_true(code_is_made_of(&test.vm.code, OTHER + 2 * CODE_GRANULE, 1));
		sum += 2 + i % 4;
		run_at(OTHER, sum);
		assert_int_equal(run_at(OTHER + 2 * CODE_GRANULE, ++sum), 0);
	}
	assert_false(code_is_hot(&test.vm.code, OTHER));
	assert_int_equal(test.cpu.code_epoch, epoch);
}

/* More than can be listed puts all code in doubt, for each CPU once; what is listed then goes all the same. */
static void test_told_too_much(void **state)
{
	uint64_t epoch = test.cpu.code_epoch;

	(void)state;
	test.cpu.tells_outside_writes = true;
	for (unsigned i = 0; i < CODE_OUTSIDE_RANGES; i++) {
		code_mark(&test.cpu, FAR + i * PAGE, 1);
		code_written_outside(&test.vm.code, FAR + i * PAGE, 4);
		/* One that the last goes on with needs no room. */
		code_written_outside(&test.vm.code, FAR + i * PAGE + 4, 4);
	}
	listener.calls = 0;
	event_see_outside_writes(&test.cpu);
	assert_int_equal(listener.calls, CODE_OUTSIDE_RANGES);
	assert_int_equal(listener.gpa, FAR + (CODE_OUTSIDE_RANGES - 1) * PAGE);
	assert_int_equal(listener.last, listener.gpa + CODE_GRANULE - 1);
	assert_false(code_is_made_of(&test.vm.code, FAR, CODE_OUTSIDE_RANGES * PAGE));
	assert_int_equal(test.cpu.code_epoch, epoch);
	for (unsigned i = 0; i <= CODE_OUTSIDE_RANGES; i++) {
		code_mark(&test.cpu, FAR + i * PAGE + 64, 64);
		code_written_outside(&test.vm.code, FAR + i * PAGE, PAGE);
		/* Not next to it. */
		code_mark(&test.cpu, FAR + 2 * i * PAGE, 1);
		code_written_outside(&test.vm.code, FAR + 2 * i * PAGE, 1);
	}
	event_see_outside_writes(&test.cpu);
	assert_int_equal(test.cpu.code_epoch, epoch + 1);
	assert_false(code_is_made_of(&test.vm.code, FAR, 2 * PAGE));
	event_see_outside_writes(&test.cpu);
	assert_int_equal(test.cpu.code_epoch, epoch + 1);
	/* A range of all there is does not look through it. */
	code_mark(&test.cpu, FAR, 1);
	listener.calls = 0;
	write_outside(0, UINT64_MAX);
	assert_int_equal(listener.calls, 0);
	assert_int_equal(test.cpu.code_epoch, epoch + 2);
	/* Up to the end of all addresses. */
	write_outside(UINT64_MAX - 7, 16);
	assert_int_equal(test.cpu.code_epoch, epoch + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_code, setup_other, teardown_other),
		cmocka_unit_test_setup_teardown(test_stop_apart, setup_other, teardown_other),
		cmocka_unit_test_setup_teardown(test_code_overwritten, setup_other, teardown_other),
		cmocka_unit_test_setup_teardown(test_code_overwritten, setup_other_translated, teardown_other),
		cmocka_unit_test_setup_teardown(test_first_code_races, setup_other, teardown_other),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heat, setup, teardown),
		cmocka_unit_test_setup_teardown(test_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_code_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_code_stays, setup_translator, teardown),
		cmocka_unit_test_setup_teardown(test_made_of, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told_writes, setup_translator, teardown),
		cmocka_unit_test_setup_teardown(test_told_too_much, setup, teardown),
	};

	return cmocka_run_group_tests_name("run_code_index", tests, NULL, NULL);
}
