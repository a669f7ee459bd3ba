/*
 * The FPU's gates, exceptions, masks and images: what instructions raise and in which state they
 * leave it, with expected values from the Intel SDM. x86_fpu_random.c compares results.
 */
#include <cpuid.h>

#include "x86_fpu_fixture.h"

/* -- enable bits -- */

/* What an instruction of AVX ends with, on a host that has them. */
static int avx_or_ud(int vector)
{
	return fpu_layout.components & FPU_AVX ? vector : EXCEPTION_UD;
}

static void test_gates(void **state)
{
	(void)state;
	cpu.cr0 |= FPU_CR0_TS;
	assert_int_equal(RUN(0xd9, 0xe8), EXCEPTION_NM);             /* fld1 */
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_NM);       /* addps */
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), avx_or_ud(EXCEPTION_NM)); /* vaddps */
	assert_int_equal(RUN(0x9b), EXCEPTION_NM);                   /* fwait */
	cpu.cr0 &= ~(uint64_t)FPU_CR0_MP;
	assert_int_equal(RUN(0x9b), -1);
	cpu.cr0 ^= FPU_CR0_TS | FPU_CR0_EM;
	assert_int_equal(RUN(0xd9, 0xe8), EXCEPTION_NM);
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0x77), EXCEPTION_UD);             /* emms */
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), avx_or_ud(-1));
	cpu.cr0 &= ~(uint64_t)FPU_CR0_EM;
	cpu.cr4 &= ~(uint64_t)FPU_CR4_OSFXSR;
	assert_int_equal(RUN(0x0f, 0x58, 0xc1), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0xef, 0xc1), -1); /* pxor mm */
	cpu.xcr0 = FPU_X87 | FPU_SSE;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_UD);
	cpu.cr0 |= FPU_CR0_TS;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_UD); /* before #NM */
	cpu.cr0 &= ~(uint64_t)FPU_CR0_TS;
	cpu.xcr0 |= fpu_layout.components & FPU_AVX;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), avx_or_ud(-1));
	assert_int_equal(RUN(0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2), EXCEPTION_UD);
	cpu.cr4 &= ~(uint64_t)FPU_CR4_OSXSAVE;
	assert_int_equal(RUN(0xc5, 0xf0, 0x58, 0xc2), EXCEPTION_UD);
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), EXCEPTION_UD); /* xgetbv */
	/* Real and virtual-8086 modes have no VEX. */
	cpu.cr4 |= FPU_CR4_OSXSAVE;
	cpu.mode = CPU_MODE_CODE16;
	struct insn insn;
	static const uint8_t vaddps[] = {0xc5, 0xf0, 0x58, 0xc2};

	assert_int_equal(insn_decode(&insn, vaddps, sizeof(vaddps), cpu.mode, &insn_host_rules), 0);
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

/* VPBROADCASTD with EVEX.W, which 32-bit code ignores, is not VPBROADCASTQ. */
static void test_broadcast_in_32bit(void **state)
{
	static const uint32_t element = 0x12345678;

	(void)state;
	if (!(fpu_layout.components & FPU_AVX512))
		skip();
	cpu.mode = MODE_32;
	cpu.gpr[CPU_RBX] = 0xffffffff00000000 | element;
	/* vpbroadcastd %ebx, %zmm0 */
	assert_int_equal(RUN(0x62, 0xf2, 0xfd, 0x48, 0x7c, 0xc3), -1);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(area_xmm(0) + 4 * i, &element, 4);
}

/* What Intel's processors raise #GP for, AMD's take; whichever the host is. */
static void test_misaligned_on_amd(void **state)
{
	uint32_t mxcsr = 0x1f80 | FPU_MXCSR_MM;
	uint8_t sum[16];

	(void)state;
	thunk_claim_signals();
	memset(window + OPERAND, 0x11, 64);
	if (host.words[HOST_7_EBX] & bit_SHA) {
		cpu.is_amd = false;
		memset(area_xmm(1), 0x22, 16);
		assert_int_equal(RUN(0x0f, 0x38, 0xc8, 0x0b), -1); /* sha1nexte (%rbx), %xmm1 */
		memcpy(sum, area_xmm(1), 16);
		memset(area_xmm(1), 0x22, 16);
		assert_int_equal(RUN(0x0f, 0x38, 0xc8, 0x4b, 0x08), EXCEPTION_GP);
		cpu.is_amd = true;
		assert_int_equal(RUN(0x0f, 0x38, 0xc8, 0x4b, 0x08), -1);
		assert_memory_equal(area_xmm(1), sum, 16);
	}
	cpu.is_amd = true;
	assert_int_equal(RUN(0x66, 0x0f, 0xfc, 0x4b, 0x08), EXCEPTION_GP); /* paddb 8(%rbx), %xmm1 */
	/* A host without MXCSR.MM has no guest that sets it. */
	if (!(fpu_layout.mxcsr_mask & FPU_MXCSR_MM))
		return;
	memset(area_xmm(1), 0x22, 16);
	memcpy(cpu.fpu.area + FPU_IMAGE_MXCSR, &mxcsr, 4);
	assert_int_equal(RUN(0x66, 0x0f, 0xfc, 0x4b, 0x08), -1);
	assert_int_equal(*area_xmm(1), 0x33);
	assert_int_equal(RUN(0x66, 0x0f, 0x6f, 0x4b, 0x08), EXCEPTION_GP); /* movdqa */
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
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0x03), avx_or_ud(-1)); /* vaddps */
	assert_int_equal(RUN(0xc5, 0xfc, 0x28, 0x03), avx_or_ud(EXCEPTION_GP));
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

/* The guest's image has what the guest's CPUID says, whatever the host's has. */
static void test_xsave_guest_layout(void **state)
{
	unsigned moved = fpu_layout.offset[2] + 256;
	struct kvm_cpuid_entry2 entry = {
	    .function = 0xd, .index = 2, .eax = 256, .ebx = moved, .ecx = 2};
	uint8_t *image = window + OPERAND;
	uint8_t *high = cpu.fpu.area + fpu_layout.offset[2];

	(void)state;
	if (!(fpu_layout.components & FPU_AVX))
		skip();
	cpu.xcr0 = FPU_X87 | FPU_SSE | FPU_AVX;
	fpu_set_guest_layout(&cpu, &entry, 1);
	memset(image, 0, 2048);
	memset(high, 0x77, 256);
	*(uint64_t *)(void *)(cpu.fpu.area + FPU_IMAGE_XSTATE_BV) |= FPU_AVX;
	cpu.gpr[CPU_RAX] = cpu.gpr[CPU_RDX] = UINT32_MAX;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x23), -1); /* xsave64 (%rbx) */
	assert_int_equal(image[moved], 0x77);
	assert_int_equal(image[moved + 255], 0x77);
	assert_int_equal(image[moved + 256], 0);
	assert_int_equal(image[moved - 1], 0);
	image[moved + 7] = 0x55;
	assert_int_equal(RUN(0x48, 0x0f, 0xae, 0x2b), -1); /* xrstor64 (%rbx) */
	assert_int_equal(high[7], 0x55);
	/* Not a component's size, or beyond any image: the host's place. */
	entry.eax = 128;
	fpu_set_guest_layout(&cpu, &entry, 1);
	assert_int_equal(cpu.fpu.guest_layout.offset[2], fpu_layout.offset[2]);
	entry.eax = 256;
	entry.ebx = 0xfffffff0;
	fpu_set_guest_layout(&cpu, &entry, 1);
	assert_int_equal(cpu.fpu.guest_layout.offset[2], fpu_layout.offset[2]);
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

/* Images of what is in use: the rest is left alone on the way out, and in its initial state on the way in. */
static void test_images(void **state)
{
	static uint8_t image[FPU_AREA_SIZE], other[FPU_AREA_SIZE];
	const unsigned top = 2; /* AVX's, where a host has it */
	bool has_avx = fpu_layout.components & FPU_AVX;
	uint8_t *in_use = cpu.fpu.area + FPU_IMAGE_XSTATE_BV;

	(void)state;
	memset(area_xmm(3), 0x33, 16);
	if (has_avx) {
		in_use[0] |= FPU_AVX;
		memset(cpu.fpu.area + fpu_layout.offset[top] + 48, 0x44, 16);
	}
	memset(image, 0xee, sizeof(image));
	fpu_get_image(&cpu, image, sizeof(image));
	assert_int_equal(image[FPU_IMAGE_XMM + 3 * 16], 0x33);
	assert_int_equal(image[FPU_IMAGE_XSTATE_BV], FPU_X87 | FPU_SSE | (has_avx ? FPU_AVX : 0));
	for (unsigned i = 1; i < FPU_HEADER_SIZE; i++)
		assert_int_equal(image[FPU_IMAGE_XSTATE_BV + i], 0);
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if (fpu_layout.components >> i & 1)
			assert_int_equal(image[fpu_layout.offset[i]], i == top ? 0 : 0xee);
	fpu_reset(&cpu);
	fpu_set_image(&cpu, image, sizeof(image), cpu.xcr0);
	assert_int_equal(*area_xmm(3), 0x33);
	if (has_avx) {
		assert_int_equal(cpu.fpu.area[fpu_layout.offset[top] + 48], 0x44);
		/* No room for it, or not believed, or not in use. */
		fpu_get_image(&cpu, other, fpu_layout.offset[top] + fpu_layout.size[top] - 1u);
		assert_int_equal(other[FPU_IMAGE_XSTATE_BV] & FPU_AVX, 0);
		fpu_set_image(&cpu, image, fpu_layout.offset[top] + fpu_layout.size[top] - 1u, cpu.xcr0);
		assert_int_equal(cpu.fpu.area[fpu_layout.offset[top] + 48], 0);
		fpu_set_image(&cpu, image, sizeof(image), cpu.xcr0);
		assert_int_equal(cpu.fpu.area[fpu_layout.offset[top] + 48], 0x44);
		fpu_set_image(&cpu, image, sizeof(image), FPU_X87 | FPU_SSE);
		assert_int_equal(cpu.fpu.area[fpu_layout.offset[top] + 48], 0);
		fpu_set_image(&cpu, image, sizeof(image), cpu.xcr0);
		image[FPU_IMAGE_XSTATE_BV] &= (uint8_t)~FPU_AVX;
		fpu_set_image(&cpu, image, sizeof(image), cpu.xcr0);
		assert_int_equal(cpu.fpu.area[fpu_layout.offset[top] + 48], 0);
	}
	/* What no processor has: a header of all ones, and every bit of MXCSR. Nothing faults when it is loaded. */
	memset(image, 0xff, sizeof(image));
	fpu_set_image(&cpu, image, sizeof(image), cpu.xcr0);
	assert_int_equal(bytes_load64(in_use), fpu_layout.components);
	assert_int_equal(bytes_load32(cpu.fpu.area + FPU_IMAGE_MXCSR), fpu_layout.mxcsr_mask);
	bytes_store32(cpu.fpu.area + FPU_IMAGE_MXCSR, FPU_MXCSR_INITIAL);
	assert_int_equal(RUN(0x66, 0x0f, 0xef, 0xdb), -1); /* pxor %xmm3, %xmm3 */
	assert_int_equal(*area_xmm(3), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gates, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_simd_exception, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_x87_exception, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_broadcast_in_32bit, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_misaligned_on_amd, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_ldmxcsr_reserved, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_alignment, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_fault_suppression, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_store_pop_restart, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_x87_environment, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_xsave, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_xsave_guest_layout, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_kvm_structs, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_images, set_up_cpu, tear_down_cpu),
		cmocka_unit_test_setup_teardown(test_full, set_up_cpu, tear_down_cpu),
	};

	return cmocka_run_group_tests_name("x86_fpu", tests, set_up, NULL);
}
