/*
 * What may happen to code and memory under a vCPU that is running it, in 64-bit mode: the monitor
 * writes code between two KVM_RUNs, another vCPU writes it, slots go away or begin to be logged
 * while a loop is inside them, or elsewhere, a tight loop is kicked, a lone vCPU gets company.
 */
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "../host.h"
#include "contract.h"

#define OTHER_GPA  0x2000  /* the second vCPU's code */
#define FUNCTION   0x3000  /* both know it */
#define SLOT_GPA   0x100000
#define SLOT_SIZE  0x1000

static void load_long(struct machine *machine, const void *code, size_t size)
{
	memcpy(machine->ram + CODE_GPA, code, size);
	machine_enter_long(machine, &machine->vcpu, CODE_GPA);
}

/* 1: mov $20,%ecx; 2: mov $n,%eax; dec %ecx; jnz 2b; out %al,$0x10; jmp 1b */
static void test_monitor_writes(struct machine *machine, bool tells)
{
	static const char code[] = "\xb9\x14\0\0\0" "\xb8\0\0\0\0" "\xff\xc9" "\x75\xf7"
				   "\xe6\x10" "\xeb\xee";

	load_long(machine, code, sizeof(code) - 1);
	for (unsigned i = 0; i < 50; i++) {
		machine->ram[CODE_GPA + 6] = i;
		if (tells)
			kvm_vm_written(&machine->vm, CODE_GPA + 6, 1);
		machine_expect(machine, KVM_EXIT_IO);
		check_equal(*(uint8_t *)run_io_data(machine->vcpu.run), i);
	}
}

/*
 * One vCPU changes the constant that FUNCTION returns, from 1 to 255, and each time waits until the
 * other, which calls it all the time, has stored it to `answer`.
 */
static void test_other_writes(struct machine *machine, struct kvm_vcpu *other, uint32_t answer)
{
	/* mov $1,%ecx; 1: mov %cl,FUNCTION+1; 2: pause; cmp %ecx,answer; jne 2b; inc %ecx;
	 * cmp $0x100,%ecx; jne 1b; out %al,$0x11 */
	static char writer[] = "\xb9\1\0\0\0" "\x88\x0c\x25\x01\x30\0\0" "\xf3\x90"
			       "\x39\x0c\x25\0\0\0\0" "\x75\xf5" "\xff\xc1"
			       "\x81\xf9\0\1\0\0" "\x75\xe4" "\xe6\x11";
	/* 1: mov $FUNCTION,%edx; call *%rdx; mov %eax,answer; cmp $0xff,%eax; jne 1b;
	 * out %al,$0x10 */
	static char caller[] = "\xba\x00\x30\0\0" "\xff\xd2" "\x89\x04\x25\0\0\0\0"
			       "\x3d\xff\0\0\0" "\x75\xeb" "\xe6\x10";
	struct vcpu_thread runners[2];

	memcpy(writer + 17, &answer, 4);
	memcpy(caller + 10, &answer, 4);
	memcpy(machine->ram + FUNCTION, "\xb8\0\0\0\0\xc3", 6); /* mov $0,%eax; ret */
	memset(machine->ram + answer, 0, 4);
	memcpy(machine->ram + OTHER_GPA, caller, sizeof(caller) - 1);
	load_long(machine, writer, sizeof(writer) - 1);
	machine_enter_long(machine, other, OTHER_GPA);
	vcpu_thread_start(&runners[0], &machine->vcpu);
	vcpu_thread_start(&runners[1], other);
	vcpu_thread_finish(&runners[0], KVM_EXIT_IO);
	vcpu_thread_finish(&runners[1], KVM_EXIT_IO);
	check_equal(machine->vcpu.run->io.port, 0x11);
	check_equal(other->run->io.port, 0x10);
}

static void set_slot(struct machine *machine, void *memory, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = 1, .flags = flags, .guest_phys_addr = SLOT_GPA,
		.memory_size = memory ? SLOT_SIZE : 0, .userspace_addr = (uintptr_t)memory,
	};

	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

/* The slot with the code goes away; then there is another, with other code. */
static void test_code_slot(struct machine *machine, uint8_t *memory)
{
	struct vcpu_thread runner;

	memcpy(memory, "\x48\xff\xc0\xeb\xfb", 5);             /* 1: inc %rax; jmp 1b */
	memcpy(memory + SLOT_SIZE, "\x90\x90\x90\xe6\x12", 5); /* nop...; out %al,$0x12 */
	set_slot(machine, memory, 0);
	machine_enter_long(machine, &machine->vcpu, SLOT_GPA);
	vcpu_thread_start(&runner, &machine->vcpu);
	sleep_ms(20);
	check(!atomic_load(&runner.is_done));
	set_slot(machine, NULL, 0);
	vcpu_thread_finish(&runner, KVM_EXIT_INTERNAL_ERROR);

	set_slot(machine, memory, 0);
	machine_enter_long(machine, &machine->vcpu, SLOT_GPA);
	vcpu_thread_start(&runner, &machine->vcpu);
	sleep_ms(5);
	kvm_vcpu_kick(&machine->vcpu, runner.thread);
	vcpu_thread_finish(&runner, KVM_EXIT_INTR);
	set_slot(machine, NULL, 0);
	set_slot(machine, memory + SLOT_SIZE, 0);
	machine_enter_long(machine, &machine->vcpu, SLOT_GPA);
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(machine->vcpu.run->io.port, 0x12);
	set_slot(machine, NULL, 0);
}

/* Have the vCPU run 1: OPCODE %eax,SLOT_GPA; jmp 1b, or the same on the stack. */
static void start_accesses(struct machine *machine, struct vcpu_thread *runner, uint8_t *memory,
			   char opcode, bool is_stack)
{
	char absolute[] = "?\x04\x25\0\0\x10\0" "\xeb\xf7";
	char stack[] = "\xbc\0\0\x10\0" "?\x04\x24" "\xeb\xfb";

	absolute[0] = stack[5] = opcode;
	set_slot(machine, memory, 0);
	if (is_stack)
		load_long(machine, stack, sizeof(stack) - 1);
	else
		load_long(machine, absolute, sizeof(absolute) - 1);
	vcpu_thread_start(runner, &machine->vcpu);
}

/* MOV, whose data become MMIO. */
static void test_data_slot(struct machine *machine, uint8_t *memory, bool is_stack)
{
	struct vcpu_thread runner;

	start_accesses(machine, &runner, memory, '\x8b', is_stack);
	sleep_ms(20);
	check(!atomic_load(&runner.is_done));
	set_slot(machine, NULL, 0);
	vcpu_thread_finish(&runner, KVM_EXIT_MMIO);
	check_equal(machine->vcpu.run->mmio.phys_addr, SLOT_GPA);
	check_equal(machine->vcpu.run->mmio.is_write, 0);
}

/* INC, and each call for the log finds the page written again. */
static void test_dirty_log(struct machine *machine, uint8_t *memory, bool is_stack)
{
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bitmap };
	struct vcpu_thread runner;

	start_accesses(machine, &runner, memory, '\xff', is_stack);
	sleep_ms(10);
	set_slot(machine, memory, KVM_MEM_LOG_DIRTY_PAGES);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t end = now_ns() + contract_patience() * VCPU_DEADLINE_MS * UINT64_C(1000000);

		for (bitmap = 0; !bitmap && now_ns() < end; sleep_ms(1))
			check_equal(kvm_vm_ioctl(&machine->vm, KVM_GET_DIRTY_LOG, &log), 0);
		check_equal(bitmap, 1);
	}
	kvm_vcpu_kick(&machine->vcpu, runner.thread);
	vcpu_thread_finish(&runner, KVM_EXIT_INTR);
	set_slot(machine, NULL, 0);
}

static void test_kick(struct machine *machine)
{
	struct vcpu_thread runner;

	load_long(machine, "\xeb\xfe", 2);
	for (unsigned i = 0; i < 20; i++) {
		vcpu_thread_start(&runner, &machine->vcpu);
		sleep_ms(2);
		kvm_vcpu_kick(&machine->vcpu, runner.thread);
		vcpu_thread_finish(&runner, KVM_EXIT_INTR);
		check_equal(machine_regs(machine).rip, CODE_GPA);
	}
}

/* Two count in the same words; the first has begun before there was a second. */
static void test_company(const struct kvm_system *system)
{
	/* 1: lock incl 0x5000; mov $1,%edx; lock add %edx,0x5040; inc %rbx; dec %ecx; jz 2f;
	 * cmpl $0,0x6000; je 1b; 2: out %al,$0x10 */
	static const char code[] = "\xf0\xff\x04\x25\x00\x50\0\0" "\xba\x01\0\0\0"
				   "\xf0\x01\x14\x25\x40\x50\0\0" "\x48\xff\xc3" "\xff\xc9"
				   "\x74\x0a" "\x83\x3c\x25\x00\x60\0\0\0" "\x74\xda"
				   "\xe6\x10";
	struct vcpu_thread first, second;
	struct machine machine, view;
	struct kvm_regs regs;
	struct error error;
	uint32_t count;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	load_long(&machine, code, sizeof(code) - 1);
	vcpu_thread_start(&first, &machine.vcpu);
	sleep_ms(20);
	view = machine;
	check_equal(kvm_vcpu_create(&view.vcpu, &machine.vm, 1, &error), 0);
	machine_enter_long(&view, &view.vcpu, CODE_GPA);
	regs = machine_regs(&view);
	regs.rcx = contract_is_engine(system) ? 10000000 : 1000;
	check_equal(kvm_vcpu_ioctl(&view.vcpu, KVM_SET_REGS, &regs), 0);
	vcpu_thread_start(&second, &view.vcpu);
	vcpu_thread_finish(&second, KVM_EXIT_IO);
	__atomic_store_n((uint32_t *)(machine.ram + 0x6000), 1, __ATOMIC_SEQ_CST);
	vcpu_thread_finish(&first, KVM_EXIT_IO);
	for (unsigned at = 0x5000; at <= 0x5040; at += 0x40) {
		memcpy(&count, machine.ram + at, 4);
		check_equal(count, (uint32_t)(machine_regs(&machine).rbx + machine_regs(&view).rbx));
	}
	kvm_vcpu_close(&view.vcpu);
	machine_destroy(&machine);
}

/*
 * The same with all sorts of locked operations, and a second vCPU from the start on:
 *	1: lock incl 0x5ffe (in two pages); mov $1,%edx; lock xadd %edx,0x503e (in two cache lines);
 *	mov 0x5080,%eax; 2: lea 1(%rax),%edx; lock cmpxchg %edx,0x5080; jne 2b;
 *	mov 0x50c0,%rax; mov 0x50c8,%rdx; 3: lea 1(%rax),%rbx; lea 1(%rdx),%rcx;
 *	lock cmpxchg16b 0x50c0; jne 3b;
 *	4: mov $1,%eax; xchg %eax,0x5100; test %eax,%eax; jz 5f; pause; jmp 4b;
 *	5: incl 0x5104; movl $0,0x5100;
 *	inc %rsi; dec %edi; jz 6f; cmpl $0,0x7000; je 1b; 6: out %al,$0x10
 */
static void test_locked(const struct kvm_system *system)
{
	static const char code[] =
		"\xf0\xff\x04\x25\xfe\x5f\x00\x00\xba\x01\x00\x00\x00"
		"\xf0\x0f\xc1\x14\x25\x3e\x50\x00\x00\x8b\x04\x25\x80\x50\x00\x00"
		"\x8d\x50\x01\xf0\x0f\xb1\x14\x25\x80\x50\x00\x00\x75\xf2"
		"\x48\x8b\x04\x25\xc0\x50\x00\x00\x48\x8b\x14\x25\xc8\x50\x00\x00"
		"\x48\x8d\x58\x01\x48\x8d\x4a\x01"
		"\xf0\x48\x0f\xc7\x0c\x25\xc0\x50\x00\x00\x75\xec\xb8\x01\x00\x00\x00"
		"\x87\x04\x25\x00\x51\x00\x00\x85\xc0\x74\x04\xf3\x90\xeb\xec"
		"\xff\x04\x25\x04\x51\x00\x00"
		"\xc7\x04\x25\x00\x51\x00\x00\x00\x00\x00\x00\x48\xff\xc6\xff\xcf"
		"\x74\x0e\x83\x3c\x25\x00\x70\x00\x00\x00\x0f\x84\x76\xff\xff\xff"
		"\xe6\x10";
	static const uint32_t counters[] = { 0x503e, 0x5080, 0x50c0, 0x50c8, 0x5104, 0x5ffe };
	struct vcpu_thread first, second;
	struct machine machine, view;
	struct kvm_regs regs;
	struct error error;
	uint32_t count;

	/* A KVM without hardware emulates neither split locks nor CMPXCHG16B. */
	if (!contract_is_engine(system))
		return;
	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	view = machine;
	check_equal(kvm_vcpu_create(&view.vcpu, &machine.vm, 1, &error), 0);
	load_long(&machine, code, sizeof(code) - 1);
	machine_enter_long(&view, &view.vcpu, CODE_GPA);
	regs = machine_regs(&view);
	regs.rdi = 300;
	check_equal(kvm_vcpu_ioctl(&view.vcpu, KVM_SET_REGS, &regs), 0);
	vcpu_thread_start(&first, &machine.vcpu);
	vcpu_thread_start(&second, &view.vcpu);
	vcpu_thread_finish(&second, KVM_EXIT_IO);
	__atomic_store_n((uint32_t *)(machine.ram + 0x7000), 1, __ATOMIC_SEQ_CST);
	vcpu_thread_finish(&first, KVM_EXIT_IO);
	for (unsigned i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		memcpy(&count, machine.ram + counters[i], 4);
		check_equal(count, (uint32_t)(machine_regs(&machine).rsi + machine_regs(&view).rsi));
	}
	kvm_vcpu_close(&view.vcpu);
	machine_destroy(&machine);
}

/* How much code the vCPU has decoded and translated. */
static void count_code(void *context, const char *name, uint64_t value)
{
	if (strcmp(name, "blocks decoded") == 0 || strcmp(name, "blocks translated") == 0)
		*(uint64_t *)context += value;
}

static uint64_t code_made(const struct machine *machine)
{
	uint64_t sum = 0;

	machine->vcpu.system->backend->read_statistics(machine->vcpu.fd, count_code, &sum);
	return sum;
}

/* Of the engine: a slot that comes, is logged or goes takes no code of other memory along. */
static void test_other_slots(struct machine *machine, uint8_t *memory)
{
	/* 1: mov $20,%ecx; 2: dec %ecx; jnz 2b; out %al,$0x10; jmp 1b */
	static const char code[] = "\xb9\x14\0\0\0" "\xff\xc9" "\x75\xfc" "\xe6\x10" "\xeb\xf3";
	uint64_t made;

	load_long(machine, code, sizeof(code) - 1);
	for (unsigned i = 0; i < 100; i++)
		machine_expect(machine, KVM_EXIT_IO);
	made = code_made(machine);
	check(made > 0);
	for (unsigned i = 0; i < 8; i++) {
		set_slot(machine, memory, 0);
		machine_expect(machine, KVM_EXIT_IO);
		set_slot(machine, memory, KVM_MEM_LOG_DIRTY_PAGES);
		machine_expect(machine, KVM_EXIT_IO);
		set_slot(machine, NULL, 0);
		machine_expect(machine, KVM_EXIT_IO);
	}
	check_equal(code_made(machine), made);
}

/* An instruction that shows to be longer than 15 bytes before the end of its page, which memory ends with. */
static void test_too_long(const struct kvm_system *system)
{
	/* 10 prefixes; addl $..., disp32(%rip) */
	static const char code[] = "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66" "\x81\x05";
	uint8_t *memory = mmap(NULL, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t at = SLOT_SIZE - (sizeof(code) - 1);
	struct machine machine;

	check(memory != MAP_FAILED);
	check_equal(mprotect(memory + SLOT_SIZE, SLOT_SIZE, PROT_NONE), 0);
	memcpy(memory + at, code, sizeof(code) - 1);
	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	set_slot(&machine, memory, 0);
	for (unsigned i = 0; i < 3; i++) {
		machine_enter_long(&machine, &machine.vcpu, SLOT_GPA + at);
		machine_expect(&machine, KVM_EXIT_SHUTDOWN); /* #GP, and no IDT */
	}
	machine_destroy(&machine);
	munmap(memory, 2 * SLOT_SIZE);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct kvm_vcpu other;
	struct machine machine;
	struct error error;
	uint8_t *memory;

	contract_open(argc, argv, &system);
	memory = mmap(NULL, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	check(memory != MAP_FAILED);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	check_equal(kvm_vcpu_create(&other, &machine.vm, 1, &error), 0);
	test_monitor_writes(&machine, false);
	test_other_writes(&machine, &other, 0x4000);
	test_other_writes(&machine, &other, FUNCTION + 0x800);
	test_other_writes(&machine, &other, FUNCTION + 8);
	test_code_slot(&machine, memory);
	test_data_slot(&machine, memory, false);
	test_dirty_log(&machine, memory, false);
	/* The translator keeps the stack's page apart. */
	if (contract_is_engine(&system)) {
		test_data_slot(&machine, memory, true);
		test_dirty_log(&machine, memory, true);
		test_other_slots(&machine, memory);
	}
	/* Without hardware virtualization KVM may report a kick as a failed emulation. */
	if (contract_is_engine(&system) || kvm_is_hardware())
		test_kick(&machine);
	kvm_vcpu_close(&other);
	machine_destroy(&machine);
	munmap(memory, 2 * SLOT_SIZE);
	machine_create_telling(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_monitor_writes(&machine, true);
	machine_destroy(&machine);
	if (contract_is_engine(&system))
		test_too_long(&system);
	test_company(&system);
	test_locked(&system);
	return contract_close(&system);
}
