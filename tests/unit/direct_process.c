/*
 * Stubs from the monitor's side, with guest code that does its worst: what it can call, where its
 * jumps into the stub's own page lead, what it sees of the secret, and that a stop is one.
 *
 * Guest code is a page of a file that stands for guest memory, mapped at CODE; DATA is another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/prctl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../stubs.h"
#include "engine/run/direct/copies.h"
#include "engine/run/direct/process.h"

#define CODE   0x400000ull
#define DATA   0x500000ull
#define PLACE  0x3d2468a00000ull /* the stub's own */
#define SECOND 0x600000ull /* where attacks want the third page */

static int memory;
static uint8_t *ram; /* three pages: code, data, one that was never given */
static struct copies copies;
static struct direct_process process;

static stub_function *main_function = direct_stub_main;
static const struct stub_source test_stubs = { test_stub_spawn, test_stub_kill, &main_function, 0 };

static uint64_t signals_open(void)
{
	static const int numbers[] = DIRECT_SIGNALS;
	uint64_t mask = 0;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		mask |= 1ull << (numbers[i] - 1);
	return mask;
}

/* Go on at `rip`, with the registers that the frame has. */
static void go(uint64_t rip)
{
	struct direct_frame *frame = process_frame(&process);

	frame->ip = rip;
	frame->cs = process.first.cs;
	frame->ss = process.first.ss;
	frame->eflags = 0x202;
	frame->mask = ~signals_open();
	frame->fpstate = process.first.fpstate;
	memcpy(frame->stack, process.first.stack, sizeof(frame->stack));
	assert_int_equal(process_resume(&process), 0);
}

static int wait_stop(void)
{
	int result;

	do
		result = process_wait(&process);
	while (result == -EINTR);
	return result;
}

static int stop_signal(void)
{
	int32_t number;

	memcpy(&number, process.page + process.info, sizeof(number));
	return number;
}

/* Guest code runs until it stops: the signal, or a negative errno. */
static int run(const void *code, size_t size)
{
	memset(ram, 0xf4, 4096); /* HLT */
	memcpy(ram, code, size);
	go(CODE);
	return wait_stop() < 0 ? -1 : stop_signal();
}

#define RUN(bytes) run(bytes, sizeof(bytes) - 1)

static int setup(void **state)
{
	(void)state;
	memory = memfd_create("memory", MFD_CLOEXEC);
	assert_int_equal(ftruncate(memory, 3 * 4096), 0);
	ram = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	assert_true(ram != MAP_FAILED);
	strcpy((char *)ram + 8192, "not the guest's");
	process_prepare();
	assert_int_equal(copies_create(&copies), 0);
	assert_int_equal(process_create(&process, &test_stubs, memory, copies.fd, PLACE), 0);
	process_map(&process, CODE, 4096, 0, PROT_READ | PROT_EXEC);
	process_map(&process, DATA, 4096, 4096, PROT_READ | PROT_WRITE);
	process_frame(&process)->sp = DATA + 4000;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	process_destroy(&process, &test_stubs);
	copies_destroy(&copies);
	munmap(ram, 3 * 4096);
	close(memory);
	return 0;
}

/* Kernels without IA-32 emulation have no gate there: INT raises #GP. */
static bool has_int80(void)
{
	struct direct_frame *frame = process_frame(&process);

	frame->ax = 20;
	return RUN("\xcd\x80") == SIGSYS || frame->trap != 13;
}

/* Registers go in and come out, with what the exception was. */
static void test_stops(void **state)
{
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	frame->ax = 5;
	frame->r15 = 0x123456789abcdefull;
	/* add $2, %rax; syscall */
	assert_int_equal(RUN("\x48\x83\xc0\x02\x0f\x05"), SIGSYS);
	assert_int_equal(frame->ax, 7);
	assert_int_equal(frame->ip, CODE + 6);
	assert_true(frame->r15 == 0x123456789abcdefull);
	if (has_int80()) {
		assert_int_equal(RUN("\xcd\x80"), SIGSYS); /* int $0x80 */
		assert_int_equal(frame->ip, CODE + 2);
	}
	assert_int_equal(RUN("\x0f\x0b"), SIGILL);
	assert_int_equal(RUN("\xcc"), SIGTRAP);
	assert_int_equal(RUN("\x31\xc9\xf7\xf1"), SIGFPE); /* xor %ecx, %ecx; div %ecx */
	assert_int_equal(RUN("\xf4"), SIGSEGV);
	assert_int_equal(frame->trap, 13);
	frame->di = DATA + 0x3008;
	assert_int_equal(RUN("\x88\x07"), SIGSEGV); /* mov %al, (%rdi) */
	assert_int_equal(frame->trap, 14);
	assert_true(frame->cr2 == DATA + 0x3008);
	assert_int_equal(frame->error & 2, 2);
	frame->di = CODE;
	assert_int_equal(RUN("\x88\x07"), SIGSEGV);
	assert_int_equal(frame->error & 3, 3);
	/* SYSENTER loses where it came from: whatever stops then is not the stub's own code segment, or is at once
	 * (AMD's CPUs know it in 32-bit code alone). */
	if (RUN("\x0f\x34") != SIGILL)
		assert_true(stop_signal() == SIGSYS || stop_signal() == SIGSEGV);
	/* A kick stops a loop. */
	memcpy(ram, "\xeb\xfe", 2);
	go(CODE);
	process_kick(&process);
	assert_int_equal(wait_stop(), 0);
	assert_int_equal(stop_signal(), DIRECT_KICK);
	assert_int_equal(frame->ip, CODE);
}

/* Bases of FS and GS go in, whichever way the host has for them; and others after them. */
static void test_bases(void **state)
{
	/* mov %fs:0, %rax; mov %gs:0, %rcx; ud2 */
	static const char code[] = "\x64\x48\x8b\x04\x25\0\0\0\0\x65\x48\x8b\x0c\x25\0\0\0\0\x0f\x0b";
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	for (uint64_t i = 0; i < 8; i++)
		memcpy(ram + 4096 + i * 8, &i, 8);
	for (unsigned i = 0; i < 7; i++) {
		process_set_bases(&process, DATA + i * 8, DATA + (7 - i) * 8, i == 3);
		assert_int_equal(run(code, sizeof(code) - 1), SIGILL);
		assert_int_equal(frame->ax, i);
		assert_int_equal(frame->cx, 7 - i);
	}
	/* The same ones are there still. */
	process_set_bases(&process, DATA + 48, DATA + 8, false);
	assert_int_equal(run(code, sizeof(code) - 1), SIGILL);
	assert_int_equal(frame->ax, 6);
	assert_int_equal(frame->cx, 1);
}

/* Every system call of either table is refused, and by SIGSYS. */
static void test_calls(void **state)
{
	struct direct_frame *frame = process_frame(&process);
	int int80_signal = has_int80() ? SIGSYS : SIGSEGV;

	(void)state;
	memcpy(ram, "\x0f\x05\xf4\xf4\xcd\x80", 6);
	for (unsigned number = 0; number < 512; number++) {
		frame->ax = number;
		go(CODE);
		assert_int_equal(wait_stop(), 0);
		/* Linux lets two calls of its own probes past every filter: they raise SIGILL, or do nothing
		 * and go on, to HLT. */
		if (number == 335 || number == 336) {
			assert_true(frame->ip == CODE + 2);
			continue;
		}
		assert_int_equal(stop_signal(), SIGSYS);
		assert_int_equal(frame->ax, number);
		frame->ax = number;
		go(CODE + 4);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), int80_signal);
	}
}

/* What CPUID says of the host is not seen, where the host's kernel can have it fault; and the stub cannot
 * undo that, by any of its own system calls either. */
static void test_cpuid(void **state)
{
	static const uint8_t *const labels[] = { direct_code_stop, direct_code_map, direct_code_return };
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	if (!process.cpuid_faults)
		skip();
	for (unsigned i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		frame->ax = SYS_arch_prctl;
		frame->di = ARCH_SET_CPUID;
		frame->si = 1;
		go(PLACE + DIRECT_CODE_OFFSET(labels[i]) - 2);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), SIGSYS);
		frame->ax = 0;
		assert_int_equal(RUN("\x0f\xa2"), SIGSEGV);
		assert_int_equal(frame->trap, 13);
		assert_int_equal(frame->ip, CODE);
		assert_int_equal(frame->ax, 0);
	}
}

/* Nothing of the process that it was made from is there, nor a vDSO; only what was mapped. */
static void test_space(void **state)
{
	struct direct_frame *frame = process_frame(&process);
	const uint64_t places[] = { (uintptr_t)&process, (uintptr_t)run, (uintptr_t)ram, (uintptr_t)frame,
				    (uintptr_t)getpid, PLACE - 1, PLACE + STUB_PAGE_BYTES };

	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		frame->si = places[i];
		assert_int_equal(RUN("\x8a\x06"), SIGSEGV); /* mov (%rsi), %al */
		assert_true(frame->cr2 == places[i]);
	}
	/* Its own code can be read, and not be written. */
	frame->si = PLACE;
	assert_int_equal(RUN("\x8a\x06\x88\x06"), SIGSEGV);
	assert_int_equal(frame->ip, CODE + 2);
}

static void set_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	struct direct_frame *frame = process_frame(&process);

	frame->ax = number;
	frame->di = a;
	frame->si = b;
	frame->dx = c;
	frame->r10 = d;
	frame->r8 = e;
	frame->r9 = f;
}

/* The stub's own system call instructions, with registers of the guest's choice. */
static void test_jumps(void **state)
{
	static const uint8_t *const labels[] = { direct_code_stop, direct_code_map, direct_code_return };
	struct direct_frame *frame = process_frame(&process);
	const uint64_t flags = MAP_SHARED | MAP_FIXED;

	(void)state;
	for (unsigned i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		uint64_t place = PLACE + DIRECT_CODE_OFFSET(labels[i]) - 2;

		/* Map guest memory that it was not given; with wrong secrets, and half a right one. */
		for (unsigned k = 0; k < 4; k++) {
			uint64_t a = k & 1 ? (uint64_t)process.secret.flags << 32 : 0;
			uint64_t b = k & 2 ? ((uint64_t)process.secret.fd ^ 1) << 32 : 0;

			set_call(SYS_mmap, SECOND, 4096, 3, flags | a, (uint32_t)process.memory | b, 8192);
			go(place);
			assert_int_equal(wait_stop(), 0);
			assert_int_equal(stop_signal(), SIGSYS);
			set_call(SYS_munmap, CODE, 4096, 0, a, b, 0);
			go(place);
			assert_int_equal(wait_stop(), 0);
			assert_int_equal(stop_signal(), SIGSYS);
		}
		set_call(SYS_openat, 0, 0, 0, 0, 0, 0);
		go(place);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), SIGSYS);
		/* Block nothing, and unblock nothing. */
		for (int how = SIG_BLOCK; how <= SIG_SETMASK; how++) {
			set_call(SYS_rt_sigprocmask, (uint64_t)how, DATA, 0, 8, 0, 0);
			go(place);
			assert_int_equal(wait_stop(), 0);
			assert_int_equal(stop_signal(), SIGSYS);
		}
	}
	frame->si = SECOND;
	assert_int_equal(RUN("\x8a\x06"), SIGSEGV);
}

/* A copy of the code page runs in its place, trap and all; it cannot be written to, nor mapped so, nor by the guest. */
static void test_copy(void **state)
{
	const struct scan_traps traps = { .count = 1, .at = { 2 } };
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	memset(ram, 0x90, 4096);
	memcpy(ram + 2, "\x0f\x01\xf9\x0f\x0b", 5); /* nop; nop; rdtscp; ud2 */
	copies_put(&copies, 3, 0, ram);
	copies_trap(&copies, 3, &traps, 0);
	process_map_copy(&process, CODE, 4096, 3 * 4096);
	go(CODE);
	assert_int_equal(wait_stop(), 0);
	assert_int_equal(stop_signal(), SIGSEGV);
	assert_int_equal(frame->trap, 13);
	assert_int_equal(frame->ip, CODE + 2);
	/* Into its middle: add ecx, edi; ud2. */
	frame->cx = 2;
	frame->di = 3;
	go(CODE + 3);
	assert_int_equal(wait_stop(), 0);
	assert_int_equal(stop_signal(), SIGILL);
	assert_int_equal(frame->cx, 5);
	/* mov [CODE], al; and what the code page itself holds. */
	process_map_copy(&process, SECOND, 4096, 3 * 4096);
	process_map(&process, CODE, 4096, 0, PROT_READ | PROT_EXEC);
	frame->si = SECOND;
	assert_int_equal(RUN("\x88\x06"), SIGSEGV);
	assert_int_equal(frame->cr2, SECOND);
	for (unsigned k = 0; k < 4; k++) {
		uint64_t a = k & 1 ? (uint64_t)process.secret.flags << 32 : 0;
		uint64_t b = k & 2 ? ((uint64_t)process.secret.fd ^ 1) << 32 : 0;

		set_call(SYS_mmap, SECOND, 4096, 3, MAP_SHARED | MAP_FIXED | a, (uint32_t)process.copies | b, 0);
		go(PLACE + DIRECT_CODE_OFFSET(direct_code_map) - 2);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), SIGSYS);
	}
}

/* Whether four bytes of the secret are anywhere in the stub's data. */
static bool is_known(uint32_t half)
{
	for (unsigned i = DIRECT_CONTROL; i + 4 <= STUB_PAGE_BYTES; i++)
		if (memcmp(process.page + i, &half, 4) == 0)
			return true;
	return false;
}

/*
 * It stops by a jump, open to signals, and is told to map: commands are obeyed in order, kicks come in
 * between, and neither half of the secret is in its memory or in a register when the guest's code,
 * or a stop, comes next.
 */
static void test_secret(void **state)
{
	struct direct_frame *frame = process_frame(&process);
	unsigned ends = 0;

	(void)state;
	for (unsigned turn = 0; turn < 300; turn++) {
		memcpy(ram, "\xeb\xfe", 2);
		set_call(DIRECT_STOP_CALL, 0, 0, 0, 0, 0, 0);
		frame->bx = DATA; /* a control block of its own: no commands, and its own way back */
		memset(ram + 4096, 0, 4096);
		go(PLACE + DIRECT_CODE_OFFSET(direct_code_stop) - 2);
		assert_int_equal(wait_stop(), 0);
		for (unsigned i = 0; i < 20; i++)
			process_map(&process, SECOND + i * 4096, 4096, 4096, PROT_READ);
		go(CODE);
		/* At once, on its way through the commands, and behind them. */
		if (turn % 4)
			usleep(turn % 4 * turn);
		process_kick(&process);
		/* A stub that was interrupted between its commands is given up: process_wait says so. */
		if (wait_stop() < 0) {
			ends++;
			process_destroy(&process, &test_stubs);
			assert_int_equal(process_create(&process, &test_stubs, memory, copies.fd, PLACE), 0);
			process_map(&process, CODE, 4096, 0, PROT_READ | PROT_EXEC);
			process_map(&process, DATA, 4096, 4096, PROT_READ | PROT_WRITE);
			frame = process_frame(&process);
			continue;
		}
		assert_false(is_known(process.secret.flags));
		assert_false(is_known(process.secret.fd));
		assert_false(is_known((uint32_t)process.secret.pass));
		assert_false(is_known((uint32_t)(process.secret.pass >> 32)));
		assert_int_equal(stop_signal(), DIRECT_KICK);
		frame->si = SECOND + 19 * 4096;
		assert_int_equal(RUN("\x8a\x06\x0f\x05"), SIGSYS);
	}
	assert_true(ends < 300);
}

/* Frames of the guest's own making, that would block the monitor's kick: the return does not take them, whatever
 * pass the guest makes up, and none is where the stub's own can be found. */
static void test_frames(void **state)
{
	struct direct_frame *frame = process_frame(&process), forged;

	(void)state;
	assert_int_equal(RUN("\x0f\x05"), SIGSYS);
	memcpy(&forged, frame, sizeof(forged));
	forged.ip = CODE + 16;
	forged.r12 = 0x77;
	forged.fpstate = 0;
	forged.mask = UINT64_MAX;
	memset(ram, 0xf4, 4096);
	memcpy(ram + 16, "\xeb\xfe", 2);
	for (unsigned i = 0; i < 4; i++) {
		/* Of the pass its upper half, its lower half, nothing, and the other secret. */
		const uint64_t passes[] = { process.secret.pass & ~0xffffffffull, (uint32_t)process.secret.pass, 0,
					    process.secret.flags | (uint64_t)process.secret.fd << 32 };

		memcpy(ram + 4096, &forged, sizeof(forged));
		frame->sp = DATA;
		frame->ax = SYS_rt_sigreturn;
		frame->di = passes[i];
		frame->r12 = 0;
		go(PLACE + DIRECT_CODE_OFFSET(direct_code_return) - 2);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), SIGSYS);
		assert_int_equal(frame->r12, 0);
		/* By way of the code before it, with a control block of the guest's. */
		frame->bx = DATA + 2048;
		memset(ram + 4096 + 2048, 0x11, 256);
		go(PLACE + DIRECT_CODE_OFFSET(direct_code_leave) - 5);
		assert_int_equal(wait_stop(), 0);
		assert_int_equal(stop_signal(), SIGSYS);
		assert_true(frame->di == 0x1111111111111111ull);
		assert_false(is_known((uint32_t)process.secret.pass));
	}
}

/* Step by step through the stub's code (TF), from the instruction that stops it on: no step is one in which
 * guest code could look. */
static void test_steps(void **state)
{
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	memset(ram, 0xf4, 4096);
	set_call(DIRECT_STOP_CALL, 0, 0, 0, 0, 0, 0);
	frame->sp = DATA + 2048;
	/* pushf; orl $0x100, (%rsp); popf; jmp *%rbp */
	memcpy(ram, "\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d\xff\xe5", 11);
	frame->bp = PLACE + DIRECT_CODE_OFFSET(direct_code_stop) - 2;
	go(CODE);
	assert_int_equal(wait_stop(), 0);
	/* Either at once, behind the JMP, or when it goes on: then it is at its end. */
	if (stop_signal() == SIGTRAP) {
		assert_true(frame->ip == CODE + 11 || frame->ip == frame->bp);
		assert_false(is_known((uint32_t)process.secret.pass));
		return;
	}
	go(CODE);
	assert_true(wait_stop() < 0);
}

/* It leaves commands of its own for the stub's code. */
static void test_commands(void **state)
{
	struct direct_frame *frame = process_frame(&process);

	(void)state;
	frame->di = PLACE + DIRECT_CONTROL;
	/* incq (%rdi); syscall */
	memset(ram, 0xf4, 4096);
	memcpy(ram, "\x48\xff\x07\x0f\x05", 5);
	go(CODE);
	assert_int_equal(wait_stop(), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stops, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_jumps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
