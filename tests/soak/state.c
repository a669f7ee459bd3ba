/*
 * Processes that keep known values in every register - general, x87, SSE, AVX, MXCSR and control
 * word - while the kernel switches between them and signals interrupt them. `state SEED`.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, ROUNDS = 3000 };

static void on_signal(int number)
{
	/* A handler with vector and x87 work of its own. */
	volatile float a[16];
	volatile long double b = number;

	for (unsigned i = 0; i < 16; i++)
		a[i] = (float)i * 1.5f + (float)number;
	b = b * 3 + a[7];
}

static int has_avx;

/* Fill the registers from `values`, spin, and read them back into `after`. */
static void hold(const uint64_t *values, uint64_t *after, uint32_t mxcsr, uint16_t control,
		 unsigned spin)
{
	uint32_t mxcsr_after;
	uint16_t control_after;

	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(control));
	__asm__ volatile(
		"fildll 0(%0); fildll 8(%0); fildll 16(%0); fildll 24(%0)\n"
		"movdqu 32(%0), %%xmm0; movdqu 48(%0), %%xmm3; movdqu 64(%0), %%xmm7\n"
		"movdqu 80(%0), %%xmm9; movdqu 96(%0), %%xmm12; movdqu 112(%0), %%xmm15\n"
		"test %3, %3; jz 1f\n"
		"vmovdqu 128(%0), %%ymm1; vmovdqu 160(%0), %%ymm8; vmovdqu 192(%0), %%ymm14\n"
		"1: mov 224(%0), %%r8; mov 232(%0), %%r9; mov 240(%0), %%r12; mov 248(%0), %%r13\n"
		"mov 256(%0), %%r14; mov 264(%0), %%r15; mov 272(%0), %%rbx\n"
		"stc\n"
		"2: pause; dec %2; jnz 2b\n"
		"jnc 9f\n" /* DEC leaves CF alone */
		"mov %%r8, 224(%1); mov %%r9, 232(%1); mov %%r12, 240(%1); mov %%r13, 248(%1)\n"
		"mov %%r14, 256(%1); mov %%r15, 264(%1); mov %%rbx, 272(%1)\n"
		"test %3, %3; jz 3f\n"
		"vmovdqu %%ymm1, 128(%1); vmovdqu %%ymm8, 160(%1); vmovdqu %%ymm14, 192(%1)\n"
		"3: movdqu %%xmm0, 32(%1); movdqu %%xmm3, 48(%1); movdqu %%xmm7, 64(%1)\n"
		"movdqu %%xmm9, 80(%1); movdqu %%xmm12, 96(%1); movdqu %%xmm15, 112(%1)\n"
		"9: fistpll 24(%1); fistpll 16(%1); fistpll 8(%1); fistpll 0(%1)\n"
		: : "r"(values), "r"(after), "c"(spin), "r"(has_avx)
		: "r8", "r9", "rbx", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm3", "xmm7", "xmm8",
		  "xmm9", "xmm12", "xmm14", "xmm15", "memory", "cc");
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr_after), "=m"(control_after));
	/* The exception flags of MXCSR may have been set on the way. */
	if ((mxcsr_after ^ mxcsr) & ~0x3fu || control_after != control)
		after[0]++;
}

static int process(uint64_t state)
{
	static const uint32_t rounding[] = { 0, 0x2000, 0x4000, 0x6000 };
	struct itimerval every = { { 0, 2000 }, { 0, 2000 } };
	uint64_t values[35], after[35];
	int wrong = 0;

	signal(SIGALRM, on_signal);
	setitimer(ITIMER_REAL, &every, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 35; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			values[i] = state ^ state >> 29;
		}
		memset(after, 0, sizeof(after));
		if (!has_avx) /* what is not loaded is taken as read */
			memcpy(after + 16, values + 16, 12 * 8);
		hold(values, after, 0x1f80 | rounding[round % 4], (uint16_t)(0x37f | rounding[round / 4 % 4] >> 3),
		     300 + round % 700);
		wrong += memcmp(values, after, sizeof(values)) != 0;
		if (round % 64 == 0)
			usleep(1);
	}
	return wrong > 100 ? 100 : wrong;
}

int main(int count, char **arguments)
{
	uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 0) : 1;
	int wrong = 0, status;

	has_avx = __builtin_cpu_supports("avx") != 0;
	for (unsigned i = 0; i < PROCESSES; i++)
		if (fork() == 0)
			_exit(process(seed * PROCESSES + i));
	while (wait(&status) > 0)
		wrong += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	printf("processes %d wrong %d\n", PROCESSES, wrong);
	return wrong != 0;
}
