/*
 * Random straight code, one run after the other, each from random registers, vectors and memory: what it leaves behind goes into
 * a sum. A system call stands between any two runs, so that direct execution compares there, if it is to
 * (--engine direct-lockstep). Natively and in a guest the sum is the same.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RUNS   200u
#define LENGTH 60u /* instructions */
#define DATA   16384u
#define CODE   4096u
#define BASE   15u /* R15: where the data are */
#define STACK  4u

/* The registers and vectors before a run and behind it. */
struct state {
	uint64_t gpr[16], flags, xmm[16][2];
	uint32_t mxcsr;
	uint16_t x87_control, x87_status;
};

static struct state state __attribute__((aligned(16)));
static uint8_t *code, *at;
static uint64_t seed = 88172645463325252ull;

uint64_t random_call(struct state *state, void *code);

__asm__(".globl random_call\n"
	"random_call:\n"
	"	pushq %rbx\n"
	"	pushq %rbp\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	pushq %rdi\n"
	"	pushq %rsi\n"
	"	fninit\n"
	"	fld1\n"
	"	fldpi\n"
	"	fldl2e\n"
	"	ldmxcsr 392(%rdi)\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movups 136+16*\\n(%rdi), %xmm\\n\n"
	".endr\n"
	"	pushq 128(%rdi)\n"
	"	popfq\n"
	"	movq (%rdi), %rax\n"
	"	movq 8(%rdi), %rcx\n"
	"	movq 16(%rdi), %rdx\n"
	"	movq 24(%rdi), %rbx\n"
	"	movq 40(%rdi), %rbp\n"
	"	movq 48(%rdi), %rsi\n"
	"	movq 64(%rdi), %r8\n"
	"	movq 72(%rdi), %r9\n"
	"	movq 80(%rdi), %r10\n"
	"	movq 88(%rdi), %r11\n"
	"	movq 96(%rdi), %r12\n"
	"	movq 104(%rdi), %r13\n"
	"	movq 112(%rdi), %r14\n"
	"	movq 120(%rdi), %r15\n"
	"	movq 56(%rdi), %rdi\n"
	"	callq *(%rsp)\n"
	"	pushfq\n"
	"	pushq %rdi\n"
	"	movq 24(%rsp), %rdi\n"
	"	movq %rax, (%rdi)\n"
	"	movq %rcx, 8(%rdi)\n"
	"	movq %rdx, 16(%rdi)\n"
	"	movq %rbx, 24(%rdi)\n"
	"	movq %rbp, 40(%rdi)\n"
	"	movq %rsi, 48(%rdi)\n"
	"	movq %r8, 64(%rdi)\n"
	"	movq %r9, 72(%rdi)\n"
	"	movq %r10, 80(%rdi)\n"
	"	movq %r11, 88(%rdi)\n"
	"	movq %r12, 96(%rdi)\n"
	"	movq %r13, 104(%rdi)\n"
	"	movq %r14, 112(%rdi)\n"
	"	popq 56(%rdi)\n"
	"	popq 128(%rdi)\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movups %xmm\\n, 136+16*\\n(%rdi)\n"
	".endr\n"
	"	stmxcsr 392(%rdi)\n"
	"	fnstsw 398(%rdi)\n"
	"	fnstcw 396(%rdi)\n"
	"	fninit\n"
	"	popq %rsi\n"
	"	popq %rdi\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbp\n"
	"	popq %rbx\n"
	"	ret\n");

static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static unsigned below(unsigned limit)
{
	return (unsigned)(random64() >> 20) % limit;
}

/* Of the general registers but for the stack's and the data's. */
static unsigned any(void)
{
	unsigned reg;

	do
		reg = below(15);
	while (reg == STACK);
	return reg;
}

static void byte(unsigned value)
{
	*at++ = (uint8_t)value;
}

static void word32(uint32_t value)
{
	memcpy(at, &value, 4);
	at += 4;
}

/* A width's prefixes: 16, 32 or 64 bits. */
static void rex(unsigned reg, unsigned rm)
{
	unsigned width = below(4);

	if (width == 0)
		byte(0x66);
	byte(0x40 | (width > 1) << 3 | (reg >> 3) << 2 | rm >> 3);
}

static void registers(unsigned reg, unsigned rm)
{
	byte(0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* Somewhere in the data, with room for 16 bytes; `aligned` to them. */
static void memory(unsigned reg, unsigned aligned)
{
	byte(0x80 | (reg & 7) << 3 | (BASE & 7));
	word32((below(DATA - 64) & ~(aligned - 1)));
}

static void integer(void)
{
	static const uint8_t plain[] = { 0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x89, 0x03, 0x0b, 0x13,
					 0x1b, 0x23, 0x2b, 0x33, 0x3b, 0x8b };
	static const uint8_t escaped[] = { 0xaf, 0xa3, 0xab, 0xb3, 0xbb, 0xb6, 0xb7, 0xbe, 0xbf, 0xbc, 0xbd, 0xc1, 0xb1 };
	unsigned reg = any(), rm = any();

	switch (below(10)) {
	case 0:
	case 1:
		rex(reg, rm);
		byte(plain[below(sizeof(plain))]);
		registers(reg, rm);
		break;
	case 2:
		rex(reg, BASE);
		byte(plain[below(sizeof(plain))]);
		memory(reg, 1);
		break;
	case 3:
		byte(0x48 | rm >> 3);
		byte(0x81);
		registers(below(8), rm);
		word32((uint32_t)random64());
		break;
	case 4: /* shifts and rotations */
		rex(0, rm);
		byte(below(2) ? 0xd3 : 0xc1);
		registers(below(8), rm);
		if (at[-2] == 0xc1)
			byte(below(70));
		break;
	case 5:
		rex(reg, rm);
		byte(0x0f);
		byte(escaped[below(sizeof(escaped))]);
		registers(reg, rm);
		break;
	case 6: /* NOT, NEG, MUL, IMUL; INC, DEC */
		rex(0, rm);
		if (below(2)) {
			byte(0xf7);
			registers(2 + below(4), rm);
		} else {
			byte(0xff);
			registers(below(2), rm);
		}
		break;
	case 7: /* SETcc, CMOVcc */
		byte(0x40 | (reg >> 3) << 2 | rm >> 3);
		byte(0x0f);
		byte((below(2) ? 0x90 : 0x40) | below(16));
		registers(reg, rm);
		break;
	case 8: /* LOCK XADD, CMPXCHG, ADD; SHLD, SHRD */
		if (below(2)) {
			static const uint8_t locked[] = { 0xc1, 0xb1 };

			byte(0xf0);
			byte(0x48 | (reg >> 3) << 2 | 1);
			byte(0x0f);
			byte(locked[below(2)]);
			memory(reg, 8);
		} else {
			byte(0x48 | (reg >> 3) << 2 | rm >> 3);
			byte(0x0f);
			byte(below(2) ? 0xa5 : 0xad);
			registers(reg, rm);
		}
		break;
	default: /* LEA; POPCNT, TZCNT, LZCNT */
		if (below(2)) {
			byte(0x48 | (reg >> 3) << 2 | rm >> 3);
			byte(0x8d);
			byte(0x40 | (reg & 7) << 3 | 4);
			byte(below(4) << 6 | (below(2) ? 5 : 6) << 3 | (rm & 7));
			byte(below(256));
		} else {
			byte(0xf3);
			byte(0x48 | (reg >> 3) << 2 | rm >> 3);
			byte(0x0f);
			byte(0xb8);
			registers(reg, rm);
		}
		break;
	}
}

static void vector(void)
{
	static const uint8_t floats[] = { 0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f };
	static const uint8_t integers[] = { 0xd4, 0xfe, 0xfd, 0xfc, 0xef, 0xdb, 0xeb, 0xd5, 0xe4, 0xf4, 0x60, 0x61, 0x6c,
					    0x74, 0x76, 0x66, 0xe0, 0xf6, 0xda };
	static const uint8_t prefixes[] = { 0x66, 0xf3, 0xf2 };
	unsigned reg = below(16), rm = below(16), prefix = below(4);

	switch (below(5)) {
	case 0:
		if (prefix < 3)
			byte(prefixes[prefix]);
		byte(0x40 | (reg >> 3) << 2 | rm >> 3);
		byte(0x0f);
		byte(floats[below(sizeof(floats))]);
		registers(reg, rm);
		break;
	case 1:
		byte(0x66);
		byte(0x40 | (reg >> 3) << 2 | rm >> 3);
		byte(0x0f);
		byte(integers[below(sizeof(integers))]);
		registers(reg, rm);
		break;
	case 2: /* MOVUPS, MOVAPS, either way */
		byte(0x41 | (reg >> 3) << 2);
		byte(0x0f);
		byte(0x10 | below(2));
		memory(reg, 1);
		break;
	case 3: /* CVTSI2SD, CVTTSD2SI, MOVQ */
		byte(below(2) ? 0xf2 : 0x66);
		if (at[-1] == 0x66) {
			byte(0x48 | (reg >> 3) << 2 | (rm = any()) >> 3);
			byte(0x0f);
			byte(0x6e);
			registers(reg, rm);
		} else if (below(2)) {
			byte(0x48 | (reg >> 3) << 2 | (rm = any()) >> 3);
			byte(0x0f);
			byte(0x2a);
			registers(reg, rm);
		} else {
			byte(0x48 | ((reg = any()) >> 3) << 2 | rm >> 3);
			byte(0x0f);
			byte(0x2c);
			registers(reg, rm);
		}
		break;
	default: /* PSHUFD, shifts by a number */
		byte(0x66);
		byte(0x40 | (reg >> 3) << 2 | rm >> 3);
		byte(0x0f);
		byte(0x70);
		registers(reg, rm);
		byte(below(256));
		break;
	}
}

static void x87(void)
{
	switch (below(5)) {
	case 0: /* FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR of registers */
	{
		static const uint8_t operations[] = { 0xc0, 0xc8, 0xe0, 0xe8, 0xf0, 0xf8 };

		byte(below(2) ? 0xd8 : 0xdc);
		byte(operations[below(6)] | below(3));
		break;
	}
	case 1: /* FXCH, FCHS, FABS, FSQRT, FRNDINT */
	{
		static const uint8_t operations[] = { 0xc9, 0xca, 0xe0, 0xe1, 0xfa, 0xfc, 0xe5, 0xe4 };

		byte(0xd9);
		byte(operations[below(8)]);
		break;
	}
	case 2: /* FST of doubles and floats */
		byte(0x41);
		byte(below(2) ? 0xdd : 0xd9);
		memory(2, 1);
		break;
	case 3: /* FLD1, and FADDP */
		byte(0xd9);
		byte(0xe8 + below(7));
		byte(0xde);
		byte(0xc1);
		break;
	default: /* FCOMI */
		byte(0xdb);
		byte(0xf0 | below(3));
		break;
	}
}

static void instruction(void);

static void flow(void)
{
	uint8_t *jump = at;

	switch (below(4)) {
	case 0: /* Jcc over the next one */
	case 1:
		byte(0x70 | below(16));
		byte(0);
		instruction();
		jump[1] = (uint8_t)(at - jump - 2);
		break;
	case 2: /* PUSH, POP */
		byte(0x50 | (any() & 7 & ~4u));
		byte(0x58 | (below(2) ? 0 : 3));
		break;
	default: /* LAHF, SAHF, CMC, CLC, STC, CWDE, CDQ */
	{
		static const uint8_t simple[] = { 0x9f, 0x9e, 0xf5, 0xf8, 0xf9, 0x98, 0x99 };

		byte(simple[below(7)]);
		break;
	}
	}
}

static void instruction(void)
{
	switch (below(8)) {
	case 0:
	case 1: vector(); break;
	case 2: x87(); break;
	case 3: flow(); break;
	default: integer(); break;
	}
}

static void fill(void *memory, size_t size)
{
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t value = random64();

		memcpy((uint8_t *)memory + i, &value, 8);
	}
}

static uint64_t mix(uint64_t sum, const void *memory, size_t size)
{
	const uint8_t *bytes = memory;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3ull;
	return sum;
}

int main(void)
{
	uint8_t *data = mmap(NULL, DATA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0xcbf29ce484222325ull;

	code = mmap(NULL, CODE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(data, DATA);
	for (unsigned run = 0; run < RUNS; run++) {
		at = code;
		for (unsigned i = 0; i < LENGTH; i++)
			instruction();
		/* Behind some of these flags are undefined, and not the same for all processors. */
		byte(0x48);
		byte(0x85);
		byte(0xc0);
		byte(0xc3);
		fill(&state, sizeof(state));
		state.flags = (state.flags & 0x8d5) | 0x202;
		state.mxcsr = 0x1f80;
		state.gpr[BASE] = (uint64_t)data;
		random_call(&state, code);
		syscall(SYS_getppid);
		/* Where the data are is the system's choice. */
		state.gpr[BASE] = 0;
		sum = mix(sum, state.gpr, sizeof(state.gpr));
		sum = mix(sum, state.xmm, sizeof(state.xmm));
		sum = mix(sum, &state.mxcsr, 4);
		sum = mix(sum, &state.x87_status, 2);
		sum = mix(sum, data, DATA);
		if (run % 50 == 49)
			printf("%u: %016lx\n", run + 1, (unsigned long)sum);
	}
	return 0;
}
