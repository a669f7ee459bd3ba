/*
 * KVM_SET_GUEST_DEBUG (api.rst 4.87) in code that is hot: breakpoints stop where they are each time
 * round, watchpoints behind the access, and what isn't watched runs as fast as before. What a debugger
 * gives back to the guest, the guest takes as its own.
 */
#include <stdio.h>
#include <string.h>

#include "contract.h"

#define LOOP	 0x2000
#define FUNCTION 0x3000
#define INSIDE	 0x3001 /* in the middle of the function's block */
#define COUNTER	 0x8008
#define NOWHERE	 0x9000 /* nothing is there, and nobody looks */
#define TABLES	 0x4000
#define HANDLER	 0x5000
#define WARM	 100000
#define MANY	 2000000

#define DR7_EXECUTE0 0x402ull
#define DR7_WRITE0   (0x402ull | 0xdull << 16) /* four bytes */
#define DR7_WRITE1   (0x408ull | 0xdull << 20)

/* call FUNCTION; dec %rcx; jnz LOOP; hlt */
static const uint8_t loop[] = {0xe8, 0xfb, 0x0f, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xf6, 0xf4};
/* nop; incq COUNTER; ret */
static const uint8_t function[] = {0x90, 0x48, 0xff, 0x04, 0x25, 0x08, 0x80, 0, 0, 0xc3};

static void begin(struct machine *machine, uint64_t turns)
{
	struct kvm_regs regs;

	memcpy(machine->ram + LOOP, loop, sizeof(loop));
	memcpy(machine->ram + FUNCTION, function, sizeof(function));
	memset(machine->ram + COUNTER, 0, 8);
	machine_enter_long(machine, &machine->vcpu, LOOP);
	regs = machine_regs(machine);
	regs.rcx = turns;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_REGS, &regs), 0);
}

static uint64_t counter(const struct machine *machine)
{
	uint64_t value;

	memcpy(&value, machine->ram + COUNTER, sizeof(value));
	return value;
}

static void set_debug(struct machine *machine, uint32_t control, uint64_t address0,
		      uint64_t address1, uint64_t dr7)
{
	struct kvm_guest_debug debug = {.control = control};

	debug.arch.debugreg[0] = address0;
	debug.arch.debugreg[1] = address1;
	debug.arch.debugreg[7] = dr7;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_GUEST_DEBUG, &debug), 0);
}

static void watch(struct machine *machine, uint64_t address, uint64_t dr7)
{
	set_debug(machine, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, address, 0, dr7);
}

static void expect_debug(struct machine *machine, uint64_t pc, unsigned dr6)
{
	const struct kvm_debug_exit_arch *debug = &machine->vcpu.run->debug.arch;

	machine_expect(machine, KVM_EXIT_DEBUG);
	check_equal(debug->exception, 1);
	check_equal(debug->pc, pc);
	check_equal(machine_regs(machine).rip, pc);
	check_equal(debug->dr6 & 0x400f, dr6);
}

static void step_over(struct machine *machine, uint64_t to)
{
	set_debug(machine, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0, 0);
	expect_debug(machine, to, 0x4000);
}

/* `behind`: how often the counter has been counted up before the first stop. */
static void test_code(struct machine *machine, uint64_t address, unsigned length, unsigned behind)
{
	unsigned i;

	begin(machine, WARM);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(counter(machine), WARM);
	begin(machine, WARM);
	for (i = 0; i < 5; i++) {
		watch(machine, address, DR7_EXECUTE0);
		expect_debug(machine, address, 1);
		check_equal(counter(machine), i + behind);
		check_equal(machine_regs(machine).rcx, WARM - i);
		step_over(machine, address + length);
	}
	/* Off again, and nobody stops. */
	set_debug(machine, 0, 0, 0, 0);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(counter(machine), WARM);
}

/* A KVM without hardware to stand on may not have them. */
static bool has_data_breakpoints(const struct kvm_system *system, struct machine *machine)
{
	if (contract_is_engine(system))
		return true;
	check_equal(machine_run(machine), 0);
	if (machine->vcpu.run->exit_reason == KVM_EXIT_DEBUG)
		return true;
	printf("this host's KVM has no data breakpoints\n");
	set_debug(machine, 0, 0, 0, 0);
	return false;
}

static void test_data(const struct kvm_system *system, struct machine *machine)
{
	unsigned i;

	begin(machine, WARM);
	machine_expect(machine, KVM_EXIT_HLT);
	begin(machine, WARM);
	watch(machine, COUNTER, DR7_WRITE0);
	if (!has_data_breakpoints(system, machine))
		return;
	begin(machine, WARM);
	for (i = 1; i <= 1000; i++) {
		expect_debug(machine, FUNCTION + 9, 1);
		check_equal(counter(machine), i);
	}
	/* The bytes beside it, in the same page. */
	watch(machine, COUNTER + 8, DR7_WRITE0);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(counter(machine), WARM);
	/* Two at once. */
	begin(machine, 2);
	set_debug(machine, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, INSIDE, COUNTER,
		  DR7_EXECUTE0 | DR7_WRITE1);
	expect_debug(machine, INSIDE, 1);
	step_over(machine, INSIDE + 8);
	set_debug(machine, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, NOWHERE, COUNTER,
		  DR7_EXECUTE0 | DR7_WRITE1);
	expect_debug(machine, FUNCTION + 9, 2);
	check_equal(counter(machine), 2);
	set_debug(machine, 0, 0, 0, 0);
	machine_expect(machine, KVM_EXIT_HLT);
}

static void find_interpreted(void *context, const char *name, uint64_t value)
{
	if (strcmp(name, "instructions of the interpreter") == 0)
		*(uint64_t *)context = value;
}

static uint64_t interpreted(const struct kvm_system *system, const struct machine *machine)
{
	uint64_t value = 0;

	if (system->backend->read_statistics)
		system->backend->read_statistics(machine->vcpu.fd, find_interpreted, &value);
	return value;
}

/* All kinds of breakpoints, none of them met: translated code goes on being that. */
static void test_speed(const struct kvm_system *system, struct machine *machine)
{
	uint64_t before;

	begin(machine, WARM);
	machine_expect(machine, KVM_EXIT_HLT);
	before = interpreted(system, machine);
	begin(machine, MANY);
	set_debug(machine,
		  KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP |
			  (contract_is_engine(system) ? KVM_GUESTDBG_BLOCKIRQ : 0),
		  NOWHERE, NOWHERE + 0x1000, DR7_EXECUTE0 | DR7_WRITE1);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(counter(machine), MANY);
	set_debug(machine, 0, 0, 0, 0);
	if (system->backend == &kvm_backend_translator)
		check(interpreted(system, machine) - before < MANY / 100);
}

/* An INT3 that is no debugger's: the guest's handler finds itself behind it. */
static void test_injection(const struct kvm_system *system, struct machine *machine)
{
	/* int3; inc %eax; hlt. Handler: inc %ebx; iretq */
	static const uint8_t code[] = {0xcc, 0xff, 0xc0, 0xf4};
	static const uint8_t handler[] = {0xff, 0xc3, 0x48, 0xcf};
	static const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	const uint64_t gate[] = {0x00008e0000080000 | HANDLER, 0};
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	memcpy(machine->ram + LOOP, code, sizeof(code));
	memcpy(machine->ram + TABLES, gdt, sizeof(gdt));
	memcpy(machine->ram + TABLES + 0x100 + 3 * 16, gate, sizeof(gate));
	memcpy(machine->ram + HANDLER, handler, sizeof(handler));
	machine_enter_long(machine, &machine->vcpu, LOOP);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.gdt = (struct kvm_dtable){.base = TABLES, .limit = sizeof(gdt) - 1};
	sregs.idt = (struct kvm_dtable){.base = TABLES + 0x100, .limit = 4 * 16 - 1};
	check_equal(sregs.cs.selector, 8);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs), 0);
	set_debug(machine, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0, 0);
	check_equal(machine_run(machine), 0);
	if (!contract_is_engine(system) && machine->vcpu.run->exit_reason != KVM_EXIT_DEBUG) {
		printf("this host's KVM, itself paravirtual, sees no INT3\n");
		set_debug(machine, 0, 0, 0, 0);
		return;
	}
	check_equal(machine->vcpu.run->exit_reason, KVM_EXIT_DEBUG);
	check_equal(machine->vcpu.run->debug.arch.exception, 3);
	check_equal(machine_regs(machine).rip, LOOP);
	set_debug(machine,
		  KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP, 0, 0, 0);
	machine_expect(machine, KVM_EXIT_HLT);
	regs = machine_regs(machine);
	check_equal(regs.rip, LOOP + sizeof(code));
	check_equal(regs.rbx, 1);
	set_debug(machine, 0, 0, 0, 0);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_injection(&system, &machine);
	test_code(&machine, FUNCTION, 1, 0);
	test_code(&machine, INSIDE, 8, 0);
	test_code(&machine, LOOP + 5, 3, 1);
	test_data(&system, &machine);
	test_speed(&system, &machine);
	machine_destroy(&machine);
	return contract_close(&system);
}
