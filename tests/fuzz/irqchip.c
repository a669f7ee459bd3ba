/*
 * Fuzz target: the engine's interrupt controllers and timers, from both sides at once.
 *
 * Three vCPUs run a guest whose whole program is a list of commands: accesses to the local APIC by
 * memory and by MSR, to the I/O APIC, PICs and PIT, STI, CLI, HLT, CR8. Between and during that,
 * the monitor raises lines, signals MSIs and eventfds, changes routes, and reads and writes the
 * state of all chips.
 *
 * Input: a byte that says how the VM is made, then rounds: each vCPU's commands, then the monitor's
 * requests. Either the vCPUs run on threads of their own, or in turns, which is repeatable. Each
 * KVM_RUN must return soon after a kick, and the state that GET requests tell must be taken by the
 * SET requests and be told again.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "fuzz.h"

#define VCPUS        3
#define RAM_SIZE     (256u << 10)
#define IDT_GPA      0x1000u
#define GDT_GPA      0x2000u
#define PAGES_GPA    0x3000u /* six pages: 4 GiB one to one */
#define CODE_GPA     0x10000u
#define COMMANDS_GPA 0x20000u /* a page a vCPU */
#define STACKS_GPA   0x30000u /* a page a vCPU, growing down from its end */
#define END_PORT     0xf4
#define COMMANDS_MAX 64
#define ROUNDS_MAX   6
#define ROUND_NS     200000 /* of guest time, then a kick */
#define IRQFDS       4
#define ROUTES_MAX   8
#define CPUID_MAX    256

#define APIC_BASE  0xfee00000ull
#define IOAPIC_GPA 0xfec00000ull

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800

/* What the guest does; in step with the table in the guest's code. */
enum command_kind {
	COMMAND_WRITE32,
	COMMAND_READ32,
	COMMAND_WRITE8,
	COMMAND_READ16,
	COMMAND_WRITE64,
	COMMAND_OUT8,
	COMMAND_IN8,
	COMMAND_OUT32,
	COMMAND_WRMSR,
	COMMAND_RDMSR,
	COMMAND_STI,
	COMMAND_CLI,
	COMMAND_HALT,
	COMMAND_CR8,
	COMMAND_ADD32, /* read, modify, write */
	COMMAND_PAUSE,
	COMMANDS,
};

struct command {
	uint32_t kind, value;
	uint64_t address; /* or port, or MSR; the value's upper half, too */
};

/*
 * The guest: RSI the next command, RBP the end, RSP its stack. Exceptions go on with the next
 * command, interrupts write EOI and return.
 */
__asm__(".pushsection .rodata\n"
        "	.code64\n"
        "guest_start:\n"
        "next:	cmp %rbp, %rsi\n"
        "	jae done\n"
        "	mov (%rsi), %ebx\n"
        "	mov 4(%rsi), %eax\n"
        "	mov 8(%rsi), %rdi\n"
        "	add $16, %rsi\n"
        "	mov %edi, %ecx\n"
        "	mov %rdi, %rdx\n"
        "	shr $32, %rdx\n"
        "	and $15, %ebx\n"
        "	lea table(%rip), %r8\n"
        "	movslq (%r8,%rbx,4), %rbx\n"
        "	add %r8, %rbx\n"
        "	jmp *%rbx\n"
        "write32: mov %eax, (%rdi); jmp next\n"
        "read32: mov (%rdi), %eax; jmp next\n"
        "write8: mov %al, (%rdi); jmp next\n"
        "read16: mov (%rdi), %ax; jmp next\n"
        "write64: mov %rax, (%rdi); jmp next\n"
        "out8:	mov %ecx, %edx; out %al, %dx; jmp next\n"
        "in8:	mov %ecx, %edx; in %dx, %al; jmp next\n"
        "out32:	mov %ecx, %edx; out %eax, %dx; jmp next\n"
        "wrmsr_: wrmsr; jmp next\n"
        "rdmsr_: rdmsr; jmp next\n"
        "sti_:	sti; jmp next\n"
        "cli_:	cli; jmp next\n"
        "halt:	sti; hlt; jmp next\n"
        "cr8:	mov %rax, %cr8; jmp next\n"
        "add32:	lock addl %eax, (%rdi); jmp next\n"
        "pause_: pause; pause; jmp next\n"
        "done:	cli\n"
        "	out %al, $0xf4\n"
        "	jmp done\n"
        "	.balign 4\n"
        "table:	.long write32 - table, read32 - table, write8 - table, read16 - table\n"
        "	.long write64 - table, out8 - table, in8 - table, out32 - table\n"
        "	.long wrmsr_ - table, rdmsr_ - table, sti_ - table, cli_ - table\n"
        "	.long halt - table, cr8 - table, add32 - table, pause_ - table\n"
        "guest_exception:\n"
        /* Back to the top of this vCPU's stack page. */
        "	dec %rsp\n"
        "	or $0xfff, %rsp\n"
        "	inc %rsp\n"
        "	jmp next\n"
        "guest_interrupt:\n"
        "	push %rax\n"
        "	mov $0xfee000b0, %eax\n"
        "	movl $0, (%rax)\n"
        "	pop %rax\n"
        "	iretq\n"
        "guest_end:\n"
        "	.popsection\n");

extern const uint8_t guest_start[], guest_exception[], guest_interrupt[], guest_end[];

static struct {
	int system, interpreter;
	size_t run_size;
	uint8_t *ram;
	struct kvm_cpuid2 *cpuid;
	timer_t timer;
	volatile int running_vcpu; /* in turns; -1: none */
} host = {.running_vcpu = -1};

struct vcpu {
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool is_done; /* atomic */
};

struct machine {
	int vm;
	struct vcpu vcpus[VCPUS];
	int irqfds[IRQFDS];
	bool is_split;
};

static void on_timer(int number)
{
	(void)number;
	if (host.running_vcpu >= 0)
		engine_kick(host.running_vcpu);
}

static void set_up_once(void)
{
	struct sigaction action = {.sa_handler = on_timer};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;

	if (host.ram)
		return;
	options.warmth = 0;
	options.code_cache_bytes = ENGINE_CODE_CACHE_MIN; /* made anew for each input */
	host.system = engine_open(&options);
	options.tier = ENGINE_TIER_INTERPRETER;
	host.interpreter = engine_open(&options);
	fuzz_check(host.system >= 0 && host.interpreter >= 0);
	host.run_size = engine_ioctl(host.system, KVM_GET_VCPU_MMAP_SIZE, NULL);
	host.cpuid = calloc(1, sizeof(*host.cpuid) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
	fuzz_check(host.cpuid);
	host.cpuid->nent = CPUID_MAX;
	fuzz_check(engine_ioctl(host.system, KVM_GET_SUPPORTED_CPUID, host.cpuid) == 0);
	host.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fuzz_check(host.ram != MAP_FAILED);
	sigaction(SIGRTMIN, &action, NULL);
	fuzz_check(timer_create(CLOCK_MONOTONIC, &event, &host.timer) == 0);
}

static void put(uint32_t gpa, uint64_t value)
{
	memcpy(host.ram + gpa, &value, sizeof(value));
}

static void fill_ram(void)
{
	uint32_t exception = CODE_GPA + (guest_exception - guest_start);
	uint32_t interrupt = CODE_GPA + (guest_interrupt - guest_start);
	uint32_t handler;

	memset(host.ram, 0, RAM_SIZE);
	memcpy(host.ram + CODE_GPA, guest_start, guest_end - guest_start);
	put(GDT_GPA + 8, 0x00af9b000000ffff);
	put(GDT_GPA + 16, 0x00cf93000000ffff);
	for (unsigned vector = 0; vector < 256; vector++) {
		handler = vector < 32 && vector != 2 ? exception : interrupt;
		put(IDT_GPA + vector * 16, (handler & 0xffff) | 1 << 19 | 0x8e00ull << 32 |
		                               (uint64_t)(handler >> 16) << 48);
	}
	put(PAGES_GPA, (PAGES_GPA + 0x1000) | 3);
	for (unsigned gib = 0; gib < 4; gib++) {
		put(PAGES_GPA + 0x1000 + gib * 8, (PAGES_GPA + 0x2000 + gib * 0x1000) | 3);
		for (unsigned i = 0; i < 512; i++)
			put(PAGES_GPA + 0x2000 + gib * 0x1000 + i * 8,
			    (uint64_t)gib << 30 | (uint64_t)i << 21 | 0x83);
	}
}

/* An address of the chips, mostly. */
static uint64_t take_gpa(struct fuzz_input *input)
{
	uint8_t choice = fuzz_u8(input), where = fuzz_u8(input);

	switch (choice % 8) {
	case 0: return IOAPIC_GPA;
	case 1: return IOAPIC_GPA + 0x10;
	case 2: return IOAPIC_GPA + where;
	case 3: return APIC_BASE + where * 16;
	case 4: return APIC_BASE + (where & 0x3f) * 16;
	case 5: return APIC_BASE + where;
	case 6: return APIC_BASE + 0x300 + (where & 0x0f) * 16;
	default: return APIC_BASE - 0x100000 + where * 0x1001;
	}
}

static uint32_t take_port(struct fuzz_input *input)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1,  0x40,  0x41,
	                                 0x42, 0x43, 0x61, 0x4d0, 0x4d1, 0x44};
	uint8_t choice = fuzz_u8(input);

	return ports[choice % (sizeof(ports) / sizeof(ports[0]))];
}

static uint32_t take_msr(struct fuzz_input *input)
{
	uint8_t choice = fuzz_u8(input);

	if (choice < 0xc0)
		return MSR_X2APIC + (choice & 0x3f);
	if (choice < 0xe0)
		return MSR_APIC_BASE;
	return choice < 0xf0 ? MSR_TSC_DEADLINE : 0x4b564d00 + (choice & 0xf);
}

static void take_command(struct fuzz_input *input, struct command *command)
{
	uint8_t choice = fuzz_u8(input);

	command->kind = choice % COMMANDS;
	command->value = choice & 0x80 ? fuzz_u32(input) : fuzz_u8(input);
	switch (command->kind) {
	case COMMAND_OUT8:
	case COMMAND_IN8:
	case COMMAND_OUT32: command->address = take_port(input); break;
	case COMMAND_WRMSR:
	case COMMAND_RDMSR:
		command->address = take_msr(input) | (uint64_t)fuzz_u8(input) << 32;
		if ((uint32_t)command->address == MSR_APIC_BASE)
			/* Enabled, x2APIC, bootstrap, and somewhere around the usual place. */
			command->value = (command->value & 0xd00) |
			                 (choice & 0x40 ? 0xfee00000 : command->value << 12);
		break;
	case COMMAND_CR8: command->value &= 0x1f; break;
	default: command->address = take_gpa(input); break;
	}
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool is_code)
{
	return (struct kvm_segment){
	    .limit = 0xffffffff,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .db = !is_code,
	    .s = 1,
	    .l = is_code,
	    .g = 1,
	};
}

/* The vCPU at the start of the program again, with what the chips keep as it is. */
static void start_vcpu(struct machine *machine, unsigned id, struct fuzz_input *input)
{
	struct vcpu *vcpu = &machine->vcpus[id];
	uint32_t commands = COMMANDS_GPA + id * 0x1000;
	unsigned count = fuzz_u8(input) % COMMANDS_MAX;
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events events = {0};
	struct kvm_regs regs = {
	    .rip = CODE_GPA,
	    .rsi = commands,
	    .rbp = commands + count * sizeof(struct command),
	    .rsp = STACKS_GPA + (id + 1) * 0x1000,
	    .rflags = 2,
	};
	struct kvm_sregs sregs;
	struct command command;

	for (unsigned i = 0; i < count; i++) {
		memset(&command, 0, sizeof(command));
		take_command(input, &command);
		memcpy(host.ram + commands + i * sizeof(command), &command, sizeof(command));
	}
	fuzz_check(engine_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0);
	sregs.cs = segment(8, 11, true);
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = segment(16, 3, false);
	sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	sregs.gdt = (struct kvm_dtable){.base = GDT_GPA, .limit = 0x17};
	sregs.idt = (struct kvm_dtable){.base = IDT_GPA, .limit = 0xfff};
	sregs.cr0 = 0x80000011;
	sregs.cr3 = PAGES_GPA;
	sregs.cr4 = 1 << 5;
	sregs.efer = 1 << 8 | 1 << 10;
	fuzz_check(engine_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) == 0);
	fuzz_check(engine_ioctl(vcpu->fd, KVM_SET_REGS, &regs) == 0);
	fuzz_check(engine_ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) == 0);
	if (!(fuzz_u8(input) & 0x80))
		fuzz_check(engine_ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) == 0);
	__atomic_store_n(&vcpu->is_done, false, __ATOMIC_RELAXED);
}

/* Until the program's end, a kick, or an exit that only lost programs bring about. */
static void *run_vcpu(void *argument)
{
	struct vcpu *vcpu = argument;
	struct kvm_run *run = vcpu->run;
	int result;

	for (unsigned exits = 0; exits < 4 * COMMANDS_MAX; exits++) {
		result = engine_ioctl(vcpu->fd, KVM_RUN, NULL);
		if (result < 0) {
			fuzz_check(result == -EINTR || result == -EAGAIN);
			break;
		}
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == END_PORT)
			break;
		if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_MMIO &&
		    run->exit_reason != KVM_EXIT_IOAPIC_EOI && run->exit_reason != KVM_EXIT_SET_TPR)
			break;
	}
	__atomic_store_n(&vcpu->is_done, true, __ATOMIC_RELEASE);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void set_routes(int vm, struct fuzz_input *input)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entries[ROUTES_MAX];
	} routes = {.header.nr = fuzz_u8(input) % (ROUTES_MAX + 1)};
	struct kvm_irq_routing_entry *entry;

	for (unsigned i = 0; i < routes.header.nr; i++) {
		entry = &routes.entries[i];
		entry->gsi = fuzz_u8(input) & 0x3f;
		entry->type = 1 + fuzz_u8(input) % 3;
		if (entry->type == KVM_IRQ_ROUTING_IRQCHIP) {
			entry->u.irqchip.irqchip = fuzz_u8(input) & 3;
			entry->u.irqchip.pin = fuzz_u8(input) & 0x1f;
		} else {
			entry->u.msi.address_lo = APIC_BASE | fuzz_u16(input) << 4;
			entry->u.msi.data = fuzz_u16(input);
		}
	}
	engine_ioctl(vm, KVM_SET_GSI_ROUTING, &routes);
}

static void change_irqfd(struct machine *machine, struct fuzz_input *input)
{
	uint8_t choice = fuzz_u8(input);
	struct kvm_irqfd irqfd = {
	    .fd = machine->irqfds[choice % IRQFDS],
	    .gsi = fuzz_u8(input) & 0x3f,
	    .flags = choice >> 4 & (KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE),
	    .resamplefd = machine->irqfds[(choice >> 2) % IRQFDS],
	};

	engine_ioctl(machine->vm, KVM_IRQFD, &irqfd);
}

/* Load what the input has over what is there: a hostile or just an odd state. */
static void damage(struct fuzz_input *input, void *state, size_t size)
{
	uint8_t count = fuzz_u8(input) & 7;

	while (count--) {
		uint16_t at = fuzz_u16(input);

		((uint8_t *)state)[at % size] = fuzz_u8(input);
	}
}

/* What any thread may do at any time. */
static void request_any_time(struct machine *machine, struct fuzz_input *input)
{
	struct kvm_irq_level line;
	struct kvm_msi msi;
	struct kvm_irqchip chip = {0};
	struct kvm_pit_state2 pit;
	struct kvm_reinject_control reinject = {0};
	uint64_t one = 1;
	uint8_t choice = fuzz_u8(input);

	switch (choice % 10) {
	case 0:
	case 1:
		line =
		    (struct kvm_irq_level){.irq = fuzz_u8(input) & 0x3f, .level = choice >> 4 & 1};
		engine_ioctl(machine->vm, choice & 0x80 ? KVM_IRQ_LINE_STATUS : KVM_IRQ_LINE,
		             &line);
		break;
	case 2:
		msi = (struct kvm_msi){.address_lo = APIC_BASE | fuzz_u16(input) << 4,
		                       .data = fuzz_u16(input)};
		engine_ioctl(machine->vm, KVM_SIGNAL_MSI, &msi);
		break;
	case 3: set_routes(machine->vm, input); break;
	case 4: change_irqfd(machine, input); break;
	case 5:
		if (write(machine->irqfds[choice / 10 % IRQFDS], &one, sizeof(one)) < 0)
			fuzz_check(errno == EAGAIN);
		break;
	case 6:
		chip.chip_id = fuzz_u8(input) & 3;
		if (engine_ioctl(machine->vm, KVM_GET_IRQCHIP, &chip) == 0) {
			damage(input, &chip.chip, sizeof(chip.chip));
			engine_ioctl(machine->vm, KVM_SET_IRQCHIP, &chip);
		}
		break;
	case 7:
		if (engine_ioctl(machine->vm, KVM_GET_PIT2, &pit) == 0) {
			damage(input, &pit, sizeof(pit));
			engine_ioctl(machine->vm, KVM_SET_PIT2, &pit);
		}
		break;
	case 8:
		reinject.pit_reinject = choice >> 4 & 1;
		engine_ioctl(machine->vm, KVM_REINJECT_CONTROL, &reinject);
		break;
	default: break;
	}
}

/* What is a vCPU's own, while it doesn't run. */
static void request_stopped(struct machine *machine, struct fuzz_input *input)
{
	uint8_t choice = fuzz_u8(input);
	int vcpu = machine->vcpus[choice % VCPUS].fd;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp = {.mp_state = fuzz_u8(input) % 6};

	switch (choice / VCPUS % 4) {
	case 0:
		if (engine_ioctl(vcpu, KVM_GET_LAPIC, &lapic) == 0) {
			damage(input, &lapic, sizeof(lapic));
			engine_ioctl(vcpu, KVM_SET_LAPIC, &lapic);
		}
		break;
	case 1: engine_ioctl(vcpu, KVM_NMI, NULL); break;
	case 2: engine_ioctl(vcpu, KVM_SET_MP_STATE, &mp); break;
	default: break;
	}
}

static void kick_and_join(struct machine *machine, uint64_t end_ns)
{
	struct timespec pause = {.tv_nsec = 20000};
	bool all_done = false;

	while (!all_done && now_ns() < end_ns) {
		nanosleep(&pause, NULL);
		all_done = true;
		for (unsigned i = 0; i < VCPUS; i++)
			all_done = all_done &&
			           __atomic_load_n(&machine->vcpus[i].is_done, __ATOMIC_ACQUIRE);
	}
	for (unsigned i = 0; i < VCPUS; i++) {
		if (!__atomic_load_n(&machine->vcpus[i].is_done, __ATOMIC_ACQUIRE))
			engine_kick(machine->vcpus[i].fd);
		pthread_join(machine->vcpus[i].thread, NULL);
		machine->vcpus[i].run->immediate_exit = 0;
	}
}

/* On this thread alone, with a timer's signal as the kick. */
static void run_in_turn(struct machine *machine)
{
	/* Repeating: a kick that comes just before KVM_RUN must not be the only one. */
	struct itimerspec armed = {.it_value.tv_nsec = ROUND_NS, .it_interval.tv_nsec = ROUND_NS};
	struct itimerspec stopped = {{0, 0}, {0, 0}};

	for (unsigned i = 0; i < VCPUS; i++) {
		host.running_vcpu = machine->vcpus[i].fd;
		timer_settime(host.timer, 0, &armed, NULL);
		run_vcpu(&machine->vcpus[i]);
		timer_settime(host.timer, 0, &stopped, NULL);
		host.running_vcpu = -1;
		machine->vcpus[i].run->immediate_exit = 0;
	}
}

static void play_round(struct machine *machine, bool is_parallel, struct fuzz_input *input)
{
	uint8_t before = fuzz_u8(input) & 7, during = fuzz_u8(input) & 15;

	for (unsigned i = 0; i < VCPUS; i++)
		start_vcpu(machine, i, input);
	while (before--) {
		request_any_time(machine, input);
		request_stopped(machine, input);
	}
	if (!is_parallel) {
		run_in_turn(machine);
		return;
	}
	for (unsigned i = 0; i < VCPUS; i++)
		fuzz_check(pthread_create(&machine->vcpus[i].thread, NULL, run_vcpu,
		                          &machine->vcpus[i]) == 0);
	while (during--)
		request_any_time(machine, input);
	/* Longer, as threads take a while to start; it is over when all have ended. */
	kick_and_join(machine, now_ns() + 5 * ROUND_NS);
}

/* What the GET requests tell, the SET requests must take. */
static void check_state(const struct machine *machine)
{
	struct kvm_irqchip chip;
	struct kvm_lapic_state lapic;
	struct kvm_pit_state2 pit;

	for (unsigned i = 0; i < VCPUS; i++) {
		fuzz_check(engine_ioctl(machine->vcpus[i].fd, KVM_GET_LAPIC, &lapic) == 0);
		fuzz_check(engine_ioctl(machine->vcpus[i].fd, KVM_SET_LAPIC, &lapic) == 0);
	}
	if (machine->is_split)
		return;
	for (unsigned id = 0; id < 3; id++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = id;
		fuzz_check(engine_ioctl(machine->vm, KVM_GET_IRQCHIP, &chip) == 0);
		fuzz_check(engine_ioctl(machine->vm, KVM_SET_IRQCHIP, &chip) == 0);
	}
	fuzz_check(engine_ioctl(machine->vm, KVM_GET_PIT2, &pit) == 0);
	fuzz_check(engine_ioctl(machine->vm, KVM_SET_PIT2, &pit) == 0);
}

static void machine_create(struct machine *machine, uint8_t shape)
{
	struct kvm_userspace_memory_region region = {
	    .memory_size = RAM_SIZE,
	    .userspace_addr = (uintptr_t)host.ram,
	};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct kvm_pit_config pit = {0};
	struct vcpu *vcpu;

	machine->vm = engine_ioctl(shape & 2 ? host.interpreter : host.system, KVM_CREATE_VM, NULL);
	fuzz_check(machine->vm >= 0);
	fuzz_check(engine_ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	machine->is_split = (shape & 12) == 12;
	if (machine->is_split) {
		fuzz_check(engine_ioctl(machine->vm, KVM_ENABLE_CAP, &split) == 0);
	} else {
		fuzz_check(engine_ioctl(machine->vm, KVM_CREATE_IRQCHIP, NULL) == 0);
		fuzz_check(engine_ioctl(machine->vm, KVM_CREATE_PIT2, &pit) == 0);
	}
	for (unsigned i = 0; i < VCPUS; i++) {
		vcpu = &machine->vcpus[i];
		vcpu->fd = engine_ioctl(machine->vm, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
		fuzz_check(vcpu->fd >= 0);
		vcpu->run =
		    mmap(NULL, host.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
		fuzz_check(vcpu->run != MAP_FAILED);
		fuzz_check(engine_ioctl(vcpu->fd, KVM_SET_CPUID2, host.cpuid) == 0);
	}
	for (unsigned i = 0; i < IRQFDS; i++) {
		machine->irqfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		fuzz_check(machine->irqfds[i] >= 0);
	}
}

static void machine_destroy(struct machine *machine)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		munmap(machine->vcpus[i].run, host.run_size);
		engine_close(machine->vcpus[i].fd);
	}
	engine_close(machine->vm);
	for (unsigned i = 0; i < IRQFDS; i++)
		close(machine->irqfds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct machine machine = {.vm = -1};
	uint8_t shape = fuzz_u8(&input);

	set_up_once();
	fill_ram();
	machine_create(&machine, shape);
	for (unsigned round = 0; input.size && round < ROUNDS_MAX; round++) {
		play_round(&machine, shape & 1, &input);
		check_state(&machine);
	}
	machine_destroy(&machine);
	return 0;
}
