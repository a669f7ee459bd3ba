/*
 * A CPU with flat memory for unit tests of src/engine/x86.
 *
 * 16 MiB of RAM at guest-physical 0, nothing else; no devices, no interrupts. In 64-bit mode all of
 * it is mapped at its own address (2 MiB pages). Code goes to X86_TEST_CODE, the stack grows down
 * from X86_TEST_STACK, X86_TEST_DATA on is free. A run ends with the first exception, so test code
 * ends with UD2.
 */
#ifndef KVIK_TESTS_UNIT_X86_PLATFORM_H
#define KVIK_TESTS_UNIT_X86_PLATFORM_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/run/interp/code.h"
#include "engine/x86/cpu.h"
#include "engine/x86/exception.h"
#include "engine/run/interp/exec.h"
#include "engine/run/tier/catch.h"
#include "engine/x86/system.h"

#define X86_TEST_MEMORY (16u << 20)
#define X86_TEST_CODE   0x10000u
#define X86_TEST_STACK  0x80000u
#define X86_TEST_TABLES 0x100000u
#define X86_TEST_DATA   0x200000u

struct x86_test {
	struct cpu cpu;
	uint8_t *memory; /* owned */
	_Atomic uint64_t code[X86_TEST_MEMORY >> 12];
	unsigned code_writes; /* calls of code_written */
};

static bool x86_test_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	struct x86_test *test = context;

	if (gpa >= X86_TEST_MEMORY)
		return false;
	*page = (struct cpu_page){.hva = test->memory + (gpa & ~0xfffull), .writable = true};
	return true;
}

static _Atomic uint64_t *x86_test_code_bitmap(void *context, uint64_t gpa)
{
	struct x86_test *test = context;

	return gpa < X86_TEST_MEMORY ? &test->code[gpa >> 12] : NULL;
}

static void x86_test_code_written(void *context, uint64_t gpa, unsigned size)
{
	struct x86_test *test = context;

	test->code_writes++;
	code_invalidate(&test->cpu, gpa, size);
	for (uint64_t at = gpa & ~63ull; at < gpa + size; at += 64)
		test->code[at >> 12] &= ~(1ull << (at >> 6 & 63));
}

static void x86_test_code_protect(void *context, uint64_t gpa)
{
	struct x86_test *test = context;

	code_page_protected(&test->cpu, gpa);
}

static const struct cpu_platform x86_test_platform = {
	.page_lookup = x86_test_page,
	.code_bitmap = x86_test_code_bitmap,
	.code_written = x86_test_code_written,
	.code_protect = x86_test_code_protect,
};

static inline struct kvm_segment x86_test_segment(unsigned bits, bool is_code)
{
	struct kvm_segment segment = {
		.limit = bits == 16 ? 0xffff : 0xffffffff, .type = is_code ? 11 : 3, .present = 1,
		.s = 1, .g = bits != 16, .db = bits == 32, .l = is_code && bits == 64,
		.selector = is_code ? 8 : 16,
	};

	if (bits == 64 && !is_code)
		segment.db = 1;
	return segment;
}

/* bits: 16 (real mode, CS.base = X86_TEST_CODE), 32 (flat, no paging) or 64. Registers are zero. */
static inline void x86_test_reset(struct x86_test *test, unsigned bits)
{
	struct cpu *cpu = &test->cpu;
	uint64_t *tables = (uint64_t *)(test->memory + X86_TEST_TABLES);

	cpu_reset(cpu, false);
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i] = x86_test_segment(bits, i == CPU_CS);
	cpu->rip = X86_TEST_CODE;
	cpu->gpr[CPU_RSP] = X86_TEST_STACK;
	cpu->rflags = RFLAGS_ONE;
	if (bits == 16) {
		for (unsigned i = 0; i < CPU_SEGMENTS; i++)
			cpu->segment[i].selector = 0;
		cpu->segment[CPU_CS].base = X86_TEST_CODE;
		cpu->segment[CPU_CS].selector = X86_TEST_CODE >> 4;
		cpu->rip = 0;
		cpu->gpr[CPU_RSP] = 0x8000;
	} else {
		cpu->cr0 |= CR0_PE;
	}
	if (bits == 64) {
		memset(tables, 0, 3 * 4096);
		tables[0] = (X86_TEST_TABLES + 4096) | 7;
		tables[512] = (X86_TEST_TABLES + 8192) | 7;
		for (uint64_t i = 0; i < 512; i++)
			tables[1024 + i] = i << 21 | 0xe7;
		cpu->cr4 |= CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
		cpu->cr0 |= CR0_PG;
		cpu->efer |= EFER_LME | EFER_LMA;
		cpu->cr3 = X86_TEST_TABLES;
	}
	cpu_update_mode(cpu);
	tlb_flush_all(cpu);
	code_invalidate_all(cpu);
	cpu->code_epoch++;
}

static inline int x86_test_create(struct x86_test *test, unsigned bits)
{
	memset(test, 0, sizeof(*test));
	test->memory = mmap(NULL, X86_TEST_MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (test->memory == MAP_FAILED)
		return -1;
	if (cpu_create(&test->cpu, 0, NULL, &x86_test_platform, test)) {
		munmap(test->memory, X86_TEST_MEMORY);
		return -1;
	}
	x86_test_reset(test, bits);
	return 0;
}

static inline void x86_test_destroy(struct x86_test *test)
{
	cpu_destroy(&test->cpu);
	munmap(test->memory, X86_TEST_MEMORY);
}

/* Run from cpu->rip to the first exception: its vector, or -1 when a request ended the run. */
static inline int x86_test_run(struct x86_test *test)
{
	struct cpu *cpu = &test->cpu;
	struct catch catch;

	cpu->exception.pending = false;
	catch_begin(&catch, cpu);
	if (!setjmp(catch.place)) {
		for (;;) {
			cpu->requests &= ~(uint32_t)CPU_REQUEST_STOP_BLOCK;
			if (cpu->requests)
				break;
			exec_blocks(cpu);
		}
	}
	catch_end(&catch, cpu);
	fpu_leave(cpu);
	return cpu->exception.pending ? cpu->exception.vector : -1;
}

/* Put code at X86_TEST_CODE and run it there. */
static inline int x86_test_run_code(struct x86_test *test, const void *code, size_t size)
{
	memcpy(test->memory + X86_TEST_CODE, code, size);
	test->cpu.code_epoch++;
	return x86_test_run(test);
}

#endif
