/*
 * Stubs that somebody kills at any moment: while they are made, map, run, are kicked, or wait. Whoever waits for one hears of its
 * end, soon, and can make the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../stubs.h"
#include "engine/run/direct/copies.h"
#include "engine/run/direct/process.h"

#define CODE   0x400000ull
#define DATA   0x500000ull
#define PLACE  0x3d2468a00000ull
#define MANY   0x600000ull
#define PAGES  64u
#define ROUNDS 400u
#define LATE_S 60u /* a round takes some milliseconds */

static stub_function *main_function = direct_stub_main;
static uint64_t seed;

/* The pidfd of the stub that is to be killed, its killer's own; -1: none, -2: the test is over. */
static _Atomic int victim = -1;
static _Atomic unsigned pause_us;

static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

static void *kill_stubs(void *nothing)
{
	for (;;) {
		int process = atomic_exchange(&victim, -1);

		if (process == -2)
			return nothing;
		if (process < 0) {
			usleep(20);
			continue;
		}
		usleep(atomic_load(&pause_us));
		syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
		close(process);
	}
}

/* As the spawner does; and its end is on its way. */
static int spawn(void *context, struct stub *stub)
{
	int result = test_stub_spawn(context, stub);

	if (result == 0) {
		/* Making one takes some hundreds of microseconds, and more where others are at work. */
		atomic_store(&pause_us, (unsigned)draw(2u << draw(15)));
		atomic_store(&victim, dup(stub->process));
	}
	return result;
}

static const struct stub_source killed_stubs = { spawn, test_stub_kill, &main_function, 0 };

static void go(struct direct_process *process, uint64_t rip, uint64_t mask)
{
	struct direct_frame *frame = process_frame(process);

	frame->ip = rip;
	frame->cs = process->first.cs;
	frame->ss = process->first.ss;
	frame->sp = DATA + 4000;
	frame->ax = 0x777; /* no system call */
	frame->eflags = 0x202;
	frame->mask = mask;
	frame->fpstate = process->first.fpstate;
	memcpy(frame->stack, process->first.stack, sizeof(frame->stack));
}

/* From its birth to its end, with all that a monitor does to one. How often it has stopped. */
static unsigned live(int memory, int copies, unsigned *unmade)
{
	static const int numbers[] = DIRECT_SIGNALS;
	struct direct_process process;
	uint64_t mask = UINT64_MAX;
	unsigned stops = 0;
	int result = process_create(&process, &killed_stubs, memory, copies, PLACE);

	if (result < 0) {
		++*unmade;
		return 0;
	}
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		mask &= ~(1ull << (numbers[i] - 1));
	process_map(&process, CODE, 4096, 0, PROT_READ | PROT_EXEC);
	process_map(&process, DATA, 4096, 4096, PROT_READ | PROT_WRITE);
	for (;; stops++) {
		bool loops = draw(3) == 0;

		for (uint64_t i = 0; i < PAGES && draw(4) == 0; i++)
			process_map(&process, MANY + i * 4096, 4096, 4096, PROT_READ | PROT_WRITE);
		/* JMP to itself, or a system call. */
		go(&process, CODE + (loops ? 0 : 2), mask);
		if (process_resume(&process) < 0)
			break;
		if (loops || draw(8) == 0)
			process_kick(&process);
		do
			result = process_wait(&process);
		while (result == -EINTR);
		if (result < 0)
			break;
	}
	process_destroy(&process, &killed_stubs);
	return stops;
}

static void test_killed(void **state)
{
	struct copies copies;
	unsigned unmade = 0, stopped = 0;
	pthread_t killer;
	uint8_t *ram;
	int memory = memfd_create("memory", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(memory, 2 * 4096), 0);
	ram = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	assert_true(ram != MAP_FAILED);
	memcpy(ram, "\xeb\xfe\x0f\x05", 4);
	process_prepare();
	assert_int_equal(copies_create(&copies), 0);
	assert_int_equal(pthread_create(&killer, NULL, kill_stubs, NULL), 0);
	/* Who waits for ever ends here. */
	alarm(LATE_S);
	for (unsigned round = 0; round < ROUNDS; round++)
		stopped += live(memory, copies.fd, &unmade) > 0;
	alarm(0);
	while (atomic_load(&victim) >= 0)
		usleep(100);
	atomic_store(&victim, -2);
	pthread_join(killer, NULL);
	print_message("of %u stubs %u were killed before they were made, %u behind their first stop\n", ROUNDS, unmade, stopped);
	assert_true(unmade > 0 && stopped > 0);
	munmap(ram, 2 * 4096);
	copies_destroy(&copies);
	close(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_killed) };
	const char *given = getenv("KVIK_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	printf("seed: KVIK_TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
