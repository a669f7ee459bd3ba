/*
 * Decoded blocks that the CPUs of a VM share: one decode for all; what one CPU removes while another is in it; a
 * store so small that blocks make way all the time. Translators are not involved.
 *
 * Most of it runs on one thread: a CPU is "in the midst of a block" by an instruction that needs an exclusive section, as
 * LOCK over two cache lines does, in whose beginning other CPUs have their turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include "engine/run/interp/code.h"
#include "engine/vm/exclusive.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system/cpuid.h"
#include "x86_platform.h"

#define PROGRAM(name, text)                                                                        \
	__asm__(".pushsection .rodata\n" #name ":\n" text "\nud2\n" #name "_end:\n.popsection\n");  \
	extern const uint8_t name[], name##_end[]

#define STORE_SIZE (64u << 10)
#define CHUNKS     4u
#define ACTORS     5u
#define TRAIN      X86_TEST_DATA /* much code */

/* A CPU, and its part in exclusive sections. */
struct actor {
	struct runner runner; /* first: pause_actor */
	struct exclusive_member member;
	struct cpu *cpu;
	void (*in_section)(void); /* what happens before the next one of its sections; NULL: nothing */
};

static struct x86_test test;
static struct actor actors[ACTORS];
static struct exclusive exclusive;

static struct actor *actor_of_member(struct exclusive_member *member)
{
	return (struct actor *)((char *)member - offsetof(struct actor, member));
}

static void pause_member(struct exclusive_member *member)
{
	cpu_request(actor_of_member(member)->cpu, CPU_REQUEST_PAUSE);
}

static bool find_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context;
	return x86_test_page(&test, gpa, page);
}

static void begin_section(void *context)
{
	struct actor *actor = context;
	void (*in_section)(void) = actor->in_section;

	actor->in_section = NULL;
	if (in_section) {
		exclusive_leave(&exclusive, &actor->member);
		in_section();
	}
	exclusive_begin(&exclusive, &actor->member);
}

static void end_section(void *context)
{
	struct actor *actor = context;

	exclusive_end(&exclusive, &actor->member);
}

static const struct cpu_platform platform = {
	.page_lookup = find_page, .exclusive_begin = begin_section, .exclusive_end = end_section,
};

static int create_actor(unsigned i)
{
	struct actor *actor = &actors[i];

	memset(actor, 0, sizeof(*actor));
	actor->member.pause = pause_member;
	actor->cpu = &actor->runner.cpu.cpu;
	if (runner_create(&actor->runner, &test.vm, RUN_INTERPRETED, i, NULL, &platform, actor))
		return -1;
	x86_test_set_mode(actor->cpu, test.memory, 64);
	exclusive_add(&exclusive, &actor->member);
	return 0;
}

static int setup_with(size_t size)
{
	if (x86_test_create(&test, 64))
		return -1;
	/* It is for its memory and its VM only. */
	runner_destroy(&test.runner);
	interp_store_destroy(test.vm.decoded);
	if (interp_store_create(&test.vm.code, size, size, &test.vm.decoded))
		return -1;
	exclusive_init(&exclusive);
	for (unsigned i = 0; i < ACTORS; i++)
		if (create_actor(i))
			return -1;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(INTERP_STORE_SIZE);
}

static int setup_small(void **state)
{
	(void)state;
	return setup_with(STORE_SIZE);
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ACTORS; i++)
		runner_destroy(&actors[i].runner);
	exclusive_destroy(&exclusive);
	run_vm_destroy(&test.vm);
	munmap(test.memory, X86_TEST_MEMORY);
	return 0;
}

/* Run actor i's CPU from rip to the first exception. Others may run at the same time. */
static int run(unsigned i, uint64_t rip)
{
	struct actor *actor = &actors[i];
	struct cpu *cpu = actor->cpu;
	struct catch catch;

	cpu->rip = rip;
	cpu->exception.pending = false;
	exclusive_enter(&exclusive, &actor->member);
	catch_begin(&catch, cpu);
	if (!setjmp(catch.place))
		for (;;) {
			uint32_t mask = CPU_REQUEST_STOP_BLOCK | CPU_REQUEST_PAUSE;

			if (atomic_fetch_and(&cpu->requests, ~mask) & CPU_REQUEST_PAUSE) {
				exclusive_leave(&exclusive, &actor->member);
				exclusive_enter(&exclusive, &actor->member);
			}
			tiers_run(cpu);
		}
	catch_end(&catch, cpu);
	fpu_leave(cpu);
	exclusive_leave(&exclusive, &actor->member);
	return cpu->exception.pending ? cpu->exception.vector : -1;
}

static uint64_t decoded(unsigned i)
{
	return interp_get_statistics(actors[i].cpu).blocks;
}

static void put(uint64_t gpa, const uint8_t *from, const uint8_t *to)
{
	memcpy(test.memory + gpa, from, (size_t)(to - from));
}

/* -- sharing -- */

PROGRAM(program_sum, "1: add $3, %eax; dec %ecx; jnz 1b; add $4, %eax");

static void test_sharing(void **state)
{
	uint64_t first = 0;

	(void)state;
	put(X86_TEST_CODE, program_sum, program_sum_end);
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].cpu->gpr[CPU_RCX] = 10;
		assert_int_equal(run(i, X86_TEST_CODE), EXCEPTION_UD);
		assert_int_equal(actors[i].cpu->gpr[CPU_RAX], 34);
		if (!i)
			first = decoded(0);
		assert_int_equal(decoded(i), i ? 0 : first);
	}
	assert_true(first > 0);
	/* What one of them stores over is decoded once more, for all. */
	test.memory[X86_TEST_CODE + 2] = 5;
	code_changed(&test.vm.code, X86_TEST_CODE + 2, 1);
	for (unsigned i = ACTORS; i-- > 0;) {
		actors[i].cpu->gpr[CPU_RCX] = 10;
		actors[i].cpu->gpr[CPU_RAX] = 0;
		assert_int_equal(run(i, X86_TEST_CODE), EXCEPTION_UD);
		assert_int_equal(actors[i].cpu->gpr[CPU_RAX], 54);
		assert_true(i == ACTORS - 1 ? decoded(i) > 0 : decoded(i) == (i ? 0 : first));
	}
}

/* Bytes that mean something else by another CPUID are decoded for that. */
static void test_rules(void **state)
{
	static const uint8_t code[] = { 0xf3, 0x0f, 0xbd, 0xc1, 0x0f, 0x0b }; /* lzcnt or bsr ecx, eax */
	struct kvm_cpuid_entry2 *entries = calloc(1, sizeof(*entries));

	(void)state;
	if (!host_has(HOST_LZCNT)) {
		free(entries);
		skip();
	}
	put(X86_TEST_CODE, code, code + sizeof(code));
	entries->function = 1;
	assert_int_equal(cpu_set_cpuid(actors[1].cpu, entries, 1), 0);
	for (unsigned i = 0; i < 6; i++) {
		unsigned who = i % 3;

		actors[who].cpu->gpr[CPU_RCX] = 1;
		assert_int_equal(run(who, X86_TEST_CODE), EXCEPTION_UD);
		assert_int_equal(actors[who].cpu->gpr[CPU_RAX], who == 1 ? 0 : 31);
	}
	assert_int_equal(decoded(2), 0);
	assert_true(decoded(0) && decoded(1));
}

/* More kinds of CPUs than the store tells apart share with nobody, and are right all the same. */
static void test_many_rules(void **state)
{
	static const uint8_t code[] = { 0xf3, 0x0f, 0xbd, 0xc1, 0x0f, 0x0b };

	(void)state;
	put(X86_TEST_CODE, code, code + sizeof(code));
	for (unsigned i = 0; i < 3 * STORE_RULES; i++) {
		struct kvm_cpuid_entry2 *entries = calloc(2, sizeof(*entries));
		bool has_lzcnt = i % 2 && host_has(HOST_LZCNT);

		entries[0].function = 1;
		entries[0].edx = i << 4;
		entries[1].function = 0x80000001;
		entries[1].ecx = has_lzcnt ? 1 << 5 : 0;
		assert_int_equal(cpu_set_cpuid(actors[i % 2].cpu, entries, 2), 0);
		actors[i % 2].cpu->gpr[CPU_RCX] = 1;
		assert_int_equal(run(i % 2, X86_TEST_CODE), EXCEPTION_UD);
		assert_int_equal(actors[i % 2].cpu->gpr[CPU_RAX], has_lzcnt ? 31 : 0);
	}
}

/* -- others than CPUs write -- */

static void write_outside(uint8_t value)
{
	test.memory[X86_TEST_CODE + 1] = value;
}

static void expect(unsigned i, uint32_t value)
{
	assert_int_equal(run(i, X86_TEST_CODE), EXCEPTION_UD);
	assert_int_equal(actors[i].cpu->gpr[CPU_RAX], value);
}

/* A compare counts for a CPU if it came after what that has seen, whoever made it. */
static void test_freshness(void **state)
{
	static const uint8_t code[] = { 0xb8, 1, 0, 0, 0, 0x0f, 0x0b };
	uint64_t times = decoded(0);

	(void)state;
	put(X86_TEST_CODE, code, code + sizeof(code));
	for (unsigned i = 0; i < 3; i++)
		expect(i, 1);
	for (unsigned value = 2; value < 100; value += 3) {
		/* One has compared before the write, in an epoch of its own. */
		actors[0].cpu->code_epoch++;
		expect(0, value - 1);
		write_outside((uint8_t)value);
		actors[1].cpu->code_epoch++;
		expect(1, value);
		/* The others begin theirs after that: there is nothing to decode. */
		times = decoded(0);
		actors[0].cpu->code_epoch++;
		expect(0, value);
		assert_int_equal(decoded(0), times);
		/* A page that is mapped. */
		write_outside((uint8_t)(value + 1));
		tlb_flush_all(actors[2].cpu);
		expect(2, value + 1);
		/* Both, by two CPUs, and a compare in between. */
		actors[1].cpu->code_epoch++;
		expect(1, value + 1);
		write_outside((uint8_t)(value + 2));
		actors[0].cpu->code_epoch++;
		tlb_flush_all(actors[1].cpu);
		expect(1, value + 2);
		expect(0, value + 2);
	}
}

/* -- in the midst of a block -- */

/* The first instruction lies over two cache lines. */
PROGRAM(program_wait, "lock incl 62(%rsi); add $1, %eax; add $1, %eax; add $1, %eax; add $1, %eax");

#define ADD_AT 5u /* the operand of the first ADD: lock, opcode, ModRM, displacement; opcode, ModRM */

static void ready(unsigned i)
{
	actors[i].cpu->gpr[CPU_RSI] = X86_TEST_STACK;
	actors[i].cpu->gpr[CPU_RAX] = 0;
}

/* Actor 1 runs the program; `in_section` happens when its first instruction waits. */
static void run_waiting(void (*in_section)(void), uint32_t sum)
{
	put(X86_TEST_CODE, program_wait, program_wait_end);
	assert_int_equal(test.memory[X86_TEST_CODE + ADD_AT - 1], 0x83);
	for (unsigned i = 0; i < 2; i++) {
		ready(i);
		actors[i].cpu->code_epoch++;
		assert_int_equal(run(i, X86_TEST_CODE), EXCEPTION_UD);
		assert_int_equal(actors[i].cpu->gpr[CPU_RAX], 4);
	}
	ready(1);
	actors[1].in_section = in_section;
	assert_int_equal(run(1, X86_TEST_CODE), EXCEPTION_UD);
	assert_null(actors[1].in_section);
	assert_int_equal(actors[1].cpu->gpr[CPU_RAX], sum);
}

/* A store that another CPU makes: who is in the block goes on with what is there now. */
static void store_over(void)
{
	test.memory[X86_TEST_CODE + ADD_AT + 1] = 7;
	code_changed(&test.vm.code, X86_TEST_CODE + ADD_AT + 1, 1);
}

static void test_removal(void **state)
{
	(void)state;
	run_waiting(store_over, 10);
}

/* Another CPU has removed the block before, since it was not what memory holds. */
static void find_stale(void)
{
	test.memory[X86_TEST_CODE + ADD_AT + 1] = 6;
	ready(0);
	actors[0].cpu->code_epoch++;
	assert_int_equal(run(0, X86_TEST_CODE), EXCEPTION_UD);
	assert_int_equal(actors[0].cpu->gpr[CPU_RAX], 9);
	store_over();
}

static void test_removal_behind_removal(void **state)
{
	(void)state;
	run_waiting(find_stale, 10);
}

/* -- a block that is there, but not marked yet -- */

#define WRITER_AT (X86_TEST_CODE + 0x3000u)

PROGRAM(program_write, "mov %cl, 1(%rdi)");

static void write_code(uint8_t value)
{
	actors[2].cpu->gpr[CPU_RDI] = X86_TEST_CODE;
	actors[2].cpu->gpr[CPU_RCX] = value;
	assert_int_equal(run(2, WRITER_AT), EXCEPTION_UD);
}

/* Who finds it before its stores are noticed does not run it before that. */
static void find_unmarked(void)
{
	expect(1, 1);
	write_code(2);
	expect(1, 2);
}

/* Actor 0 decodes the program, and waits before stores to it are noticed: another CPU may write there. */
static void run_marking(void (*in_section)(void), uint32_t result)
{
	static const uint8_t code[] = { 0xb8, 1, 0, 0, 0, 0x0f, 0x0b };

	put(WRITER_AT, program_write, program_write_end);
	put(X86_TEST_CODE, code, code + sizeof(code));
	write_code(1);
	actors[0].in_section = in_section;
	expect(0, result);
	assert_null(actors[0].in_section);
}

static void test_unmarked(void **state)
{
	(void)state;
	run_marking(find_unmarked, 2);
	expect(1, 2);
}

/* -- room -- */

#define TRAIN_BLOCKS 8192u

/* inc %eax; jmp to the next 64 bytes */
static void make_train(void)
{
	static const uint8_t step[] = { 0xff, 0xc0, 0xeb, 0x3c }, end[] = { 0x0f, 0x0b };

	for (unsigned i = 0; i < TRAIN_BLOCKS; i++)
		memcpy(test.memory + TRAIN + i * 64, step, sizeof(step));
	memcpy(test.memory + TRAIN + TRAIN_BLOCKS * 64, end, sizeof(end));
}

static void run_train(unsigned i)
{
	actors[i].cpu->gpr[CPU_RAX] = 0;
	assert_int_equal(run(i, TRAIN), EXCEPTION_UD);
	assert_int_equal(actors[i].cpu->gpr[CPU_RAX], TRAIN_BLOCKS);
}

static void take_all_room(void)
{
	uint64_t before = atomic_load(&test.vm.decoded->evictions);

	run_train(3);
	assert_true(atomic_load(&test.vm.decoded->evictions) > before + 2 * CHUNKS);
}

/* The memory of a block that a CPU is in stays, and nobody is led to memory that was used again. */
static void test_eviction(void **state)
{
	(void)state;
	make_train();
	for (unsigned round = 0; round < 3; round++) {
		run_waiting(take_all_room, 4);
		run_train(1);
		run_train(0);
	}
}

/* Nor are those in use that CPUs have left by an exception, when they run again. */
static void take_all_memory(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		interp_of(actors[i].cpu)->running = NULL;
	take_all_room();
}

/* Nor does a CPU go on with a block whose memory was used again while it waited to mark it. */
static void test_eviction_of_unmarked(void **state)
{
	static const uint8_t alone[] = { 0x0f, 0x0b };
	struct interp_cpu *interp = interp_of(actors[0].cpu);
	const struct jump_entry *jump = jump_entry_of(interp, X86_TEST_CODE);

	(void)state;
	make_train();
	/* So that what comes there does not begin at the same place. */
	put(WRITER_AT + 0x800, alone, alone + sizeof(alone));
	assert_int_equal(run(3, WRITER_AT + 0x800), EXCEPTION_UD);
	run_marking(take_all_memory, 1);
	assert_non_null(jump->block);
	assert_ptr_equal(jump->block, store_find(test.vm.decoded, X86_TEST_CODE, block_mode(interp)));
	expect(1, 1);
	run_train(0);
}

/* CPUs are in all chunks: instructions are executed one by one; and when they have gone, are decoded again. */
static void test_no_room(void **state)
{
	struct interp_store *store = test.vm.decoded;
	uint64_t before;

	(void)state;
	make_train();
	run_train(0);
	for (unsigned i = 0; i < CHUNKS; i++)
		interp_of(actors[i].cpu)->running =
			(const struct interp_block *)(store->arena + i * store->chunk_size);
	before = decoded(4);
	run_train(4);
	assert_true(decoded(4) - before < TRAIN_BLOCKS / 2);
	for (unsigned i = 0; i < ACTORS; i++)
		interp_of(actors[i].cpu)->running = NULL;
	before = decoded(4);
	run_train(4);
	assert_true(decoded(4) - before > TRAIN_BLOCKS / 2);
}

/* -- all at once -- */

#define THREADS      4u
#define SLOTS        4096u
#define SLOT_SHIFT   10      /* four in a page, of different owners */
#define SLOTS_AT     0x400000u
#define SLOTS_SAID   0x300000u /* what they answer at least, 32 bits each */
#define DEVICE_SLOTS 32u
#define DEVICE_AT    0x900000u
#define DEVICE_SAID  0x310000u /* likewise; one table a thread */
#define STACKS       0x320000u
#define MILLISECONDS 2500
#define ROUND_CALLS  300

/*
 * A slot is a function that returns a number, which its owner counts up in the code, and then in a table. Whoever calls
 * one of another owner gets no less than the table had before; the owner itself gets what it wrote.
 * EBX calls; R12 random; R13 slots, R14 their table, R9 how many there are - 1, R15 the CPU's number. R8 is 1 in the end if
 * one has answered wrong. Numbers stay below 250: one byte, which no fetch can tear.
 */
PROGRAM(program_slots,
	"1: imul $1664525, %r12d, %r12d; add $1013904223, %r12d\n"
	"mov %r12d, %ecx; shr $8, %ecx; and %r9d, %ecx\n"
	"mov %rcx, %rdi; shl $10, %rdi; add %r13, %rdi\n"
	"mov (%r14, %rcx, 4), %esi\n"
	"mov %ecx, %edx; and $3, %edx; cmp %r15d, %edx; jne 2f\n"
	"cmp $249, %esi; jae 2f\n"
	"inc %esi; mov %esi, 4(%rdi); mov %esi, (%r14, %rcx, 4)\n"
	"call *%rdi; cmp %esi, %eax; jne 4f; jmp 3f\n"
	"2: call *%rdi; cmp %esi, %eax; jb 4f\n"
	"3: dec %ebx; jnz 1b; ud2\n"
	"4: mov $1, %r8d");

static _Atomic uint32_t device_said[DEVICE_SLOTS];
static _Atomic bool is_over;
static _Atomic unsigned wrong, calls;

static void make_slots(uint64_t at, unsigned count)
{
	static const uint8_t code[] = { 0x90, 0x90, 0x90, 0xb8, 0, 0, 0, 0, 0xc3 }; /* mov $0, %eax; ret */

	for (unsigned i = 0; i < count; i++)
		put(at + ((uint64_t)i << SLOT_SHIFT), code, code + sizeof(code));
}

static void call_slots(unsigned i, uint64_t at, uint64_t said, unsigned count, unsigned number)
{
	struct cpu *cpu = actors[i].cpu;

	cpu->gpr[CPU_RBX] = ROUND_CALLS;
	cpu->gpr[CPU_R13] = at;
	cpu->gpr[CPU_R14] = said;
	cpu->gpr[CPU_R9] = count - 1;
	cpu->gpr[CPU_R15] = number;
	cpu->gpr[CPU_R8] = 0;
	cpu->gpr[CPU_RSP] = STACKS + (i + 1) * 0x1000;
	if (run(i, X86_TEST_CODE) != EXCEPTION_UD || cpu->gpr[CPU_R8])
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&calls, ROUND_CALLS);
}

/* What the thread's CPU is to know of the device's writes from here on. */
static void see_device(unsigned i, unsigned round)
{
	_Atomic uint32_t *table = (_Atomic uint32_t *)(test.memory + DEVICE_SAID + i * 0x1000);

	for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++)
		atomic_store(&table[slot], atomic_load(&device_said[slot]));
	if (round % 2)
		actors[i].cpu->code_epoch++;
	else
		tlb_flush_all(actors[i].cpu);
}

static void *play(void *argument)
{
	unsigned i = (unsigned)(uintptr_t)argument;

	actors[i].cpu->gpr[CPU_R12] = 12345 * (i + 1);
	for (unsigned round = 0; !atomic_load(&is_over); round++) {
		call_slots(i, SLOTS_AT, SLOTS_SAID, SLOTS, i);
		exclusive_enter(&exclusive, &actors[i].member);
		see_device(i, round);
		if (i == 0 && round % 4 == 0)
			code_cool(&test.vm.code); /* that not all is hot in the end */
		exclusive_leave(&exclusive, &actors[i].member);
		call_slots(i, DEVICE_AT, DEVICE_SAID + i * 0x1000, DEVICE_SLOTS, THREADS);
	}
	return NULL;
}

/* Writes to code that no CPU is told of. */
static void be_a_device(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned i = 0; i < MILLISECONDS; i++) {
		unsigned slot = i % DEVICE_SLOTS;
		uint32_t number = atomic_load(&device_said[slot]) + 1;

		atomic_store((_Atomic uint32_t *)(test.memory + DEVICE_AT + (slot << SLOT_SHIFT) + 4), number);
		atomic_store(&device_said[slot], number);
		nanosleep(&pause, NULL);
	}
}

_Static_assert(MILLISECONDS / DEVICE_SLOTS < 250, "numbers of one byte");

static void test_all_at_once(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	put(X86_TEST_CODE, program_slots, program_slots_end);
	make_slots(SLOTS_AT, SLOTS);
	make_slots(DEVICE_AT, DEVICE_SLOTS);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, play, (void *)(uintptr_t)i), 0);
	be_a_device();
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	print_message("%u calls, %llu blocks decoded by the first CPU, %llu chunks emptied\n", atomic_load(&calls),
		      (unsigned long long)decoded(0), (unsigned long long)atomic_load(&test.vm.decoded->evictions));
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(atomic_load(&test.vm.decoded->evictions) > 2 * CHUNKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sharing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freshness, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal_behind_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unmarked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_eviction, setup_small, teardown),
		cmocka_unit_test_setup_teardown(test_eviction_of_unmarked, setup_small, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup_small, teardown),
		cmocka_unit_test_setup_teardown(test_all_at_once, setup_small, teardown),
	};

	return cmocka_run_group_tests_name("run_decoded", tests, NULL, NULL);
}
