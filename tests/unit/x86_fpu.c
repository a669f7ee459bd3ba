/*
 * The FPU's thunks and software instructions, alone: decoding and handlers under test, memory and
 * exceptions played by this file.
 *
 * The core of it is differential: random vector and x87 instructions run on the host as they are
 * and through fpu_bind, from the same state, and must end in the same state. Guest memory is a
 * window of real pages between unmapped ones. Handed out directly, it also shows any access past
 * the operand; refused (lin_pointer NULL), it exercises the bounce buffer. The seed is printed, and
 * can be given in KVIK_TEST_SEED; KVIK_TEST_ROUNDS sets the number of random byte strings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "engine/x86/decode.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu_execute.h"
#include "engine/x86/fpu_image.h"
#include "engine/x86/memory.h"

#define WINDOW_SIZE 0x2000
#define OPERAND     0x800 /* where random memory operands are in the window */

static struct cpu cpu;
static struct tlb_set tlb_set;
static uint8_t *window;       /* guest linear address == host address, WINDOW_SIZE bytes */
static bool refuse_pointers;  /* lin_pointer says NULL */
static uint64_t hole_start, hole_end; /* not-present guest addresses */
static int raised;            /* vector, -1: none */

/* -- the parts of the CPU that this test plays -- */

_Noreturn void cpu_raise(struct cpu *c, enum exception vector)
{
	raised = (int)vector;
	longjmp(c->unwind, 1);
}

_Noreturn void cpu_raise_error(struct cpu *c, enum exception vector, uint32_t error_code)
{
	(void)error_code;
	cpu_raise(c, vector);
}

static void check_access(struct cpu *c, uint64_t gva, unsigned size)
{
	if (gva < (uint64_t)(uintptr_t)window || gva + size > (uintptr_t)window + WINDOW_SIZE ||
	    (gva < hole_end && gva + size > hole_start))
		cpu_raise(c, EXCEPTION_PF);
}

void *lin_pointer_slow(struct cpu *c, uint64_t gva, unsigned size, bool is_write,
		       enum cpu_segment segment)
{
	(void)is_write;
	(void)segment;
	assert_in_range(size, 1, 64);
	check_access(c, gva, size);
	if (refuse_pointers || (gva ^ (gva + size - 1)) >> 12) {
		fpu_leave(c); /* as the real one may */
		return NULL;
	}
	return (void *)(uintptr_t)gva;
}

void lin_read_bytes(struct cpu *c, uint64_t gva, void *buffer, unsigned size,
		    enum cpu_segment segment)
{
	(void)segment;
	check_access(c, gva, size);
	fpu_leave(c);
	memcpy(buffer, (void *)(uintptr_t)gva, size);
}

void lin_write_bytes(struct cpu *c, uint64_t gva, const void *buffer, unsigned size,
		     enum cpu_segment segment)
{
	(void)segment;
	check_access(c, gva, size);
	fpu_leave(c);
	memcpy((void *)(uintptr_t)gva, buffer, size);
}

uint64_t lin_read_slow(struct cpu *c, uint64_t gva, unsigned size, enum cpu_segment segment)
{
	uint64_t value = 0;

	lin_read_bytes(c, gva, &value, size, segment);
	return value;
}

void lin_write_slow(struct cpu *c, uint64_t gva, uint64_t value, unsigned size,
		    enum cpu_segment segment)
{
	lin_write_bytes(c, gva, &value, size, segment);
}

uint64_t segment_linear_checked(struct cpu *c, enum cpu_segment segment, uint64_t offset,
				unsigned size, bool is_write)
{
	(void)size;
	(void)is_write;
	return (uint32_t)(c->segment[segment].base + offset);
}

const struct isa_row *isa_find(uint16_t mnemonic)
{
	for (size_t i = 0; i < isa_fpu.count; i++)
		if (isa_fpu.rows[i].mnemonic == mnemonic)
			return &isa_fpu.rows[i];
	return NULL;
}

/* -- running one instruction -- */

#define MODE_64 (CPU_MODE_CODE64 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_STACK32)
#define MODE_32 (CPU_MODE_CODE32 | CPU_MODE_PROTECTED | CPU_MODE_STACK32)

static void execute(const struct insn *insn)
{
	raised = -1;
	cpu.next_rip = cpu.rip + insn->length;
	cpu.insn = insn;
	if (setjmp(cpu.unwind) == 0)
		insn->execute(&cpu, insn);
	fpu_leave(&cpu);
}

/* Decode and execute; the exception raised, or -1. */
static int run_bytes(const uint8_t *bytes, size_t size)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, bytes, size, cpu.mode), 0);
	assert_int_equal(insn.length, size);
	execute(&insn);
	return raised;
}

#define RUN(...)                                                                                   \
	run_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static int set_up(void **state)
{
	(void)state;
	uint8_t *area = mmap(NULL, WINDOW_SIZE + 0x2000, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	assert_ptr_not_equal(area, MAP_FAILED);
	window = area + 0x1000;
	assert_int_equal(mprotect(window, WINDOW_SIZE, PROT_READ | PROT_WRITE), 0);
	return 0;
}

static int set_up_cpu(void **state)
{
	(void)state;
	memset(&cpu, 0, sizeof(cpu));
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		tlb_set.entries[i].tag_read = tlb_set.entries[i].tag_write =
			tlb_set.entries[i].tag_execute = tlb_tag_none(i);
	cpu.tlb = &tlb_set;
	cpu.cr0 = 0x80000033;
	cpu.cr4 = FPU_CR4_OSFXSR | FPU_CR4_OSXMMEXCPT | FPU_CR4_OSXSAVE;
	cpu.mode = MODE_64;
	cpu.rflags = 2;
	assert_int_equal(fpu_create(&cpu), 0);
	cpu.xcr0 = fpu_layout.components;
	hole_start = hole_end = 0;
	refuse_pointers = false;
	memset(window, 0, WINDOW_SIZE);
	cpu.gpr[CPU_RBX] = (uintptr_t)window + OPERAND;
	return 0;
}

static int tear_down_cpu(void **state)
{
	(void)state;
	fpu_destroy(&cpu);
	return 0;
}

/* -- enable bits -- */

static void test_gates(void **state)
{
	(void)state;
	cpu.cr0 |= FPU_CR0_TS;
	assert_int_equal(RUN(0xd9, 0xe8), EXCEPTION_NM);             /* fld1 */
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_NM);       /* addps */
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_NM); /* vaddps */
	assert_int_equal(RUN(0x9b), EXCEPTION_NM);                   /* fwait */
	cpu.cr0 &= ~(uint64_t)FPU_CR0_MP;
	assert_int_equal(RUN(0x9b), -1);
	cpu.cr0 ^= FPU_CR0_TS | FPU_CR0_EM;
	assert_int_equal(RUN(0xd9, 0xe8), EXCEPTION_NM);
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0x77), EXCEPTION_UD);             /* emms */
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), -1);
	cpu.cr0 &= ~(uint64_t)FPU_CR0_EM;
	cpu.cr4 &= ~(uint64_t)FPU_CR4_OSFXSR;
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0xef, 0xc1), -1); /* pxor mm */
	cpu.xcr0 = FPU_X87 | FPU_SSE;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_UD);
	cpu.xcr0 |= FPU_AVX;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), -1);
	assert_int_equal(RUN(0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2), EXCEPTION_UD);
	cpu.cr4 &= ~(uint64_t)FPU_CR4_OSXSAVE;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), EXCEPTION_UD); /* xgetbv */
	/* Real and virtual-8086 modes have no VEX. */
	cpu.cr4 |= FPU_CR4_OSXSAVE;
	cpu.mode = CPU_MODE_CODE16;
	struct insn insn;
	static const uint8_t vaddps[] = {0xc5, 0xf0, 0x58, 0xc2};

	assert_int_equal(insn_decode(&insn, vaddps, sizeof(vaddps), cpu.mode), 0);
	execute(&insn);
	assert_int_equal(raised, EXCEPTION_UD);
}

/* -- exceptions -- */

static uint8_t *area_xmm(unsigned n)
{
	uint64_t *in_use = (uint64_t *)(void *)(cpu.fpu.area + FPU_IMAGE_XSTATE_BV);

	*in_use |= FPU_SSE | FPU_X87;
	return cpu.fpu.area + FPU_IMAGE_XMM + 16 * n;
}

static void test_simd_exception(void **state)
{
	static const uint32_t one = 0x3f800000;
	uint32_t mxcsr;

	(void)state;
	thunk_claim_signals(); /* cmocka has its own in every test */
	memcpy(area_xmm(0), &one, 4);
	memset(area_xmm(1), 0, 16);
	assert_int_equal(RUN(0xf3, 0x0f, 0x5e, 0xc1), -1); /* divss %xmm1, %xmm0 */
	memcpy(&mxcsr, cpu.fpu.area + FPU_IMAGE_MXCSR, 4);
	assert_int_equal(mxcsr, 0x1f84);
	memcpy(area_xmm(0), &one, 4);
	mxcsr = 0x1f80 & ~0x200u;
	memcpy(cpu.fpu.area + FPU_IMAGE_MXCSR, &mxcsr, 4);
	assert_int_equal(RUN(0xf3, 0x0f, 0x5e, 0xc1), EXCEPTION_XM);
	memcpy(&mxcsr, cpu.fpu.area + FPU_IMAGE_MXCSR, 4);
	assert_int_equal(mxcsr, 0x1d84);
	assert_memory_equal(area_xmm(0), &one, 4);
	cpu.cr4 &= ~(uint64_t)FPU_CR4_OSXMMEXCPT;
	assert_int_equal(RUN(0xf3, 0x0f, 0x5e, 0xc1), EXCEPTION_UD);
}

static void test_x87_exception(void **state)
{
	(void)state;
	thunk_claim_signals();
	*(uint16_t *)(void *)(window + OPERAND) = 0x37b; /* division by zero unmasked */
	assert_int_equal(RUN(0xd9, 0x2b), -1);           /* fldcw (%rbx) */
	assert_int_equal(RUN(0xd9, 0xe8), -1);           /* fld1 */
	assert_int_equal(RUN(0xd9, 0xee), -1);           /* fldz */
	assert_int_equal(RUN(0xde, 0xf9), -1);           /* fdivp: raised later */
	assert_int_equal(RUN(0x9b), EXCEPTION_MF);
	assert_int_equal(RUN(0xd9, 0xe8), EXCEPTION_MF);
	assert_int_equal(RUN(0x0f, 0x77), EXCEPTION_MF); /* emms waits too */
	assert_int_equal(RUN(0xdf, 0xe0), -1);           /* fnstsw %ax */
	assert_int_equal(cpu.gpr[CPU_RAX] & 0x84, 0x84);
	assert_int_equal(RUN(0xdb, 0xe2), -1);           /* fnclex */
	assert_int_equal(RUN(0x9b), -1);
}

static void test_ldmxcsr_reserved(void **state)
{
	(void)state;
	*(uint32_t *)(void *)(window + OPERAND) = 0x1f80 | 1u << 16;
	assert_int_equal(RUN(0x0f, 0xae, 0x13), EXCEPTION_GP);
	*(uint32_t *)(void *)(window + OPERAND) = 0x9fc0;
	assert_int_equal(RUN(0x0f, 0xae, 0x13), -1);
	assert_int_equal(RUN(0x0f, 0xae, 0x5b, 0x04), -1); /* stmxcsr 4(%rbx) */
	assert_int_equal(*(uint32_t *)(void *)(window + OPERAND + 4), 0x9fc0);
}

static void test_alignment(void **state)
{
	(void)state;
	cpu.gpr[CPU_RBX] += 8;
	assert_int_equal(RUN(0x0f, 0x28, 0x03), EXCEPTION_GP); /* movaps */
	assert_int_equal(RUN(0x0f, 0x10, 0x03), -1);           /* movups */
	assert_int_equal(RUN(0x0f, 0x58, 0x03), EXCEPTION_GP); /* addps */
	assert_int_equal(RUN(0xf3, 0x0f, 0x58, 0x03), -1);     /* addss */
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0x03), -1);     /* vaddps */
	assert_int_equal(RUN(0xc5, 0xfc, 0x28, 0x03), EXCEPTION_GP);
	refuse_pointers = true;
	assert_int_equal(RUN(0x0f, 0x28, 0x03), EXCEPTION_GP);
}

/* -- masks and page faults -- */

static void test_fault_suppression(void **state)
{
	uint64_t boundary = (uintptr_t)window + 0x1000;
	uint64_t *k1 = (uint64_t *)(void *)(cpu.fpu.area + fpu_layout.offset[5] + 8);
	uint64_t *in_use = (uint64_t *)(void *)(cpu.fpu.area + FPU_IMAGE_XSTATE_BV);

	(void)state;
	if (!(fpu_layout.components & FPU_OPMASK))
		skip();
	memset(window, 0x11, WINDOW_SIZE);
	hole_start = boundary;
	hole_end = boundary + 0x1000;
	cpu.gpr[CPU_RBX] = boundary - 12;
	/* vmovdqu32 (%rbx), %zmm0{%k1}{z} */
	*k1 = 7;
	*in_use |= FPU_OPMASK;
	assert_int_equal(RUN(0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x03), -1);
	assert_int_equal(*(uint32_t *)(void *)(area_xmm(0) + 8), 0x11111111);
	assert_int_equal(*(uint32_t *)(void *)(area_xmm(0) + 12), 0);
	refuse_pointers = true;
	assert_int_equal(RUN(0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x03), -1);
	assert_int_equal(*(uint32_t *)(void *)(area_xmm(0) + 8), 0x11111111);
	refuse_pointers = false;
	*k1 = 15;
	assert_int_equal(RUN(0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x03), EXCEPTION_PF);
	/* vmovdqu32 %zmm2, (%rbx){%k1} */
	*k1 = 0xf;
	assert_int_equal(RUN(0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x13), EXCEPTION_PF);
	assert_int_equal(*(uint32_t *)(uintptr_t)(boundary - 12), 0x11111111);
	*k1 = 5;
	assert_int_equal(RUN(0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x13), -1);
	assert_int_equal(*(uint32_t *)(uintptr_t)(boundary - 12), 0);
	assert_int_equal(*(uint32_t *)(uintptr_t)(boundary - 8), 0x11111111);
	assert_int_equal(*(uint32_t *)(uintptr_t)(boundary - 4), 0);
	/* vpmaskmovd %xmm2, %xmm3, (%rbx): a mask of zeros touches nothing */
	cpu.gpr[CPU_RBX] = boundary + 16;
	assert_int_equal(RUN(0xc4, 0xe2, 0x61, 0x8e, 0x13), -1);
	/* and one with bit 3 crosses. */
	memset(area_xmm(3) + 12, 0x80, 4);
	assert_int_equal(RUN(0xc4, 0xe2, 0x61, 0x8e, 0x13), EXCEPTION_PF);
	cpu.gpr[CPU_RBX] = boundary - 16;
	assert_int_equal(RUN(0xc4, 0xe2, 0x61, 0x8e, 0x13), -1);
}

static void test_store_pop_restart(void **state)
{
	(void)state;
	/* A faulting fstp must not pop; one into a bounce buffer pops once. */
	assert_int_equal(RUN(0xd9, 0xe8), -1);
	assert_int_equal(RUN(0xd9, 0xeb), -1); /* fldpi */
	hole_start = cpu.gpr[CPU_RBX];
	hole_end = hole_start + 1;
	assert_int_equal(RUN(0xdb, 0x3b), EXCEPTION_PF); /* fstpt (%rbx) */
	assert_int_equal(cpu.fpu.area[FPU_IMAGE_FTW], 0xc0);
	hole_start = hole_end = 0;
	refuse_pointers = true;
	assert_int_equal(RUN(0xdb, 0x3b), -1);
	assert_int_equal(cpu.fpu.area[FPU_IMAGE_FTW], 0x80);
	assert_int_equal(*(uint16_t *)(void *)(window + OPERAND + 8), 0x4000);
}

/* -- images -- */

static void test_x87_environment(void **state)
{
	uint32_t *image = (uint32_t *)(void *)(window + OPERAND);

	(void)state;
	cpu.rip = 0x12345678;
	assert_int_equal(RUN(0xd9, 0xe8), -1);
	assert_int_equal(RUN(0xd9, 0xee), -1);
	assert_int_equal(RUN(0xd9, 0x33), -1); /* fnstenv (%rbx) */
	assert_int_equal(image[0] & 0xffff, 0x37f);
	assert_int_equal(image[1] & 0xffff, 0x3000);
	assert_int_equal(image[2] & 0xffff, 0x1fff);
	assert_int_equal(image[3], 0x12345678);
	assert_int_equal(image[4], 0x1ee << 16);
	assert_int_equal(RUN(0xdd, 0x33), -1); /* fnsave (%rbx) */
	assert_int_equal(cpu.fpu.area[FPU_IMAGE_FTW], 0);
	assert_int_equal(image[3], 0x12345678);
	assert_int_equal(*(uint16_t *)(void *)(window + OPERAND + 28 + 10 + 8), 0x3fff);
	assert_int_equal(RUN(0xdd, 0x23), -1); /* frstor (%rbx) */
	assert_int_equal(cpu.fpu.area[FPU_IMAGE_FTW], 0xc0);
	assert_int_equal(cpu.fpu.fip, 0x12345678);
	assert_int_equal(RUN(0xdb, 0xf1), -1); /* fcomi %st(1): 0 < 1 */
	assert_int_equal(cpu.rflags, 3);
	assert_int_equal(RUN(0x66, 0xd9, 0x33), -1); /* the 14-byte form */
	assert_int_equal(*(uint16_t *)(void *)(window + OPERAND + 4), 0x1fff);
}

static void test_xsave(void **state)
{
	uint64_t *image = (uint64_t *)(void *)(window + OPERAND);

	(void)state;
	memset(area_xmm(5), 0xab, 16);
	memset(window, 0xcc, WINDOW_SIZE);
	memset(window + OPERAND + 512, 0, 64);
	cpu.gpr[CPU_RAX] = cpu.gpr[CPU_RDX] = UINT32_MAX;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x23), -1); /* xsave64 (%rbx) */
	assert_int_equal(image[64] & FPU_SSE, FPU_SSE);
	assert_int_equal(window[OPERAND + 160 + 80], 0xab);
	assert_int_equal(window[OPERAND + 416], 0xcc);
	memset(area_xmm(5), 0, 16);
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), -1); /* xrstor64 (%rbx) */
	assert_int_equal(area_xmm(5)[15], 0xab);
	/* Bad headers. */
	image[64] |= UINT64_C(1) << 62;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), EXCEPTION_GP);
	image[64] &= ~(UINT64_C(1) << 62);
	image[66] = 1;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), EXCEPTION_GP);
	image[66] = 0;
	/* MXCSR is loaded even where SSE is initial. */
	image[64] = 0;
	((uint32_t *)image)[6] = 0xffffffff;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), EXCEPTION_GP);
	((uint32_t *)image)[6] = 0x1fa0;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), -1);
	assert_int_equal(area_xmm(5)[15], 0);
	assert_int_equal(*(uint32_t *)(void *)(cpu.fpu.area + FPU_IMAGE_MXCSR), 0x1fa0);
	/* Compacted: xsavec64, xrstor64. */
	memset(area_xmm(5), 0xcd, 16);
	assert_int_equal(RUN(0x48, 0x0f, 0xc7, 0x23), -1);
	assert_int_equal(image[65], cpu.xcr0 | UINT64_C(1) << 63);
	memset(area_xmm(5), 0, 16);
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), -1);
	assert_int_equal(area_xmm(5)[0], 0xcd);
	/* Supervisor forms need ring 0. */
	assert_int_equal(RUN(0x48, 0x0f, 0xc7, 0x2b), -1); /* xsaves64 */
	assert_int_equal(RUN(0x48, 0x0f, 0xc7, 0x1b), -1); /* xrstors64 */
	cpu.cpl = 3;
	assert_int_equal(RUN(0x48, 0x0f, 0xc7, 0x1b), EXCEPTION_GP);
	cpu.cpl = 0;
	cpu.gpr[CPU_RBX] += 32;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x23), EXCEPTION_GP);
	/* xsetbv */
	cpu.gpr[CPU_RCX] = 0;
	cpu.gpr[CPU_RDX] = 0;
	cpu.gpr[CPU_RAX] = FPU_X87 | FPU_AVX;
	assert_int_equal(RUN(0x0f, 0x01, 0xd1), EXCEPTION_GP);
	cpu.gpr[CPU_RAX] = FPU_X87 | FPU_SSE;
	assert_int_equal(RUN(0x0f, 0x01, 0xd1), -1);
	assert_int_equal(cpu.xcr0, FPU_X87 | FPU_SSE);
}

static void test_kvm_structs(void **state)
{
	static uint8_t region[FPU_AREA_SIZE];
	struct kvm_fpu kvm;

	(void)state;
	memset(&kvm, 0, sizeof(kvm));
	kvm.fcw = 0x27f;
	kvm.fsw = 0x3800;
	kvm.ftwx = 0x80;
	kvm.last_ip = 0x1122334455667788;
	memset(kvm.xmm[7], 0x5a, 16);
	fpu_set_kvm(&cpu, &kvm);
	assert_int_equal(RUN(0x9b), -1);
	struct kvm_fpu got;

	fpu_get_kvm(&cpu, &got);
	assert_memory_equal(&kvm, &got, sizeof(kvm));
	fpu_get_xsave(&cpu, region);
	assert_int_equal(region[160 + 7 * 16], 0x5a);
	fpu_reset(&cpu);
	assert_int_equal(fpu_set_xsave(&cpu, region), 0);
	fpu_get_kvm(&cpu, &got);
	assert_memory_equal(&kvm, &got, sizeof(kvm));
	region[520] = 1;
	assert_int_equal(fpu_set_xsave(&cpu, region), -EINVAL);
	region[520] = 0;
	region[513] = 2;
	assert_int_equal(fpu_set_xsave(&cpu, region), -EINVAL);
	region[513] = 0;
	region[27] = 1;
	assert_int_equal(fpu_set_xsave(&cpu, region), -EINVAL);
}

/* -- random instructions against the host -- */

struct machine {
	uint64_t gpr[16];
	uint64_t rflags;
	uint8_t area[FPU_AREA_SIZE] __attribute__((aligned(64)));
	uint8_t memory[WINDOW_SIZE];
};

static struct machine before, native, ours;
static uint8_t *native_code;
static sigjmp_buf native_fault;
static int native_signal;
static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned random_below(unsigned limit)
{
	return (unsigned)(random_next() >> 11) % limit;
}

static struct sigaction thunk_fpe, thunk_ill;

static void on_native_fault(int number, siginfo_t *info, void *context)
{
	uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	if (pc - (uintptr_t)native_code < 0x1000) {
		native_signal = number;
		siglongjmp(native_fault, 1);
	}
	if (number == SIGFPE || number == SIGILL) {
		(number == SIGFPE ? &thunk_fpe : &thunk_ill)->sa_sigaction(number, info, context);
		return;
	}
	signal(number, SIG_DFL);
}

/* The instruction between loads and stores of all registers but rsp and r15, which points to the
 * machine. */
static void build_native(const uint8_t *bytes, unsigned size)
{
	uint8_t *at = native_code;

#define PUT(...)                                                                                   \
	do {                                                                                       \
		static const uint8_t code[] = {__VA_ARGS__};                                       \
		memcpy(at, code, sizeof(code));                                                    \
		at += sizeof(code);                                                                \
	} while (0)
	/* push rbx, rbp, r12-r15; mov %rdi, %r15 */
	PUT(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xff);
	/* push 128(%r15); popf */
	PUT(0x41, 0xff, 0xb7, 0x80, 0, 0, 0, 0x9d);
	for (unsigned i = 0; i < 15; i++) {
		if (i == CPU_RSP)
			continue;
		*at++ = (uint8_t)(i & 8 ? 0x4d : 0x49); /* mov 8*i(%r15), %i */
		*at++ = 0x8b;
		*at++ = (uint8_t)(0x47 | (i & 7) << 3);
		*at++ = (uint8_t)(8 * i);
	}
	memcpy(at, bytes, size);
	at += size;
	for (unsigned i = 0; i < 15; i++) {
		if (i == CPU_RSP)
			continue;
		*at++ = (uint8_t)(i & 8 ? 0x4d : 0x49);
		*at++ = 0x89;
		*at++ = (uint8_t)(0x47 | (i & 7) << 3);
		*at++ = (uint8_t)(8 * i);
	}
	/* pushf; pop 128(%r15) */
	PUT(0x9c, 0x41, 0x8f, 0x87, 0x80, 0, 0, 0);
	PUT(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
#undef PUT
}

static void run_native(void)
{
	uint32_t mask = (uint32_t)fpu_layout.components;
	static uint8_t host[FPU_AREA_SIZE] __attribute__((aligned(64)));

	native_signal = 0;
	__asm__ volatile("xsave64 %0" : "+m"(host) : "a"(mask), "d"(0) : "memory");
	if (sigsetjmp(native_fault, 1) == 0) {
		__asm__ volatile("xrstor64 %0" : : "m"(native.area), "a"(mask), "d"(0) : "memory");
		((void (*)(struct machine *))(uintptr_t)native_code)(&native);
		__asm__ volatile("xsave64 %0" : "+m"(native.area) : "a"(mask), "d"(0) : "memory");
	}
	__asm__ volatile("xrstor64 %0" : : "m"(host), "a"(mask), "d"(0) : "memory");
}

/* Random encodings: base rbx, or rdi for implicit operands; register numbers over the whole range. */
static unsigned random_bytes(uint8_t *bytes)
{
	unsigned n = 0;
	bool is_memory = random_below(2);
	uint8_t modrm = (uint8_t)(random_below(8) << 3 | 3);

	if (!is_memory)
		modrm = (uint8_t)(0xc0 | random_below(64));
	switch (random_below(4)) {
	case 0: { /* x87 */
		bytes[n++] = (uint8_t)(0xd8 + random_below(8));
		bytes[n++] = modrm;
		return n;
	}
	case 1: { /* legacy */
		static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3};
		unsigned map = random_below(3);

		if (random_below(4))
			bytes[n++] = prefixes[random_below(3)];
		if (random_below(2))
			bytes[n++] = (uint8_t)(0x40 | random_below(16));
		if (n && (bytes[n - 1] & 0xf0) == 0x40 && is_memory)
			bytes[n - 1] &= 0xfe;
		bytes[n++] = 0x0f;
		if (map)
			bytes[n++] = map == 1 ? 0x38 : 0x3a;
		break;
	}
	case 2: { /* VEX */
		uint8_t first = (uint8_t)(random_next() & 0xe0) | 1;

		if (is_memory)
			first |= 0x20;
		bytes[n++] = 0xc4;
		bytes[n++] = first + (uint8_t)random_below(3);
		bytes[n++] = (uint8_t)random_next();
		if (random_below(3) == 0)
			bytes[n - 1] |= 0x78;
		break;
	}
	default: { /* EVEX */
		static const uint8_t maps[] = {1, 2, 3, 1, 2, 3, 5, 6};
		uint8_t first = (uint8_t)(random_next() & 0xf0) | maps[random_below(8)];

		if (is_memory)
			first |= 0x20;
		bytes[n++] = 0x62;
		bytes[n++] = first;
		bytes[n++] = (uint8_t)random_next() | 4;
		bytes[n++] = (uint8_t)random_next();
		if (random_below(3) == 0) {
			bytes[n - 2] |= 0x78;
			bytes[n - 1] |= 8;
		}
		break;
	}
	}
	bytes[n++] = (uint8_t)random_next();
	if (is_memory && random_below(4) == 0)
		modrm |= 0x40; /* an 8-bit displacement */
	if (is_memory && random_below(4) == 0) {
		bytes[n++] = modrm | 4;
		bytes[n++] = (uint8_t)((random_next() & 0xf8) | 3); /* SIB */
	} else {
		bytes[n++] = modrm;
	}
	if (is_memory && (modrm & 0x40))
		bytes[n++] = (uint8_t)(random_below(16) - 8);
	return n; /* an immediate may follow: the caller's buffer has random bytes there */
}

static void random_machine(void)
{
	unsigned style = random_below(4);

	memset(&before, 0, sizeof(before));
	for (unsigned i = 0; i < sizeof(before.memory); i += 8)
		*(uint64_t *)(void *)(before.memory + i) = random_next();
	for (unsigned i = 0; i < 15; i++)
		before.gpr[i] = random_next() >> random_below(64);
	before.gpr[CPU_RSP] = 0;
	before.gpr[CPU_RBX] = (uintptr_t)window + OPERAND;
	before.gpr[CPU_RDI] = (uintptr_t)window + OPERAND + 0x100;
	before.rflags = 0x202 | (random_next() & 0x8d5);
	/* Not zero, so that no component is in its initial state. */
	for (unsigned i = 0; i < sizeof(before.area); i += 4) {
		uint32_t value = (uint32_t)random_next();

		if (style == 1) /* small floats */
			value = (value & 0x83ffffff) | 0x3c000000;
		if (style == 2) /* small integers, good as indexes */
			value = (i & 4) && (before.memory[0] & 1) ? 0 : value & 0xff;
		if (style == 3 && random_below(2))
			value &= 0xff800000;
		*(uint32_t *)(void *)(before.area + i) = value;
	}
	memset(before.area + 512, 0, 64);
	*(uint64_t *)(void *)(before.area + 512) = fpu_layout.components;
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FCW) = 0x37f;
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FSW) = (uint16_t)(random_next() & 0x7f00);
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FTW) = (uint8_t)random_next();
	memset(before.area + FPU_IMAGE_FOP, 0, 18);
	*(uint32_t *)(void *)(before.area + FPU_IMAGE_MXCSR) = 0x1f80 | (random_next() & 0xe040);
	*(uint32_t *)(void *)(before.area + FPU_IMAGE_MXCSR_MASK) = 0;
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *st = before.area + FPU_IMAGE_ST + 16 * i;

		memset(st + 10, 0, 6);
		if (random_below(4)) { /* a normal number */
			st[7] |= 0x80;
			*(uint16_t *)(void *)(st + 8) = 0x3ff0 + random_below(64);
		}
	}
	if (random_below(2)) /* opmasks with few bits */
		for (unsigned i = 0; i < 8; i++)
			*(uint64_t *)(void *)(before.area + fpu_layout.offset[5] + 8 * i) &=
				random_next() & random_next();
}

static bool is_comparable(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands)
{
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		/* The native stub's own. */
		if (op->reg.value == ZYDIS_REGISTER_RSP || op->reg.value == ZYDIS_REGISTER_ESP ||
		    op->reg.value == ZYDIS_REGISTER_R15 || op->reg.value == ZYDIS_REGISTER_R15D)
			return false;
	}
	for (unsigned i = 0; i < in->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operands[i].mem.type != ZYDIS_MEMOP_TYPE_VSIB &&
		    (operands[i].mem.index != ZYDIS_REGISTER_NONE ||
		     (operands[i].mem.base != ZYDIS_REGISTER_RBX &&
		      operands[i].mem.base != ZYDIS_REGISTER_RDI)))
			return false; /* would go astray */
	switch (in->mnemonic) {
	/* Approximations that differ between processors would not here; these show addresses, or
	 * are the system's. */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_XSETBV:
		return false;
	default:
		return true;
	}
}

/* Whether an instruction that is not bound here should have been. */
static bool is_missing(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
		return false; /* general instructions */
	default:
		break;
	}
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
		return false;
	default:
		break;
	}
	switch (in->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return true;
	default:
		return false;
	}
}

static void print_case(const char *what, const uint8_t *bytes, unsigned size)
{
	ZydisDecoder decoder;
	ZydisFormatter formatter;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	char text[128] = "?";

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &in, operands)))
		ZydisFormatterFormatInstruction(&formatter, &in, operands, in.operand_count_visible,
						text, sizeof(text), 0, NULL);
	print_message("%s: %s [", what, text);
	for (unsigned i = 0; i < size; i++)
		print_message("%02x ", bytes[i]);
	print_message("] raised %d, signal %d\n", raised, native_signal);
}

/* Whether 32-bit code of the same bytes does the same as 64-bit code (the window is below 4 GiB). */
static bool is_same_in_32bit(const uint8_t *bytes, const ZydisDecodedInstruction *in,
			     const ZydisDecodedOperand *operands)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction other;
	ZydisDecodedOperand others[ZYDIS_MAX_OPERAND_COUNT];

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, in->length, &other, others)) ||
	    other.mnemonic != in->mnemonic || other.length != in->length ||
	    other.operand_count != in->operand_count)
		return false;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *a = &operands[i], *b = &others[i];

		if (a->type != b->type || a->size != b->size ||
		    ZydisRegisterGetId(a->reg.value) != ZydisRegisterGetId(b->reg.value))
			return false;
		if (a->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (ZydisRegisterGetId(a->mem.base) != ZydisRegisterGetId(b->mem.base) ||
		     a->mem.type == ZYDIS_MEMOP_TYPE_VSIB))
			return false;
	}
	return true;
}

/* Leave out what cannot be equal: the x87's last-instruction pointers. */
static void clean_area(uint8_t *area)
{
	memset(area + FPU_IMAGE_FOP, 0, 18);
	memset(area + FPU_IMAGE_MXCSR_MASK, 0, 4);
	memset(area + FPU_IMAGE_AVAILABLE, 0, 96);
	/* Memory that XSAVE does not write. */
	memset(area + 832, 0, fpu_layout.offset[5] > 832 ? fpu_layout.offset[5] - 832 : 0);
}

static bool compare(const uint8_t *bytes, unsigned size)
{
	int expected = native_signal == 0 ? -1
		       : native_signal == SIGILL ? EXCEPTION_UD
		       : native_signal == SIGFPE ? EXCEPTION_XM
						 : EXCEPTION_PF;

	/* That the host lacks an instruction shows only after its operand's page faults. */
	if (native_signal == SIGILL && raised == EXCEPTION_PF)
		return true;
	if (raised != expected &&
	    !(native_signal == SIGSEGV && (raised == EXCEPTION_GP || raised == EXCEPTION_PF))) {
		print_case("exception differs", bytes, size);
		return false;
	}
	if (native_signal != 0)
		return true;
	clean_area(native.area);
	clean_area(ours.area);
	if (memcmp(native.area, ours.area, 2688) != 0) {
		unsigned at = 0;

		while (native.area[at] == ours.area[at])
			at++;
		print_case("state differs", bytes, size);
		print_message("  at %u: native %02x, ours %02x\n", at, native.area[at],
			      ours.area[at]);
		return false;
	}
	if (memcmp(native.gpr, ours.gpr, 15 * 8) != 0) {
		print_case("general registers differ", bytes, size);
		return false;
	}
	if ((native.rflags ^ ours.rflags) & 0x8d5) {
		print_case("flags differ", bytes, size);
		return false;
	}
	if (memcmp(native.memory, ours.memory, WINDOW_SIZE) != 0) {
		print_case("memory differs", bytes, size);
		return false;
	}
	return true;
}

static void install_fault_handlers(void)
{
	struct sigaction action = {.sa_sigaction = on_native_fault, .sa_flags = SA_SIGINFO};

	sigaction(SIGFPE, &action, &thunk_fpe);
	sigaction(SIGILL, &action, &thunk_ill);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void restore_fault_handlers(void)
{
	sigaction(SIGFPE, &thunk_fpe, NULL);
	sigaction(SIGILL, &thunk_ill, NULL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

/* The last test: afterwards no new thunk finds room, and instructions run from the CPU's slot. */
static void test_full(void **state)
{
	struct thunk_traits traits = {.size = 0};
	struct thunk_code code = {.length = 16};
	uint64_t count = 0;

	(void)state;
	thunk_claim_signals();
	do {
		memcpy(code.bytes, &count, 8);
		count++;
	} while (thunk_find(&code, &traits) != NULL);
	assert_in_range(count, 1000, 1000000);
	memset(window + OPERAND, 0x42, 64);
	/* Forms that no other test uses: pshufd $0x4e, %xmm9, %xmm1, and with memory. */
	memcpy(area_xmm(9), "\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20", 16);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(RUN(0x66, 0x41, 0x0f, 0x70, 0xc9, 0x4e), -1);
		assert_int_equal(*area_xmm(1), 9);
		assert_int_equal(RUN(0x66, 0x0f, 0x70, 0x4b, 0x10, 0x4e), -1);
		assert_int_equal(*area_xmm(1), 0x42);
	}
	hole_start = cpu.gpr[CPU_RBX];
	hole_end = hole_start + 32;
	assert_int_equal(RUN(0x66, 0x0f, 0x70, 0x4b, 0x10, 0x4e), EXCEPTION_PF);
}

static void test_random(void **state)
{
	const char *seed_text = getenv("KVIK_TEST_SEED");
	const char *rounds_text = getenv("KVIK_TEST_ROUNDS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
	unsigned rounds = rounds_text ? (unsigned)strtoul(rounds_text, NULL, 0) : 60000;
	unsigned executed = 0, in_32bit = 0, failures = 0;
	ZydisDecoder decoder;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	random_state = seed * 0x9e3779b97f4a7c15 + 1;
	native_code = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(native_code, MAP_FAILED);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	thunk_claim_signals();
	install_fault_handlers();
	for (unsigned round = 0; round < rounds && failures < 40; round++) {
		uint8_t bytes[16];
		ZydisDecodedInstruction in;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		struct insn insn;

		for (unsigned i = 0; i < 16; i++)
			bytes[i] = (uint8_t)random_next();
		random_bytes(bytes);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, 15, &in, operands)) ||
		    !is_comparable(&in, operands))
			continue;
		if (insn_decode(&insn, bytes, in.length, MODE_64) != 0 ||
		    isa_find(insn.mnemonic) != NULL ||
		    (insn.execute == insn_undefined && !is_missing(&in)))
			continue;
		executed++;
		cpu.mode = MODE_64;
		if (random_below(2) && is_same_in_32bit(bytes, &in, operands)) {
			cpu.mode = MODE_32;
			assert_int_equal(insn_decode(&insn, bytes, in.length, MODE_32), 0);
			in_32bit++;
		}
		random_machine();

		/* Now and then the operand reaches into a page that is not there. */
		bool has_hole = random_below(4) == 0;

		hole_start = hole_end = 0;
		if (has_hole) {
			before.gpr[CPU_RBX] = (uintptr_t)window + 0xfc0 + random_below(64);
			hole_start = (uintptr_t)window + 0x1000;
			hole_end = hole_start + 0x1000;
		}

		/* The same machine on both sides, with the same memory. */
		native = before;
		memcpy(window, before.memory, WINDOW_SIZE);
		build_native(bytes, in.length);
		if (has_hole)
			mprotect(window + 0x1000, 0x1000, PROT_NONE);
		run_native();
		if (has_hole)
			mprotect(window + 0x1000, 0x1000, PROT_READ | PROT_WRITE);
		memcpy(native.memory, window, WINDOW_SIZE);

		memcpy(window, before.memory, WINDOW_SIZE);
		memcpy(cpu.gpr, before.gpr, sizeof(cpu.gpr));
		cpu.rflags = before.rflags;
		memcpy(cpu.fpu.area, before.area, FPU_AREA_SIZE);
		cpu.rip = 0x1000;
		refuse_pointers = random_below(2);
		execute(&insn);
		memcpy(ours.area, cpu.fpu.area, FPU_AREA_SIZE);
		memcpy(ours.gpr, cpu.gpr, sizeof(cpu.gpr));
		ours.rflags = cpu.rflags;
		memcpy(ours.memory, window, WINDOW_SIZE);
		if (!compare(bytes, in.length))
			failures++;
	}
	restore_fault_handlers();
	print_message("%u instructions compared, %u as 32-bit code\n", executed, in_32bit);
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gates, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_simd_exception, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_x87_exception, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_ldmxcsr_reserved, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_alignment, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_fault_suppression, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_store_pop_restart, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_x87_environment, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_xsave, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_kvm_structs, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_random, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_full, set_up_cpu, tear_down_cpu),
	};

	return cmocka_run_group_tests_name("x86_fpu", tests, set_up, NULL);
}
