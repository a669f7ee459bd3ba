/* Vector, mask and x87 registers over signals and other programs' time: what is in them stays. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct registers {
	uint8_t zmm[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	uint16_t control, padding;
} __attribute__((aligned(64)));

static volatile unsigned signals;
static unsigned wide; /* registers' bytes */

#define SIXTEEN(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define MORE(M)	   M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)
#define MASKS(M)   M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define LOAD512(n) "vmovdqu64 " #n "*64(%0), %%zmm" #n "\n\t"
#define SAVE512(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%1)\n\t"
#define LOAD256(n) "vmovdqu " #n "*64(%0), %%ymm" #n "\n\t"
#define SAVE256(n) "vmovdqu %%ymm" #n ", " #n "*64(%1)\n\t"
#define LOAD128(n) "movdqu " #n "*64(%0), %%xmm" #n "\n\t"
#define SAVE128(n) "movdqu %%xmm" #n ", " #n "*64(%1)\n\t"
#define LOADK(n)   "kmovq 2048+" #n "*8(%0), %%k" #n "\n\t"
#define SAVEK(n)   "kmovq %%k" #n ", 2048+" #n "*8(%1)\n\t"
#define CONTROLS   "ldmxcsr 2112(%0)\n\tfldcw 2116(%0)\n\t"
#define SAVES	   "stmxcsr 2112(%1)\n\tfnstcw 2116(%1)\n\t"

/* Load them, wait, and save them, with nothing of the compiler's between. */
static void hold(const struct registers *in, struct registers *out, uint64_t rounds)
{
	uint64_t count = rounds;

	switch (wide) {
	case 64:
		__asm__ volatile(SIXTEEN(LOAD512) MORE(LOAD512) MASKS(LOADK) CONTROLS
				 "1:	decq %2\n\tjnz 1b\n\t"
				 SIXTEEN(SAVE512) MORE(SAVE512) MASKS(SAVEK) SAVES
				 : : "r"(in), "r"(out), "r"(count) : "memory", "cc");
		break;
	case 32:
		__asm__ volatile(SIXTEEN(LOAD256) CONTROLS "1:	decq %2\n\tjnz 1b\n\t" SIXTEEN(SAVE256) SAVES
				 : : "r"(in), "r"(out), "r"(count) : "memory", "cc");
		break;
	default:
		__asm__ volatile(SIXTEEN(LOAD128) CONTROLS "1:	decq %2\n\tjnz 1b\n\t" SIXTEEN(SAVE128) SAVES
				 : : "r"(in), "r"(out), "r"(count) : "memory", "cc");
		break;
	}
}

static void fill(struct registers *registers, uint8_t seed)
{
	memset(registers, 0, sizeof(*registers));
	for (unsigned n = 0; n < (wide == 64 ? 32 : 16); n++)
		for (unsigned i = 0; i < wide; i++)
			registers->zmm[n][i] = (uint8_t)(seed + n * 37 + i * 11);
	for (unsigned n = 1; n < 8 && wide == 64; n++)
		registers->k[n] = 0x0101010101010101ull * (uint8_t)(seed + n);
	registers->mxcsr = 0x1f80 | (seed & 3u) << 13;
	registers->control = (uint16_t)(0x37f ^ (seed & 3u) << 10);
}

static void clobber(int number)
{
	struct registers others, after;

	(void)number;
	fill(&others, (uint8_t)(200 + signals));
	after = others;
	hold(&others, &after, 10);
	signals++;
}

static unsigned work(uint8_t seed, unsigned turns)
{
	struct registers wanted, got;
	unsigned wrong = 0;

	for (unsigned i = 0; i < turns; i++) {
		fill(&wanted, (uint8_t)(seed + i));
		got = wanted;
		memset(got.zmm, 0, sizeof(got.zmm));
		hold(&wanted, &got, 400000);
		wrong += memcmp(&wanted, &got, sizeof(got)) != 0;
	}
	return wrong;
}

int main(void)
{
	const struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	struct registers usual = { .mxcsr = 0x1f80, .control = 0x37f }, out;
	unsigned wrong, failed = 0;
	pid_t children[3];
	int status;

	__builtin_cpu_init();
	wide = __builtin_cpu_supports("avx512bw") ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
	for (unsigned i = 0; i < 3; i++) {
		children[i] = fork();
		if (children[i])
			continue;
		signal(SIGALRM, clobber);
		setitimer(ITIMER_REAL, &timer, NULL);
		wrong = work((uint8_t)(i * 80), 150);
		hold(&usual, &out, 1);
		_exit(wrong || !signals);
	}
	for (unsigned i = 0; i < 3; i++) {
		waitpid(children[i], &status, 0);
		failed += status != 0;
	}
	printf("registers of %u bytes: %u of 3 programs wrong\n", wide, failed);
	return 0;
}
