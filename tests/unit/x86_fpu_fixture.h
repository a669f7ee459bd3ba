/*
 * What the FPU's unit tests share: a CPU whose memory and exceptions are played here, around the
 * real decoder, binder and handlers.
 *
 * Guest memory is a window of real pages between unmapped ones. Handed out directly, it also shows
 * any access past an operand; refused (lin_pointer says NULL), it exercises the bounce buffer. A
 * hole of guest addresses is not present, or a device: then it holds what a second mapping of the
 * window does, but has no host address.
 */
#ifndef KVIK_TESTS_UNIT_X86_FPU_FIXTURE_H
#define KVIK_TESTS_UNIT_X86_FPU_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/x86/decode/decode.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/instructions/fpu_execute.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"

#define WINDOW_SIZE 0x2000
#define OPERAND     0x800 /* where random memory operands are in the window */

static struct cpu cpu;
static jmp_buf unwind; /* where cpu_raise leads */
static struct tlb_set tlb_set;
static uint8_t *window;       /* guest linear address == host address, WINDOW_SIZE bytes */
static uint8_t *window_alias; /* the same memory, always accessible */
static bool refuse_pointers;  /* lin_pointer says NULL */
static uint64_t hole_start, hole_end; /* guest addresses that are not present, or a device */
static bool hole_is_device;
static int raised;            /* vector, -1: none */

/* -- the parts of the CPU that this test plays -- */

_Noreturn void cpu_raise(struct cpu *c, enum exception vector)
{
	raised = (int)vector;
	(void)c;
	longjmp(unwind, 1);
}

_Noreturn void cpu_raise_error(struct cpu *c, enum exception vector, uint32_t error_code)
{
	(void)error_code;
	cpu_raise(c, vector);
}

static bool is_in_hole(uint64_t gva, unsigned size)
{
	return gva < hole_end && gva + size > hole_start;
}

static void check_access(struct cpu *c, uint64_t gva, unsigned size)
{
	if (gva < (uint64_t)(uintptr_t)window || gva + size > (uintptr_t)window + WINDOW_SIZE ||
	    (!hole_is_device && is_in_hole(gva, size)))
		cpu_raise(c, EXCEPTION_PF);
}

static void *alias_of(uint64_t gva)
{
	return window_alias + (gva - (uintptr_t)window);
}

void *lin_pointer_slow(struct cpu *c, uint64_t gva, unsigned size, bool is_write,
		       enum cpu_segment segment)
{
	(void)is_write;
	(void)segment;
	assert_in_range(size, 1, 64);
	check_access(c, gva, size);
	if (refuse_pointers || is_in_hole(gva, size) || (gva ^ (gva + size - 1)) >> 12) {
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
	memcpy(buffer, alias_of(gva), size);
}

void lin_write_bytes(struct cpu *c, uint64_t gva, const void *buffer, unsigned size,
		     enum cpu_segment segment)
{
	(void)segment;
	check_access(c, gva, size);
	fpu_leave(c);
	memcpy(alias_of(gva), buffer, size);
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

const struct isa_row *isa_find_form(uint16_t mnemonic, enum isa_form form)
{
	(void)form;
	return isa_find(mnemonic);
}

insn_handler *isa_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	if (isa_is_thunk(row))
		return fpu_bind(insn, decoded, row);
	insn->ends_block = row->ends_block;
	return row->bind ? row->bind(insn, decoded, row) : row->execute;
}

/* -- running one instruction -- */

#define MODE_64 (CPU_MODE_CODE64 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_STACK32)
#define MODE_32 (CPU_MODE_CODE32 | CPU_MODE_PROTECTED | CPU_MODE_STACK32)

static void execute(const struct insn *insn)
{
	raised = -1;
	cpu.next_rip = cpu.rip + insn->length;
	cpu.insn = insn;
	if (setjmp(unwind) == 0)
		insn->execute(&cpu, insn);
	fpu_leave(&cpu);
}

/* Decode and execute; the exception raised, or -1. */
static inline int run_bytes(const uint8_t *bytes, size_t size)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, bytes, size, cpu.mode, &insn_host_rules), 0);
	assert_int_equal(insn.length, size);
	execute(&insn);
	return raised;
}

#define RUN(...)                                                                                   \
	run_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static inline int set_up(void **state)
{
	(void)state;
	uint8_t *area = mmap(NULL, WINDOW_SIZE + 0x2000, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	int fd = memfd_create("window", MFD_CLOEXEC);

	assert_ptr_not_equal(area, MAP_FAILED);
	assert_int_equal(ftruncate(fd, WINDOW_SIZE), 0);
	window =
	    mmap(area + 0x1000, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	assert_ptr_equal(window, area + 0x1000);
	window_alias = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(window_alias, MAP_FAILED);
	close(fd);
	return 0;
}

static inline int set_up_cpu(void **state)
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
	cpu.is_amd = host.is_amd;
	assert_int_equal(fpu_create(&cpu), 0);
	cpu.xcr0 = fpu_layout.components;
	hole_start = hole_end = 0;
	hole_is_device = false;
	refuse_pointers = false;
	memset(window, 0, WINDOW_SIZE);
	cpu.gpr[CPU_RBX] = (uintptr_t)window + OPERAND;
	return 0;
}

static inline int tear_down_cpu(void **state)
{
	(void)state;
	fpu_destroy(&cpu);
	return 0;
}

#endif
