/*
 * Which loops have their lookups hoisted, and to where their operands go: runs of instructions that
 * jump back to the first, given as bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/run/jit/plan/loop.h"
#include "jit_items.h"

#define START 0x100 /* the first instruction's offset in its page */

static struct jit_item items[JIT_BLOCK_INSNS];
static struct loop loop;

static bool find(const char *code, unsigned size)
{
	return loop_find(&loop, items, items_decode(items, code, size, START), START);
}
#define FIND(code) find(code, sizeof(code) - 1)

static void assert_place(unsigned item, unsigned key, int index, unsigned shift, int displacement)
{
	const struct host_memory *place = &loop.places[item];

	assert_int_equal(place->base, loop.keys[key].host);
	assert_int_equal(place->index, index);
	if (place->index != HOST_NONE)
		assert_int_equal(place->shift, shift);
	assert_int_equal(place->displacement, displacement);
}

static void test_pointers(void **state)
{
	(void)state;
	/* movaps xmm0, [rdx]; addps xmm0, [rax]; add rax, 16; add rdx, 16; movaps [rax - 16], xmm0;
	 * cmp rcx, rax; jne */
	assert_true(FIND("\x0f\x28\x02\x0f\x58\x00\x48\x83\xc0\x10\x48\x83\xc2\x10"
			 "\x0f\x29\x40\xf0\x48\x39\xc1\x75\xe9"));
	assert_int_equal(loop.end, 7);
	assert_int_equal(loop.key_count, 2);
	assert_int_equal(loop.keys[0].stride, 16);
	assert_false(loop.keys[0].range.is_write);
	assert_true(loop.keys[1].range.is_write);
	assert_int_equal(loop.keys[1].range.low, 0);
	assert_int_equal(loop.keys[1].range.high, 16);
	assert_place(0, 0, HOST_RDX, 0, 0);
	assert_place(1, 1, HOST_RAX, 0, 0);
	assert_place(4, 1, HOST_RAX, 0, -16);
	/* Borrowed registers are none of the loop's. */
	assert_int_equal(loop.borrowed & (1 << CPU_RAX | 1 << CPU_RDX | 1 << CPU_RCX), 0);
	/* One has R14 instead. */
	assert_int_equal(__builtin_popcount(loop.borrowed), 2);
	assert_true(loop.keys[0].host == HOST_R14 || loop.keys[1].host == HOST_R14);
}

static void test_index(void **state)
{
	(void)state;
	/* mov eax, [rdi + rcx*4 + 8]; add edx, eax; sub rcx, 1; jne: downwards */
	assert_true(FIND("\x8b\x44\x8f\x08\x01\xc2\x48\x83\xe9\x01\x75\xf4"));
	assert_int_equal(loop.keys[0].stride, -4);
	assert_place(0, 0, HOST_RCX, 2, 0);
	/* add rcx, 3; mov eax, [rdi + rcx*4]; cmp rcx, rdx; jne: the operand is relative to RCX now */
	assert_true(FIND("\x48\x83\xc1\x03\x8b\x04\x8f\x48\x39\xd1\x75\xf4"));
	assert_int_equal(loop.keys[0].stride, 12);
	assert_int_equal(loop.keys[0].range.low, 12);
	assert_place(1, 0, HOST_RCX, 2, -12);
	/* mov eax, [rdi + 8]; sub rcx, rax; jne: nothing moves */
	assert_true(FIND("\x8b\x47\x08\x48\x29\xc1\x75\xf8"));
	assert_int_equal(loop.keys[0].stride, 0);
	assert_place(0, 0, HOST_NONE, 0, 0);
	/* mov eax, [rip + 16]; sub rcx, rax; jne */
	assert_true(FIND("\x8b\x05\x10\x00\x00\x00\x48\x29\xc1\x75\xf5"));
	/* mov eax, [rdi + rcx]; inc rdi; inc rcx; sub rdx, 1; jne: both move */
	assert_false(FIND("\x8b\x04\x0f\x48\xff\xc7\x48\xff\xc1\x48\x83\xea\x01\x75\xf1"));
	/* mov rax, [rax]; test rax, rax; jne: nobody knows where to */
	assert_false(FIND("\x48\x8b\x00\x48\x85\xc0\x75\xf8"));
	/* mov rax, [rdi]; add rdi, 4096; sub rcx, 1; jne: another page each time */
	assert_false(FIND("\x48\x8b\x07\x48\x81\xc7\x00\x10\x00\x00\x48\x83\xe9\x01\x75\xf0"));
}

static void test_regions(void **state)
{
	(void)state;
	/* mov rax, [rsi]; add rsi, 8; mov rdx, [rax]; mov rcx, [rdi]; mov [rax + 8], rcx;
	 * dec rbx; jne: what is hoisted does not divide the region */
	assert_true(FIND("\x48\x8b\x06\x48\x83\xc6\x08\x48\x8b\x10\x48\x8b\x0f\x48\x89\x48\x08"
			 "\x48\xff\xcb\x75\xea"));
	assert_int_equal(loop.region_count, 1);
	assert_int_equal(loop.regions[0].start, 2);
	assert_int_equal(loop.regions[0].end, 5);
	assert_true(loop.regions[0].range.is_write);
	assert_int_equal(loop.places[2].base, HOST_R13);
	assert_int_equal(loop.places[4].base, HOST_R13);
	assert_int_equal(loop.places[4].displacement, 8);
	assert_int_equal(loop.places[3].base, loop.keys[1].host);
	for (unsigned i = 0; i < loop.key_count; i++)
		assert_int_not_equal(loop.keys[i].host, HOST_R13);
}

static void test_alignment(void **state)
{
	(void)state;
	/* movaps xmm0, [rdi]; add rdi, 8; sub rcx, 1; jne: aligned every other time */
	assert_false(FIND("\x0f\x28\x07\x48\x83\xc7\x08\x48\x83\xe9\x01\x75\xf3"));
	/* movups instead */
	assert_true(FIND("\x0f\x10\x07\x48\x83\xc7\x08\x48\x83\xe9\x01\x75\xf3"));
}

static void test_flags(void **state)
{
	(void)state;
	/* adc rax, [rdi]; lea rdi, [rdi + 8]; dec rcx; jne: CF comes from the iteration before */
	assert_false(FIND("\x48\x13\x07\x48\x8d\x7f\x08\x48\xff\xc9\x75\xf4"));
	/* mov rdx, [rdi]; add rdi, 8; cmp rdx, rsi; mov rbx, [rdx]; jne: a lookup among live flags,
	 * which goes up to where they are dead */
	assert_true(FIND("\x48\x8b\x17\x48\x83\xc7\x08\x48\x39\xf2\x48\x8b\x1a\x75\xf1"));
	assert_int_equal(loop.region_count, 1);
	assert_int_equal(loop.regions[0].start, 2);
	assert_int_equal(loop.regions[0].end, 4);
	/* cmp rdi, rsi; mov rdx, [rdi]; mov rbx, [rdx]; mov rcx, [rdx + 8]; lea rdi, [rdi + 8]; jne:
	 * they can't */
	assert_false(FIND("\x48\x39\xf7\x48\x8b\x17\x48\x8b\x1a\x48\x8b\x4a\x08\x48\x8d\x7f\x08"
			  "\x75\xed"));
	/* without the last of them */
	assert_false(FIND("\x48\x39\xf7\x48\x8b\x17\x48\x8b\x1a\x48\x8d\x7f\x08\x75\xf1"));
}

static void test_registers(void **state)
{
	(void)state;
	/* mov [r15 + r14], al; add r14, 1; cmp r14, r13; jne: they get host registers */
	assert_true(FIND("\x43\x88\x04\x37\x49\x83\xc6\x01\x4d\x39\xee\x75\xf3"));
	assert_int_equal(loop.homes, 1 << CPU_R13 | 1 << CPU_R14 | 1 << CPU_R15);
	assert_int_equal(loop.written & loop.homes, 1 << CPU_R14);
	assert_place(0, 0, loop.map[CPU_R14], 0, 0);
	/* push rax; sub rcx, 1; jne */
	assert_false(FIND("\x50\x48\x83\xe9\x01\x75\xf9"));
	/* cpuid; jmp */
	assert_false(FIND("\x0f\xa2\xeb\xfc"));
	/* mov [rdi], rax; add rbx, rcx; add rdx, rsi; add rbp, r8; add r9, r10; add r11, r12;
	 * sub rcx, 1; jne: only RSP is left for the counter */
	assert_true(FIND("\x48\x89\x07\x48\x01\xcb\x48\x01\xf2\x4c\x01\xc5\x4d\x01\xd1"
			 "\x4d\x01\xe3\x48\x83\xe9\x01\x75\xe8"));
	assert_int_equal(loop.borrowed, 1 << CPU_RSP);
	assert_true(loop.keys[0].host == HOST_R13 || loop.keys[0].host == HOST_R14);
	/* add [rdi], rax needs a register for the sum */
	assert_false(FIND("\x48\x01\x07\x48\x01\xcb\x48\x01\xf2\x4c\x01\xc5\x4d\x01\xd1"
			  "\x4d\x01\xe3\x48\x83\xe9\x01\x75\xe8"));
	/* add rax, 1; jmp: no access, but a poll */
	assert_true(FIND("\x48\x83\xc0\x01\xeb\xfa"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pointers), cmocka_unit_test(test_index),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_alignment), cmocka_unit_test(test_flags),
		cmocka_unit_test(test_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
