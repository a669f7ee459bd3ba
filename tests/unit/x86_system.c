/*
 * The CPU's system level: delivery of events and what goes wrong on the way, gates, privileges, system
 * calls, interrupt shadows, breakpoints, MSRs, CPUID.
 *
 * Programs are assembled with this file and run by cpu_run until they halt. In protected mode
 * their descriptor tables are at GDT and IDT; handlers are offsets in the program.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "engine/x86/system/control.h"
#include "engine/x86/system/cpuid.h"
#include "engine/x86/features.h"
#include "engine/x86/system/msr.h"
#include "x86_platform.h"

/* A program as bytes: name[] .. name_end[]. */
#define PROGRAM(name, mode, text)                                                                  \
	__asm__(".pushsection .rodata\n" mode "\n" #name ":\n" text "\n" #name "_end:\n"           \
		".code64\n.popsection\n");                                                         \
	extern const uint8_t name[], name##_end[]

#define LOAD(name) load(name, (size_t)(name##_end - name))

#define GDT X86_TEST_DATA
#define IDT (X86_TEST_DATA + 0x1000)
#define TSS (X86_TEST_DATA + 0x2000)

/* Selectors of the GDT that setup makes. */
enum {
	CODE = 0x08, DATA = 0x10, USER_CODE = 0x18, USER_DATA = 0x20, TSS_SELECTOR = 0x28,
	CONFORMING = 0x38, ABSENT = 0x40, GATE = 0x48, OTHER_CODE = 0x58,
};

#define RING0_STACK 0x70000u
#define USER_STACK  0x60000u

static struct x86_test test;
static uint8_t run_pages[3 * 4096] __attribute__((aligned(4096)));
static struct cpu_platform platform;
static int waiting_vector = -1;

static bool interrupt_pending(void *context)
{
	(void)context;
	return waiting_vector >= 0;
}

static int interrupt_acknowledge(void *context)
{
	int vector = waiting_vector;

	(void)context;
	waiting_vector = -1;
	return vector;
}

static uint64_t *table(uint32_t address)
{
	return (uint64_t *)(test.memory + address);
}

static uint32_t memory_32(uint32_t address)
{
	return *(uint32_t *)(test.memory + address);
}

static uint64_t memory_64(uint64_t address)
{
	return *(uint64_t *)(test.memory + address);
}

static void load(const void *code, size_t size)
{
	memcpy(test.memory + X86_TEST_CODE, code, size);
}

static void set_gate(unsigned vector, uint32_t offset, uint16_t selector, uint8_t type)
{
	unsigned entry = cpu_is_long(&test.cpu) ? vector * 2 : vector;

	offset += X86_TEST_CODE;
	table(IDT)[entry] = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40 |
			    (uint64_t)(offset >> 16) << 48;
	if (cpu_is_long(&test.cpu))
		table(IDT)[entry + 1] = 0;
}

static int setup(unsigned bits)
{
	struct cpu *cpu = &test.cpu;
	uint64_t wide = bits == 64 ? 0x00af000000000000 : 0x00cf000000000000;

	if (x86_test_create(&test, bits))
		return -1;
	platform = x86_test_platform;
	platform.interrupt_pending = interrupt_pending;
	platform.interrupt_acknowledge = interrupt_acknowledge;
	waiting_vector = -1;
	memset(run_pages, 0, sizeof(run_pages));
	cpu->platform = &platform;
	cpu->run = (struct kvm_run *)run_pages;

	table(GDT)[CODE / 8] = 0x00009a000000ffff | wide;
	table(GDT)[DATA / 8] = 0x00cf92000000ffff;
	table(GDT)[USER_CODE / 8] = 0x0000fa000000ffff | wide;
	table(GDT)[USER_DATA / 8] = 0x00cff2000000ffff;
	table(GDT)[TSS_SELECTOR / 8] = 0x00008b0000000067 | (uint64_t)(TSS & 0xffffff) << 16;
	table(GDT)[CONFORMING / 8] = 0x00009e000000ffff | wide;
	table(GDT)[ABSENT / 8] = 0x00cf12000000ffff;
	table(GDT)[OTHER_CODE / 8] = 0x00cffa000000ffff; /* 32-bit code for ring 3 */
	cpu->gdt = (struct kvm_dtable){.base = GDT, .limit = 0x5f};
	cpu->idt = (struct kvm_dtable){.base = IDT, .limit = 0xfff};
	if (bits != 16) {
		cpu->tr = (struct kvm_segment){
			.base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .type = 11,
			.present = 1,
		};
		*(uint32_t *)(test.memory + TSS + 4) = RING0_STACK;
		*(uint32_t *)(test.memory + TSS + 8) = bits == 64 ? 0 : DATA;
		*(uint16_t *)(test.memory + TSS + 102) = 0x68;
	} else {
		cpu->idt = (struct kvm_dtable){.base = 0, .limit = 0x3ff};
	}
	return 0;
}

static int setup_16(void **state)
{
	(void)state;
	return setup(16);
}

static int setup_32(void **state)
{
	(void)state;
	return setup(32);
}

static int setup_64(void **state)
{
	(void)state;
	return setup(64);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

static void enter_user(void)
{
	struct cpu *cpu = &test.cpu;

	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i].dpl = 3;
	cpu->segment[CPU_CS].selector = USER_CODE | 3;
	cpu->segment[CPU_SS].selector = USER_DATA | 3;
	cpu->segment[CPU_DS].selector = USER_DATA | 3;
	cpu->gpr[CPU_RSP] = USER_STACK;
	cpu_update_mode(cpu);
}

/* Where the program halted, as an offset behind its HLT. */
static uint64_t run_to_halt(void)
{
	assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_HALTED);
	test.cpu.halted = false;
	return test.cpu.rip - (test.cpu.segment[CPU_CS].base ? 0 : X86_TEST_CODE);
}

/* -- exceptions on the way to the handler -- */

PROGRAM(two_halts, ".code32", "mov %ax, %ds\n hlt\n hlt");
#define HANDLER_AT 4 /* behind the second HLT of two_halts */

static void test_fault_frame(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = 0x7f8; /* beyond the GDT */
	set_gate(EXCEPTION_GP, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(test.cpu.gpr[CPU_RSP], X86_TEST_STACK - 16);
	assert_int_equal(memory_32(X86_TEST_STACK - 16), 0x7f8);
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE);
	assert_int_equal(memory_32(X86_TEST_STACK - 8), CODE);
	assert_int_equal(memory_32(X86_TEST_STACK - 4), RFLAGS_ONE | RFLAGS_RF);
}

static void test_absent_segment(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = ABSENT;
	set_gate(EXCEPTION_NP, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(memory_32(X86_TEST_STACK - 16), ABSENT);
}

static void test_double_fault(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = 0x7f8;
	set_gate(EXCEPTION_GP, 3, CODE, 0x0e); /* not present: #NP while delivering #GP */
	set_gate(EXCEPTION_NP, 0, CODE, 0x8e);
	set_gate(EXCEPTION_DF, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(memory_32(X86_TEST_STACK - 16), 0);
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE);
	assert_int_equal(memory_32(X86_TEST_STACK - 4), RFLAGS_ONE);
}

/* #NP in the delivery of an external interrupt is served by itself, with EXT in its error code. */
static void test_benign_then_contributory(void **state)
{
	(void)state;
	LOAD(two_halts);
	set_gate(0x40, 0, CODE, 0x0e);
	set_gate(EXCEPTION_NP, 3, CODE, 0x8e);
	test.cpu.interrupt = (struct cpu_event){.pending = true, .vector = 0x40};
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(memory_32(X86_TEST_STACK - 16), 0x40 * 8 + 2 + 1);
	assert_false(test.cpu.interrupt.pending);
}

static void test_triple_fault(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = 0x7f8;
	test.cpu.idt.limit = 0;
	assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_USER);
	assert_int_equal(test.cpu.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

/* -- privilege -- */

PROGRAM(user_int, ".code32", "int $0x80\n hlt\n hlt");

static void test_inner_interrupt(void **state)
{
	(void)state;
	LOAD(user_int);
	enter_user();
	set_gate(0x80, 3, CODE, 0xef);
	assert_int_equal(run_to_halt(), 4);
	assert_int_equal(test.cpu.cpl, 0);
	assert_int_equal(test.cpu.gpr[CPU_RSP], RING0_STACK - 20);
	assert_int_equal(memory_32(RING0_STACK - 4), USER_DATA | 3);
	assert_int_equal(memory_32(RING0_STACK - 8), USER_STACK);
	assert_int_equal(memory_32(RING0_STACK - 16), USER_CODE | 3);
	assert_int_equal(memory_32(RING0_STACK - 20), X86_TEST_CODE + 2);
}

static void test_gate_privilege(void **state)
{
	(void)state;
	LOAD(user_int);
	enter_user();
	set_gate(0x80, 0, CODE, 0x8f);
	set_gate(EXCEPTION_GP, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 4);
	assert_int_equal(memory_32(RING0_STACK - 24), 0x80 * 8 + 2);
	assert_int_equal(memory_32(RING0_STACK - 20), X86_TEST_CODE);
}

PROGRAM(gate_call, ".code32", "push $0x1111\n push $0x2222\n lcall $0x4b, $0\n 1: jmp 1b\n hlt");

static void test_call_gate(void **state)
{
	uint32_t target = X86_TEST_CODE + (uint32_t)(gate_call_end - gate_call) - 1;

	(void)state;
	LOAD(gate_call);
	enter_user();
	table(GDT)[GATE / 8] = (target & 0xffff) | CODE << 16 | 2ull << 32 | 0xecull << 40 |
			       (uint64_t)(target >> 16) << 48;
	run_to_halt();
	assert_int_equal(test.cpu.cpl, 0);
	assert_int_equal(test.cpu.gpr[CPU_RSP], RING0_STACK - 24);
	assert_int_equal(memory_32(RING0_STACK - 8), USER_STACK - 8);
	assert_int_equal(memory_32(RING0_STACK - 12), 0x1111);
	assert_int_equal(memory_32(RING0_STACK - 16), 0x2222);
	assert_int_equal(memory_32(RING0_STACK - 20), USER_CODE | 3);
}

/* Ring 3 through a conforming segment: the privilege stays. HLT there is #GP. */
PROGRAM(conforming_jump, ".code32", "ljmp $0x38, $0x10007\n hlt\n hlt");

static void test_conforming(void **state)
{
	(void)state;
	LOAD(conforming_jump);
	enter_user();
	set_gate(EXCEPTION_GP, 8, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 9);
	assert_int_equal(memory_32(RING0_STACK - 16), CONFORMING | 3);
}

/* -- interrupts and shadows -- */

PROGRAM(sti_hlt, ".code32", "sti\n hlt\n hlt\n hlt");

static void test_sti_shadow(void **state)
{
	(void)state;
	LOAD(sti_hlt);
	set_gate(0x40, 3, CODE, 0x8e);
	waiting_vector = 0x40;
	/* HLT executes first; its handler's return address is behind it. */
	assert_int_equal(run_to_halt(), 4);
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE + 2);
	assert_int_equal(test.cpu.rflags & RFLAGS_IF, 0);
}

static void test_interrupt_window(void **state)
{
	(void)state;
	LOAD(sti_hlt);
	test.cpu.run->request_interrupt_window = 1;
	assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_USER);
	assert_int_equal(test.cpu.run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(test.cpu.run->ready_for_interrupt_injection, 1);
	assert_int_equal(test.cpu.run->if_flag, 1);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + 2);
}

PROGRAM(nmi_iret, ".code32", "nop\n hlt\n iret\n hlt");

static void test_nmi_blocking(void **state)
{
	(void)state;
	LOAD(nmi_iret);
	set_gate(EXCEPTION_NMI, 2, CODE, 0x8e);
	test.cpu.nmis_pending = 1;
	assert_int_equal(run_to_halt(), 2);
	assert_false(test.cpu.nmi_blocked);
	assert_int_equal(test.cpu.interrupts_delivered, 1);
	set_gate(EXCEPTION_NMI, 3, CODE, 0x8e);
	test.cpu.nmis_pending = 1;
	assert_int_equal(run_to_halt(), 4);
	assert_true(test.cpu.nmi_blocked);
}

/* -- debugging -- */

PROGRAM(stepped, ".code32", "mov %ax, %ss\n nop\n hlt\n hlt");

static void test_step_over_shadow(void **state)
{
	(void)state;
	LOAD(stepped);
	test.cpu.gpr[CPU_RAX] = DATA;
	test.cpu.rflags |= RFLAGS_TF;
	set_gate(EXCEPTION_DB, 4, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 5);
	/* The trap of MOV SS is lost, that of the instruction behind it comes. */
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE + 3);
	assert_int_equal(test.cpu.dr6, DR6_FIXED | DR6_BS);
	assert_int_equal(test.cpu.rflags & RFLAGS_TF, 0);
}

PROGRAM(watched, ".code32", "mov %eax, 0x210004\n nop\n hlt\n hlt");

static void test_data_breakpoint(void **state)
{
	(void)state;
	LOAD(watched);
	set_gate(EXCEPTION_DB, 7, CODE, 0x8e);
	test.cpu.dr[1] = 0x210006;
	test.cpu.dr7 = DR7_FIXED | 1 << 2 | 1 << 20 | 1 << 22; /* two bytes, writes */
	assert_int_equal(run_to_halt(), 8);
	assert_int_equal(test.cpu.dr6, DR6_FIXED | 2);
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE + 5);
}

static void test_instruction_breakpoint(void **state)
{
	(void)state;
	LOAD(watched);
	set_gate(EXCEPTION_DB, 7, CODE, 0x8e);
	test.cpu.dr[0] = X86_TEST_CODE + 5;
	test.cpu.dr7 = DR7_FIXED | 1;
	assert_int_equal(run_to_halt(), 8);
	assert_int_equal(test.cpu.dr6, DR6_FIXED | 1);
	assert_int_equal(memory_32(X86_TEST_STACK - 12), X86_TEST_CODE + 5);
	/* RF lets it pass once. */
	test.cpu.rip = X86_TEST_CODE + 5;
	test.cpu.rflags |= RFLAGS_RF;
	assert_int_equal(run_to_halt(), 7);
	assert_int_equal(test.cpu.rflags & RFLAGS_RF, 0);
}

/* -- real mode -- */

PROGRAM(real_int, ".code16", "int $0x21\n hlt\n iret");

static void test_real_interrupt(void **state)
{
	(void)state;
	LOAD(real_int);
	*(uint32_t *)(test.memory + 0x21 * 4) = X86_TEST_CODE >> 4 << 16 | 3;
	test.cpu.rflags |= RFLAGS_IF | RFLAGS_CF;
	assert_int_equal(run_to_halt(), 3);
	assert_int_equal(test.cpu.gpr[CPU_RSP], 0x8000);
	assert_int_equal(test.cpu.rflags, RFLAGS_ONE | RFLAGS_IF | RFLAGS_CF);
	assert_int_equal(*(uint16_t *)(test.memory + 0x7ffe), RFLAGS_ONE | RFLAGS_IF | RFLAGS_CF);
}

/* -- selectors -- */

PROGRAM(questions, ".code32",
	"lar %eax, %ecx\n setz %bl\n lsl %eax, %edx\n setz %bh\n verr %ax\n setz %ah\n hlt");

static void test_lar_lsl(void **state)
{
	(void)state;
	LOAD(questions);
	test.cpu.gpr[CPU_RAX] = CODE;
	run_to_halt();
	assert_int_equal(test.cpu.gpr[CPU_RCX], 0x00cf9a00);
	assert_int_equal(test.cpu.gpr[CPU_RDX], 0xffffffff);
	assert_int_equal(test.cpu.gpr[CPU_RBX], 0x0101);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 0x0100 | CODE);

	test.cpu.rip = X86_TEST_CODE;
	test.cpu.gpr[CPU_RAX] = 0x1000;
	test.cpu.gpr[CPU_RCX] = 7;
	run_to_halt();
	assert_int_equal(test.cpu.gpr[CPU_RCX], 7);
	assert_int_equal(test.cpu.gpr[CPU_RBX], 0);
}

/* -- 64-bit mode -- */

static void test_long_interrupt_aligns(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = 0x7f8;
	test.cpu.gpr[CPU_RSP] = X86_TEST_STACK - 3;
	set_gate(EXCEPTION_GP, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(test.cpu.gpr[CPU_RSP], X86_TEST_STACK - 0x10 - 48);
	assert_int_equal(memory_64(X86_TEST_STACK - 0x10 - 8), 0x10);
	assert_int_equal(memory_64(X86_TEST_STACK - 0x10 - 16), X86_TEST_STACK - 3);
	assert_int_equal(memory_64(X86_TEST_STACK - 0x10 - 48), 0x7f8);
}

static void test_ist(void **state)
{
	uint64_t stack = 0x50000;

	(void)state;
	LOAD(two_halts);
	test.cpu.gpr[CPU_RAX] = 0x7f8;
	memcpy(test.memory + TSS + 36 + 8, &stack, sizeof(stack));
	set_gate(EXCEPTION_GP, 3, CODE, 0x8e);
	table(IDT)[EXCEPTION_GP * 2] |= 2ull << 32;
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(test.cpu.gpr[CPU_RSP], 0x50000 - 48);
}

PROGRAM(return_user, ".code64", "sysretq\n hlt\n hlt");

static void test_sysret_canonical(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	LOAD(return_user);
	cpu->efer |= EFER_SCE;
	cpu->star = (uint64_t)(USER_CODE - 16) << 48;
	cpu->gpr[CPU_RCX] = 1ull << 47;
	cpu->gpr[CPU_R11] = 2;
	cpu->is_amd = false;
	set_gate(EXCEPTION_GP, 4, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 5);
	/* Intel: still in ring 0, at the SYSRET. */
	assert_int_equal(memory_64(X86_TEST_STACK - 40), X86_TEST_CODE);
	assert_int_equal(memory_64(X86_TEST_STACK - 32), CODE);

	/* AMD: at the target in ring 3. */
	cpu->is_amd = true;
	cpu->rip = X86_TEST_CODE;
	run_to_halt();
	assert_int_equal(memory_64(RING0_STACK - 40), 1ull << 47);
	assert_int_equal(memory_64(RING0_STACK - 32), USER_CODE | 3);
}

/*
 * SYSRET that sets RFLAGS.TF traps at once, in ring 3. A program that is stepped so sees SYSCALL as one
 * instruction where FMASK has TF.
 */
PROGRAM(return_stepping, ".code64", "sysretq\n nop\n nop\n hlt");

static void test_sysret_traps(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	LOAD(return_stepping);
	cpu->efer |= EFER_SCE;
	cpu->star = (uint64_t)(USER_CODE - 16) << 48;
	cpu->gpr[CPU_RCX] = X86_TEST_CODE + 3;
	cpu->gpr[CPU_R11] = RFLAGS_ONE | RFLAGS_TF;
	set_gate(EXCEPTION_DB, 5, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 6);
	assert_int_equal(memory_64(RING0_STACK - 40), X86_TEST_CODE + 3);
	assert_int_equal(memory_64(RING0_STACK - 32), USER_CODE | 3);
	assert_int_equal(memory_64(RING0_STACK - 24), RFLAGS_ONE | RFLAGS_TF);
	assert_true(cpu->dr6 & DR6_BS);
}

PROGRAM(step_syscall, ".code32", "syscall\n nop\n .byte 0x0f, 0x07\n hlt");

static void test_syscall_stepped_in_compatibility(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	LOAD(step_syscall);
	enter_user();
	cpu->segment[CPU_CS].selector = OTHER_CODE | 3;
	cpu->segment[CPU_CS].l = 0;
	cpu->segment[CPU_CS].db = 1;
	cpu->efer |= EFER_SCE;
	cpu->is_amd = true;
	cpu->star = (uint64_t)OTHER_CODE << 48 | (uint64_t)CODE << 32;
	cpu->cstar = X86_TEST_CODE + 3;
	cpu->fmask = RFLAGS_TF;
	cpu->rflags = RFLAGS_ONE | RFLAGS_TF;
	set_gate(EXCEPTION_DB, 5, CODE, 0x8e);
	assert_int_equal(run_to_halt(), 6);
	assert_int_equal(memory_64(RING0_STACK - 40), X86_TEST_CODE + 2);
	assert_int_equal(memory_64(RING0_STACK - 32), OTHER_CODE | 3);
	assert_int_equal(memory_64(RING0_STACK - 24), RFLAGS_ONE | RFLAGS_TF);
}

PROGRAM(to_compatibility, ".code64", "pushq $0x23\n pushq $0x60000\n pushq $2\n pushq $0x5b\n"
				     "pushq $0x12345678\n iretq\n hlt\n hlt");

static void test_iret_to_compatibility(void **state)
{
	uint32_t size = (uint32_t)(to_compatibility_end - to_compatibility);
	uint8_t *target;

	(void)state;
	LOAD(to_compatibility);
	/* What is pushed last is the address behind IRETQ. */
	target = test.memory + X86_TEST_CODE + size - 2 - 2 - 4;
	*(uint32_t *)target = X86_TEST_CODE + size - 2;
	set_gate(EXCEPTION_GP, size - 1, CODE, 0x8e); /* HLT in ring 3 */
	run_to_halt();
	assert_int_equal(memory_64(RING0_STACK - 32), OTHER_CODE | 3);
	assert_int_equal(memory_64(RING0_STACK - 40), X86_TEST_CODE + size - 2);
	assert_int_equal(memory_64(RING0_STACK - 16), 0x60000);
}

/* -- registers -- */

static void test_msr_rules(void **state)
{
	struct cpu *cpu = &test.cpu;
	uint64_t value;

	(void)state;
	assert_int_equal(cpu_msr_write(cpu, 0xc0000082, 1ull << 47, false), -EINVAL);
	assert_int_equal(cpu_msr_write(cpu, 0xc0000082, ~0ull << 47, false), 0);
	assert_int_equal(cpu_msr_read(cpu, 0xc0000082, &value, false), 0);
	assert_int_equal(value, ~0ull << 47);
	assert_int_equal(cpu_msr_write(cpu, 0x277, 0x0007040600070402, false), -EINVAL);
	assert_int_equal(cpu_msr_write(cpu, 0x277, 0x0007010600070406, false), 0);
	assert_int_equal(cpu_msr_write(cpu, 0x2ff, 0xc06, false), 0);
	assert_int_equal(cpu_msr_write(cpu, 0x2ff, 0xc02, false), -EINVAL);
	assert_int_equal(cpu_msr_read(cpu, 0x12345678, &value, false), -ENOENT);
	/* Long mode is on: LME cannot change, LMA is ignored. */
	assert_int_equal(cpu_msr_write(cpu, 0xc0000080, EFER_NX, false), -EINVAL);
	assert_int_equal(cpu_msr_write(cpu, 0xc0000080, EFER_NX | EFER_LME, false), 0);
	assert_int_equal(cpu->efer, EFER_NX | EFER_LME | EFER_LMA);
	assert_int_equal(cpu_msr_write(cpu, 0xc0000080, 1ull << 40, false), -EINVAL);
	/* TSC_ADJUST moves the TSC. */
	value = cpu->tsc_offset;
	assert_int_equal(cpu_msr_write(cpu, 0x3b, 1000, false), 0);
	assert_int_equal(cpu->tsc_offset, value + 1000);
}

static void test_control_rules(void **state)
{
	const struct cpu *cpu = &test.cpu;

	(void)state;
	assert_true(control_is_valid(cpu, CR0_PE | CR0_PG, 0, CR4_PAE, EFER_LME | EFER_LMA));
	assert_false(control_is_valid(cpu, CR0_PE | CR0_PG, 0, 0, EFER_LME | EFER_LMA));
	assert_false(control_is_valid(cpu, CR0_PE | CR0_PG, 0, CR4_PAE, EFER_LME));
	assert_false(control_is_valid(cpu, CR0_PG, 0, 0, 0));
	assert_false(control_is_valid(cpu, CR0_NW, 0, 0, 0));
	assert_false(control_is_valid(cpu, CR0_PE, 0, 1ull << 60, 0));
	assert_true(control_is_valid(cpu, CR0_PE, 0, 0, EFER_LME));
}

static void test_cpuid(void **state)
{
	struct kvm_cpuid_entry2 *entries = calloc(3, sizeof(*entries));
	struct cpu *cpu = &test.cpu;

	(void)state;
	/* Without entries there is nothing, not even a vendor. */
	assert_int_equal(cpu_cpuid(cpu, 0, 0).eax, 0);
	entries[0] = (struct kvm_cpuid_entry2){.function = 0, .eax = 1, .ebx = 0x756e6547};
	entries[1] = (struct kvm_cpuid_entry2){.function = 1, .eax = 0x600, .ecx = 1u << 27};
	entries[2] = (struct kvm_cpuid_entry2){.function = 0x80000000, .eax = 0x80000000};
	assert_int_equal(cpu_set_cpuid(cpu, entries, 3), 0);
	/* OSXSAVE follows CR4; Intel answers beyond the last leaf with the highest basic one. */
	assert_int_equal(cpu_cpuid(cpu, 1, 0).ecx >> 27 & 1, 0);
	cpu->cr4 |= CR4_OSXSAVE;
	assert_int_equal(cpu_cpuid(cpu, 1, 0).ecx >> 27 & 1, 1);
	assert_int_equal(cpu_cpuid(cpu, 5, 0).eax, 0x600);
	assert_false(cpu_has(cpu, FEATURE_SMAP));
}

static void test_bad_state(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.segment[CPU_CS].db = 1; /* with L */
	assert_int_equal(cpu_run(&test.cpu), CPU_EXIT_USER);
	assert_int_equal(test.cpu.run->exit_reason, KVM_EXIT_FAIL_ENTRY);
}

/* A guest that runs on past the canonical addresses may be stopped right there, saved and restored. */
static void test_rip_not_canonical(void **state)
{
	(void)state;
	LOAD(two_halts);
	test.cpu.rip = 1ull << 47;
	set_gate(EXCEPTION_GP, 3, CODE, 0x8e);
	assert_int_equal(run_to_halt(), HANDLER_AT);
	assert_int_equal(memory_64(X86_TEST_STACK - 48), 0);
	assert_int_equal(memory_64(X86_TEST_STACK - 40), 1ull << 47);
}

#define TEST_16(name) cmocka_unit_test_setup_teardown(name, setup_16, teardown)
#define TEST_32(name) cmocka_unit_test_setup_teardown(name, setup_32, teardown)
#define TEST_64(name) cmocka_unit_test_setup_teardown(name, setup_64, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_32(test_fault_frame),
		TEST_32(test_absent_segment),
		TEST_32(test_double_fault),
		TEST_32(test_benign_then_contributory),
		TEST_32(test_triple_fault),
		TEST_32(test_inner_interrupt),
		TEST_32(test_gate_privilege),
		TEST_32(test_call_gate),
		TEST_32(test_conforming),
		TEST_32(test_sti_shadow),
		TEST_32(test_interrupt_window),
		TEST_32(test_nmi_blocking),
		TEST_32(test_step_over_shadow),
		TEST_32(test_data_breakpoint),
		TEST_32(test_instruction_breakpoint),
		TEST_16(test_real_interrupt),
		TEST_32(test_lar_lsl),
		TEST_64(test_long_interrupt_aligns),
		TEST_64(test_ist),
		TEST_64(test_sysret_canonical),
		TEST_64(test_sysret_traps),
		TEST_64(test_syscall_stepped_in_compatibility),
		TEST_64(test_iret_to_compatibility),
		TEST_64(test_msr_rules),
		TEST_64(test_control_rules),
		TEST_64(test_cpuid),
		TEST_64(test_bad_state),
		TEST_64(test_rip_not_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
