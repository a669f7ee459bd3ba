/*
 * A CPU with flat memory for unit tests of src/engine/x86 and src/engine/run.
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

#include "engine/x86/cpu.h"
#include "engine/x86/exception.h"
#include "engine/run/runner.h"
#include "engine/run/tier/catch.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"

#define X86_TEST_MEMORY (16u << 20)
#define X86_TEST_CODE   0x10000u
#define X86_TEST_STACK  0x80000u
#define X86_TEST_TABLES 0x100000u
#define X86_TEST_DATA   0x200000u

struct x86_test {
	union {
		struct cpu cpu; /* its first part */
		struct runner runner;
	};
	struct run_vm vm;
	uint8_t *memory; /* owned */
	struct cpu_observer observer; /* the runner's, but for code_written */
	unsigned code_writes;         /* calls of that */
};

static bool x86_test_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	struct x86_test *test = context;

	if (gpa >= X86_TEST_MEMORY)
		return false;
	*page = (struct cpu_page){.hva = test->memory + (gpa & ~0xfffull), .writable = true};
	return true;
}

static void x86_test_code_written(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	((struct x86_test *)cpu)->code_writes++;
	code_changed(cpu->tiers->code, gpa, size);
}

static const struct cpu_platform x86_test_platform = {
	.page_lookup = x86_test_page,
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

/* Any CPU of that memory. bits: 16 (real mode, CS.base = X86_TEST_CODE), 32 (flat, no paging) or 64. Registers are zero. */
static inline void x86_test_set_mode(struct cpu *cpu, uint8_t *memory, unsigned bits)
{
	uint64_t *tables = (uint64_t *)(memory + X86_TEST_TABLES);

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
	cpu->code_epoch++;
}

/* The test's CPU, as x86_test_set_mode; and nothing is left of code. */
static inline void x86_test_reset(struct x86_test *test, unsigned bits)
{
	x86_test_set_mode(&test->cpu, test->memory, bits);
	code_gone(&test->vm.code, 0, UINT64_MAX);
}

/* With the translator, in which case `options` are for that. */
static inline int x86_test_create_with(struct x86_test *test, unsigned bits, enum run_choice choice,
				       const struct jit_options *options)
{
	int result;

	memset(test, 0, sizeof(*test));
	test->memory = mmap(NULL, X86_TEST_MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (test->memory == MAP_FAILED)
		return -1;
	run_vm_init(&test->vm, options);
	result = runner_create(&test->runner, &test->vm, choice, 0, NULL, &x86_test_platform, test);
	if (result < 0) {
		run_vm_destroy(&test->vm);
		munmap(test->memory, X86_TEST_MEMORY);
		return result;
	}
	test->observer = *test->cpu.observer;
	test->observer.code_written = x86_test_code_written;
	test->cpu.observer = &test->observer;
	x86_test_reset(test, bits);
	return 0;
}

/* In 64-bit mode, all code translated when it first runs if `choice` has the translator: lean, or with a
 * `promotion` of 0 in full. */
static inline int x86_test_create_eager(struct x86_test *test, enum run_choice choice,
					unsigned promotion)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;

	options.warmth = 0;
	options.promotion = promotion;
	return x86_test_create_with(test, 64, choice, &options);
}

static inline int x86_test_create(struct x86_test *test, unsigned bits)
{
	return x86_test_create_with(test, bits, RUN_INTERPRETED, &JIT_OPTIONS_DEFAULT);
}

static inline void x86_test_destroy(struct x86_test *test)
{
	runner_destroy(&test->runner);
	run_vm_destroy(&test->vm);
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
			tiers_run(cpu);
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
