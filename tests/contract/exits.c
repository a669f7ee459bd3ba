/*
 * The exits that a guest without controllers can cause, and what kvm_run says about each.
 */
#include <linux/kvm_para.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../host.h"
#include "contract.h"

#define LOAD(machine, bytes)      machine_load(machine, bytes, sizeof(bytes) - 1)
#define LOAD_FLAT(machine, bytes) machine_load_flat(machine, bytes, sizeof(bytes) - 1)

static void check_io(struct machine *machine, unsigned direction, unsigned port, unsigned size,
		     unsigned count)
{
	const struct kvm_run *run = machine->vcpu.run;

	machine_expect(machine, KVM_EXIT_IO);
	check_equal(run->io.direction, direction);
	check_equal(run->io.port, port);
	check_equal(run->io.size, size);
	check_equal(run->io.count, count);
}

static void test_port_output(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;
	uint32_t value = 0;

	/* mov $0x12345678,%eax; out %al,$0x10; out %ax,$0x11; mov $0x3f8,%dx; out %eax,(%dx);
	 * hlt */
	LOAD(machine, "\x66\xb8\x78\x56\x34\x12\xe6\x10\xe7\x11\xba\xf8\x03\x66\xef\xf4");
	check_io(machine, KVM_EXIT_IO_OUT, 0x10, 1, 1);
	check_equal(*(uint8_t *)run_io_data(run), 0x78);
	check_io(machine, KVM_EXIT_IO_OUT, 0x11, 2, 1);
	check_equal(*(uint16_t *)run_io_data(run), 0x5678);
	check_io(machine, KVM_EXIT_IO_OUT, 0x3f8, 4, 1);
	memcpy(&value, run_io_data(run), 4);
	check_equal(value, 0x12345678);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine_regs(machine).rip, CODE_GPA + 16);
}

static void test_port_input(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;

	/* mov $-1,%eax; in $0x10,%al; mov %eax,%ebx; in $0x11,%ax; mov %eax,%ecx;
	 * in $0x12,%eax; hlt */
	LOAD(machine, "\x66\xb8\xff\xff\xff\xff\xe4\x10\x66\x89\xc3\xe5\x11\x66\x89\xc1\x66\xe5\x12"
		      "\xf4");
	check_io(machine, KVM_EXIT_IO_IN, 0x10, 1, 1);
	memset(run_io_data(run), 0x21, 8);
	check_io(machine, KVM_EXIT_IO_IN, 0x11, 2, 1);
	memset(run_io_data(run), 0x43, 8);
	check_io(machine, KVM_EXIT_IO_IN, 0x12, 4, 1);
	memset(run_io_data(run), 0x65, 8);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine_regs(machine).rbx, 0xffffff21);
	check_equal(machine_regs(machine).rcx, 0xffff4343);
	check_equal(machine_regs(machine).rax, 0x65656565);
}

/* Strings may come in any number of exits, but each byte once and in order. */
static void test_port_strings(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;
	unsigned seen = 0, i;

	/* mov $0x2000,%si; mov $0x77,%dx; mov $20,%cx; cld; rep outsb; hlt */
	LOAD(machine, "\xbe\x00\x20\xba\x77\x00\xb9\x14\x00\xfc\xf3\x6e\xf4");
	for (i = 0; i < 20; i++)
		machine->ram[0x2000 + i] = 'A' + i;
	while (machine_run(machine) == 0 && run->exit_reason == KVM_EXIT_IO) {
		check_equal(run->io.direction, KVM_EXIT_IO_OUT);
		check_equal(run->io.size, 1);
		check_equal(run->io.port, 0x77);
		for (i = 0; i < run->io.count; i++, seen++)
			check_equal(((uint8_t *)run_io_data(run))[i], 'A' + seen);
	}
	check_equal(run->exit_reason, KVM_EXIT_HLT);
	check_equal(seen, 20);
	check_equal(machine_regs(machine).rsi, 0x2014);
	check_equal(machine_regs(machine).rcx, 0);

	/* mov $0x3000,%di; mov $0x78,%dx; mov $5,%cx; cld; rep insw; hlt */
	LOAD(machine, "\xbf\x00\x30\xba\x78\x00\xb9\x05\x00\xfc\xf3\x6d\xf4");
	seen = 0;
	while (machine_run(machine) == 0 && run->exit_reason == KVM_EXIT_IO) {
		check_equal(run->io.direction, KVM_EXIT_IO_IN);
		check_equal(run->io.size, 2);
		for (i = 0; i < run->io.count; i++, seen++)
			((uint16_t *)run_io_data(run))[i] = 0x1100 + seen;
	}
	check_equal(run->exit_reason, KVM_EXIT_HLT);
	check_equal(seen, 5);
	for (i = 0; i < 5; i++)
		check_equal(((uint16_t *)(machine->ram + 0x3000))[i], 0x1100 + i);
	check_equal(machine_regs(machine).rdi, 0x300a);
}

static void check_mmio(struct machine *machine, uint64_t gpa, unsigned size, bool is_write)
{
	const struct kvm_run *run = machine->vcpu.run;

	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.phys_addr, gpa);
	check_equal(run->mmio.len, size);
	check_equal(run->mmio.is_write, is_write);
}

static void test_mmio(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;
	uint32_t value;

	/* mov $0x8000,%ax; mov %ax,%ds; movb $0x5a,(0x10); mov (0x20),%ax; addl $1,(0x30); hlt */
	LOAD(machine, "\xb8\x00\x80\x8e\xd8\xc6\x06\x10\x00\x5a\xa1\x20\x00\x66\x83\x06\x30\x00\x01"
		      "\xf4");
	check_mmio(machine, 0x80010, 1, true);
	check_equal(run->mmio.data[0], 0x5a);
	check_mmio(machine, 0x80020, 2, false);
	memcpy(run->mmio.data, "\x34\x12", 2);
	check_mmio(machine, 0x80030, 4, false);
	memcpy(run->mmio.data, "\xff\xff\x01\x00", 4);
	check_mmio(machine, 0x80030, 4, true);
	memcpy(&value, run->mmio.data, 4);
	check_equal(value, 0x20000);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine_regs(machine).rax, 0x1234);
}

static void test_shutdown(struct machine *machine)
{
	struct kvm_sregs sregs;

	/* An interrupt table of no entries makes any exception a triple fault: ud2 */
	LOAD_FLAT(machine, "\x0f\x0b\xf4");
	kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs);
	sregs.idt.limit = 0;
	kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs);
	machine_expect(machine, KVM_EXIT_SHUTDOWN);
}

static void test_interrupt_window(struct machine *machine)
{
	struct kvm_interrupt interrupt = { .irq = 0x30 };
	struct kvm_run *run = machine->vcpu.run;

	/* cli; out %al,$1; sti; nop; nop; 1: jmp 1b     handler: out %al,$2; hlt */
	LOAD(machine, "\xfa\xe6\x01\xfb\x90\x90\xeb\xfe");
	memcpy(machine->ram + 0x2000, "\xe6\x02\xf4", 3);
	memcpy(machine->ram + 4 * 0x30, "\x00\x20\x00\x00", 4);
	check_io(machine, KVM_EXIT_IO_OUT, 1, 1, 1);
	check_equal(run->if_flag, 0);
	check_equal(run->ready_for_interrupt_injection, 0);
	run->request_interrupt_window = 1;
	machine_expect(machine, KVM_EXIT_IRQ_WINDOW_OPEN);
	check_equal(run->if_flag, 1);
	check_equal(run->ready_for_interrupt_injection, 1);
	run->request_interrupt_window = 0;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_INTERRUPT, &interrupt), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 2, 1, 1);
	check_equal(run->if_flag, 0);
	machine_expect(machine, KVM_EXIT_HLT);
}

/* INT3 goes to the debugger. */
static void test_software_breakpoint(struct machine *machine)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP };
	const struct kvm_run *run = machine->vcpu.run;

	LOAD_FLAT(machine, "\x90\xcc\x40\xf4");
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	machine_expect(machine, KVM_EXIT_DEBUG);
	check_equal(run->debug.arch.exception, 3);
	check_equal(run->debug.arch.pc, CODE_GPA + 1);
}

static void test_debug(struct machine *machine)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };
	struct kvm_run *run = machine->vcpu.run;
	unsigned i;

	/* nop; nop; inc %ax; hlt */
	LOAD(machine, "\x90\x90\x40\xf4");
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	for (i = 1; i <= 3; i++) {
		machine_expect(machine, KVM_EXIT_DEBUG);
		check_equal(run->debug.arch.exception, 1);
		check_equal(run->debug.arch.pc, CODE_GPA + i);
		check_equal(machine_regs(machine).rip, CODE_GPA + i);
	}
	check_equal(machine_regs(machine).rax, 1);

	/* A hardware breakpoint on the HLT. */
	LOAD(machine, "\x90\x90\x40\xf4");
	debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	debug.arch.debugreg[0] = CODE_GPA + 3;
	debug.arch.debugreg[7] = 0x402;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
	machine_expect(machine, KVM_EXIT_DEBUG);
	check_equal(run->debug.arch.pc, CODE_GPA + 3);

	debug.control = 0;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
}

static void test_nmi(struct machine *machine)
{
	/* nop; 1: jmp 1b     handler: out %al,$3; hlt */
	LOAD(machine, "\x90\xeb\xfe");
	memcpy(machine->ram + 0x2000, "\xe6\x03\xf4", 3);
	memcpy(machine->ram + 4 * 2, "\x00\x20\x00\x00", 4);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_NMI, NULL), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 3, 1, 1);
	machine_expect(machine, KVM_EXIT_HLT);
}

/* Two NMIs at once are both taken; while one is served, one more is kept. A third is lost. */
static void test_several_nmis(struct machine *machine)
{
	struct kvm_vcpu_events events = { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING };

	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
	/* nop; nop; hlt      handler: inc %bx; out %al,$3; iret */
	LOAD(machine, "\x90\x90\xf4");
	memcpy(machine->ram + 0x2000, "\x43\xe6\x03\xcf", 4);
	memcpy(machine->ram + 4 * 2, "\x00\x20\x00\x00", 4);
	for (unsigned i = 0; i < 3; i++)
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_NMI, NULL), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 3, 1, 1);
	check_io(machine, KVM_EXIT_IO_OUT, 3, 1, 1);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine_regs(machine).rbx, 2);

	LOAD(machine, "\x90\x90\xf4");
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_NMI, NULL), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 3, 1, 1);
	for (unsigned i = 0; i < 2; i++)
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_NMI, NULL), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 3, 1, 1);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine_regs(machine).rbx, 2);
}

/* IA32_APIC_BASE with a reserved bit: above MAXPHYADDR, which is below 52, or one of the lowest. */
static void test_apic_base(struct machine *machine)
{
	static const uint64_t bad[] = { 0xfee00900 | 1ull << 51, 0xfee00901, 0xfee00b00 };
	struct kvm_sregs sregs;

	/* wrmsr; hlt      #GP: out %al,$5; hlt */
	memcpy(machine->ram + 0x2000, "\xe6\x05\xf4", 3);
	memcpy(machine->ram + 4 * 13, "\x00\x20\x00\x00", 4);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kvm_regs regs;

		LOAD(machine, "\x0f\x30\xf4");
		regs = machine_regs(machine);
		regs.rcx = 0x1b;
		regs.rax = (uint32_t)bad[i];
		regs.rdx = bad[i] >> 32;
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_REGS, &regs), 0);
		check_io(machine, KVM_EXIT_IO_OUT, 5, 1, 1);
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs), 0);
		check_equal(sregs.apic_base, 0xfee00900);
		sregs.apic_base = bad[i];
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs), -EINVAL);
	}
}

/* RAX of a hypercall (Linux Documentation/virt/kvm/x86/hypercalls.rst) in real mode. */
static uint32_t hypercall(struct machine *machine, uint64_t number)
{
	struct kvm_regs regs;

	/* vmcall; out %al,$6; hlt */
	LOAD(machine, "\x0f\x01\xc1\xe6\x06\xf4");
	regs = machine_regs(machine);
	regs.rax = number;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_REGS, &regs), 0);
	check_io(machine, KVM_EXIT_IO_OUT, 6, 1, 1);
	return (uint32_t)machine_regs(machine).rax;
}

static uint32_t offered_features(struct kvm_system *system)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entries[256];
	} *cpuid = calloc(1, sizeof(*cpuid));
	uint32_t features = 0;

	cpuid->header.nent = 256;
	check_equal(kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	for (unsigned i = 0; i < cpuid->header.nent; i++)
		if (cpuid->entries[i].function == KVM_CPUID_FEATURES)
			features = cpuid->entries[i].eax;
	free(cpuid);
	return features;
}

/* A hypercall works if CPUID offers it, and fails if not. */
static void test_hypercalls(struct kvm_system *system, struct machine *machine)
{
	static const struct {
		unsigned feature, number;
	} calls[] = {
		{ KVM_FEATURE_PV_UNHALT, KVM_HC_KICK_CPU },
		{ KVM_FEATURE_PV_SEND_IPI, KVM_HC_SEND_IPI },
		{ KVM_FEATURE_PV_SCHED_YIELD, KVM_HC_SCHED_YIELD },
		{ KVM_FEATURE_HC_MAP_GPA_RANGE, KVM_HC_MAP_GPA_RANGE },
	};
	uint32_t offered = offered_features(system);

	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		check_equal(hypercall(machine, calls[i].number),
			    offered >> calls[i].feature & 1 ? 0 : (uint32_t)-KVM_ENOSYS);
	check_equal(hypercall(machine, 9999), (uint32_t)-KVM_ENOSYS);
}

/* Registers through kvm_run. */
static void test_sync_regs(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;

	/* 1: add $5,%ax; out %al,$4; jmp 1b */
	LOAD(machine, "\x05\x05\x00\xe6\x04\xeb\xf9");
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	check_io(machine, KVM_EXIT_IO_OUT, 4, 1, 1);
	check_equal(run->s.regs.regs.rax, 5);
	check_equal(run->s.regs.sregs.cs.base, 0);
	run->s.regs.regs.rax = 40;
	run->s.regs.regs.rip = CODE_GPA;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	check_io(machine, KVM_EXIT_IO_OUT, 4, 1, 1);
	check_equal(run->s.regs.regs.rax, 45);
	check_equal(run->kvm_dirty_regs, 0);
	run->kvm_valid_regs = 1 << 20;
	check_equal(machine_run(machine), -EINVAL);
	run->kvm_valid_regs = 0;
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_port_output(&machine);
	test_port_input(&machine);
	test_port_strings(&machine);
	test_mmio(&machine);
	test_interrupt_window(&machine);
	test_nmi(&machine);
	/* A KVM without hardware loses count of them. */
	if (contract_is_engine(&system) || kvm_is_hardware())
		test_several_nmis(&machine);
	test_apic_base(&machine);
	/* A KVM without hardware emulates no hypercalls; others offer more, with rules of their own. */
	if (contract_is_engine(&system))
		test_hypercalls(&system, &machine);
	test_sync_regs(&machine);
	machine_destroy(&machine);

	/* These two leave the vCPU in another mode than it was created in. */
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_debug(&machine);
	machine_destroy(&machine);
	/* A KVM that is itself paravirtual sees no INT3. */
	if (contract_is_engine(&system)) {
		machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
		test_software_breakpoint(&machine);
		machine_destroy(&machine);
	}
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_shutdown(&machine);
	machine_destroy(&machine);
	return contract_close(&system);
}
