/*
 * Which accesses of a block share a check: runs of instructions, given as bytes, and the regions that
 * are expected of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/run/jit/plan/region.h"
#include "jit_items.h"

#include "engine/x86/host/host.h"

static struct jit_item items[JIT_BLOCK_INSNS];
static struct region regions[REGIONS_MAX];
static struct host_memory places[JIT_BLOCK_INSNS];
static unsigned count, found;

static void find(const char *code, unsigned size)
{
	count = items_decode(items, code, size, 0);
	for (unsigned i = 0; i < count; i++)
		places[i].base = HOST_NONE;
	found = regions_find(items, 0, count, regions, REGIONS_MAX, places);
}
#define FIND(code) find(code, sizeof(code) - 1)

static void assert_region(unsigned number, unsigned start, unsigned end, int low, int high,
			  bool is_write)
{
	assert_true(number < found);
	assert_int_equal(regions[number].start, start);
	assert_int_equal(regions[number].end, end);
	assert_int_equal(regions[number].range.low, low);
	assert_int_equal(regions[number].range.high, high);
	assert_int_equal(regions[number].range.is_write, is_write);
}

static void test_same_base(void **state)
{
	(void)state;
	/* mov rax, [rdi]; mov rcx, [rdi + 8]; mov [rdi - 4], eax; mov rdx, [rsi] */
	FIND("\x48\x8b\x07\x48\x8b\x4f\x08\x89\x47\xfc\x48\x8b\x16");
	assert_int_equal(found, 1);
	assert_region(0, 0, 3, -4, 16, true);
	assert_int_equal(regions[0].base, CPU_RDI);
	assert_int_equal(regions[0].displacement, -4);
	assert_int_equal(places[0].base, HOST_R13);
	assert_int_equal(places[0].displacement, 4);
	assert_int_equal(places[1].displacement, 12);
	assert_int_equal(places[2].displacement, 0);
	assert_int_equal(places[3].base, HOST_NONE);
}

static void test_moving_base(void **state)
{
	(void)state;
	/* mov rax, [rdi]; add rdi, 8; lea rdx, [rdi - 32]; inc rdx; mov rcx, [rdx] */
	FIND("\x48\x8b\x07\x48\x83\xc7\x08\x48\x8d\x57\xe0\x48\xff\xc2\x48\x8b\x0a");
	assert_int_equal(found, 1);
	assert_region(0, 0, 5, -23, 8, false);
	/* mov rax, [rdi]; mov rdi, rax; mov rcx, [rdi] */
	FIND("\x48\x8b\x07\x48\x89\xc7\x48\x8b\x0f");
	assert_int_equal(found, 0);
	/* mov rax, [rdi]; add edi, 8; mov rcx, [rdi] */
	FIND("\x48\x8b\x07\x83\xc7\x08\x48\x8b\x0f");
	assert_int_equal(found, 0);
	/* mov rdi, [rdi + 8]; mov rax, [rdi] */
	FIND("\x48\x8b\x7f\x08\x48\x8b\x07");
	assert_int_equal(found, 0);
	/* mov rbx, rdi; mov rdi, [rdi + 8]; mov rax, [rbx] */
	FIND("\x48\x89\xfb\x48\x8b\x7f\x08\x48\x8b\x03");
	assert_int_equal(found, 1);
	assert_region(0, 1, 3, 0, 16, false);
}

static void test_stack(void **state)
{
	(void)state;
	/* push rbx; push r14; sub rsp, 24; mov [rsp + 8], rax; add rsp, 24; pop r14; pop rbx */
	FIND("\x53\x41\x56\x48\x83\xec\x18\x48\x89\x44\x24\x08\x48\x83\xc4\x18\x41\x5e\x5b");
	assert_int_equal(found, 1);
	assert_region(0, 0, 7, -32, 0, true);
	assert_int_equal(regions[0].base, CPU_RSP);
	assert_int_equal(places[0].displacement, 24);
	assert_int_equal(places[1].displacement, 16);
	assert_int_equal(places[3].displacement, 0);
	assert_int_equal(places[5].displacement, 16);
	assert_int_equal(places[6].displacement, 24);
	/* mov rbp, rsp; push rax; mov rcx, [rbp + 16]; leave */
	FIND("\x48\x89\xe5\x50\x48\x8b\x4d\x10\xc9");
	assert_int_equal(found, 1);
	assert_region(0, 1, 4, -8, 24, true);
	/* pop rax; pop rcx; an instruction of the interpreter's (cpuid); pop rdx; pop rbx */
	FIND("\x58\x59\x0f\xa2\x5a\x5b");
	assert_int_equal(found, 2);
	assert_region(0, 0, 2, 0, 16, false);
	assert_region(1, 3, 5, 0, 16, false);
}

static void test_index(void **state)
{
	(void)state;
	/* mov rax, [rdi + rcx*8]; add rcx, 2; mov rdx, [rdi + rcx*8 - 8] */
	FIND("\x48\x8b\x04\xcf\x48\x83\xc1\x02\x48\x8b\x54\xcf\xf8");
	assert_int_equal(found, 1);
	assert_region(0, 0, 3, 0, 16, false);
	assert_int_equal(regions[0].index, CPU_RCX);
	/* mov rax, [rdi + rcx]; mov rdx, [rcx + rdi + 8] */
	FIND("\x48\x8b\x04\x0f\x48\x8b\x54\x39\x08");
	assert_int_equal(found, 1);
	/* mov rax, [rdi + rcx*8]; mov rdx, [rdi + rcx*4] */
	FIND("\x48\x8b\x04\xcf\x48\x8b\x14\x8f");
	assert_int_equal(found, 0);
	/* mov rax, [rip + 16]; mov rcx, [rip + 16] */
	FIND("\x48\x8b\x05\x10\x00\x00\x00\x48\x8b\x0d\x10\x00\x00\x00");
	assert_int_equal(found, 1);
	assert_region(0, 0, 2, 23, 38, false);
	/* mov rax, gs:[8]; mov rcx, [8] */
	FIND("\x65\x48\x8b\x04\x25\x08\x00\x00\x00\x48\x8b\x0c\x25\x08\x00\x00\x00");
	assert_int_equal(found, 0);
}

static void test_limits(void **state)
{
	(void)state;
	/* mov rax, [rdi]; mov rcx, [rdi + 248]: 256 bytes; mov rdx, [rdi + 256] */
	FIND("\x48\x8b\x07\x48\x8b\x8f\xf8\x00\x00\x00\x48\x8b\x97\x00\x01\x00\x00");
	assert_int_equal(found, 1);
	assert_region(0, 0, 2, 0, 256, false);
	/* Both scratch registers: mov rax, [rdi]; mov r13, r14; mov rcx, [rdi] */
	FIND("\x48\x8b\x07\x4d\x89\xf5\x48\x8b\x0f");
	assert_int_equal(found, 0);
	/* mov rax, [rdi]; div rcx; mov rdx, [rdi] */
	FIND("\x48\x8b\x07\x48\xf7\xf1\x48\x8b\x17");
	assert_int_equal(found, 0);
}

static void test_alignment(void **state)
{
	(void)state;
	/* movzx eax, byte [rdi - 3]; movaps xmm0, [rdi]; movaps [rdi - 32], xmm0 */
	FIND("\x0f\xb6\x47\xfd\x0f\x28\x07\x0f\x29\x47\xe0");
	assert_int_equal(found, 1);
	assert_region(0, 0, 3, -32, 16, true);
	assert_int_equal(regions[0].range.alignment, 16);
	/* movzx eax, byte [rdi - 3]; movaps xmm0, [rdi] */
	FIND("\x0f\xb6\x47\xfd\x0f\x28\x07");
	assert_region(0, 0, 2, -16, 16, false);
	/* movaps xmm0, [rdi]; movaps xmm1, [rdi + 8]: one of them faults */
	FIND("\x0f\x28\x07\x0f\x28\x4f\x08");
	assert_int_equal(found, 0);
	if (!host_has(HOST_AVX))
		return;
	/* vmovaps ymm0, [rdi + 16]; movaps xmm1, [rdi + 32] */
	FIND("\xc5\xfc\x28\x47\x10\x0f\x28\x4f\x20");
	assert_region(0, 0, 2, 16, 48, false);
	assert_int_equal(regions[0].range.alignment, 32);
}

static void test_dead_flags(void **state)
{
	(void)state;
	/* lea rbx, [rax + 1]; cmp rax, rcx; mov [rdi], dl; je: one check, before the CMP */
	FIND("\x48\x8d\x58\x01\x48\x39\xc8\x88\x17\x74\x00");
	assert_int_equal(found, 1);
	assert_region(0, 1, 3, 0, 1, true);
	/* cmp rax, [rsi]; mov [rdi], dl; je: another access in between */
	FIND("\x48\x3b\x06\x88\x17\x74\x00");
	assert_int_equal(found, 0);
	/* cmp rax, rcx; lea rdi, [rbx + rcx]; mov [rdi], dl; je: too late for it */
	FIND("\x48\x39\xc8\x48\x8d\x3c\x0b\x88\x17\x74\x00");
	assert_int_equal(found, 0);
	/* cmp rax, rcx; movaps [rdi], xmm0; je; movaps [rdi + 16], xmm0 */
	FIND("\x48\x39\xc8\x0f\x29\x07\x74\x00\x0f\x29\x47\x10");
	assert_region(0, 0, 4, 0, 32, true);
}

static void test_loops(void **state)
{
	(void)state;
	/* add rcx, -1; jne forward; pop rbx; pop rbp; je: the check is before the ADD */
	FIND("\x48\x83\xc1\xff\x75\x02\x5b\x5d\x74\x00");
	assert_int_equal(found, 1);
	assert_region(0, 0, 4, 0, 16, false);
	/* the same, jne back to the ADD: it is not in the loop */
	FIND("\x48\x83\xc1\xff\x75\xfa\x5b\x5d\x74\x00");
	assert_int_equal(found, 1);
	assert_region(0, 2, 4, 0, 16, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_base),  cmocka_unit_test(test_moving_base),
		cmocka_unit_test(test_stack),      cmocka_unit_test(test_index),
		cmocka_unit_test(test_limits),     cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_dead_flags), cmocka_unit_test(test_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
