/*
 * Interrupt controllers of both backends side by side: random register accesses by the guest and
 * random lines and MSIs from outside must read back the same, deliver the same vectors and leave the
 * same KVM_GET_IRQCHIP and KVM_GET_LAPIC states.
 *
 * usage: irqchip-differential [--seed=N] [--rounds=N]
 *
 * The guest is a small interpreter in 32-bit protected mode: each operation of its script reads or
 * writes a port or a word of memory, or opens a window for interrupts and notes the vector that came.
 * Left out is what the engine does by the data sheet and Linux does not: the PIC's poll and special
 * mask modes, an ICW1 with interrupts in service, illegal vectors; and whatever depends on time.
 * Exit status 77: one of the backends is not usable here.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kvm/kvm.h"

#define SKIPPED 77

#define RAM_BYTES 0x40000u
#define CODE      0x1000u
#define GDT       0x3000u
#define IDT       0x4000u
#define STUBS     0x5000u
#define STACK     0x8000u
#define SCRIPT    0x10000u
#define RESULTS   0x20000u
#define PORT_END  0xf0
#define PORT_IDLE 0xf1

#define LAPIC  0xfee00000u
#define IOAPIC 0xfec00000u

enum { OP_OUT, OP_IN, OP_STORE, OP_LOAD, OP_WINDOW, OP_END };

#define NO_INTERRUPT 0xffffffffu
#define OPERATIONS   120 /* of a segment, at most; some take several script entries */
#define ENTRIES_MAX  (OPERATIONS * 12 + 1)
#define SEGMENTS     6   /* of a round */

struct entry {
	uint32_t op, address, value;
};

/* ESI: script, EDI: results. An interrupt's stub leaves its vector in EAX. */
__asm__(".pushsection .rodata\n"
	".code32\n"
	"guest_code:\n"
	"	movl $0x8000, %esp\n"
	"	lidt idt_pointer - guest_code + 0x1000\n"
	"next:	lodsl\n"
	"	movl %eax, %ecx\n"
	"	lodsl\n"
	"	movl %eax, %edx\n"
	"	lodsl\n"
	"	cmpl $0, %ecx\n"
	"	je 0f\n"
	"	cmpl $1, %ecx\n"
	"	je 1f\n"
	"	cmpl $2, %ecx\n"
	"	je 2f\n"
	"	cmpl $3, %ecx\n"
	"	je 3f\n"
	"	cmpl $4, %ecx\n"
	"	je 4f\n"
	"	outb %al, $0xf0\n"
	"	jmp next\n"
	"0:	outb %al, %dx\n"
	"	jmp next\n"
	"1:	xorl %eax, %eax\n"
	"	inb %dx, %al\n"
	"	stosl\n"
	"	jmp next\n"
	"2:	movl %eax, (%edx)\n"
	"	jmp next\n"
	"3:	movl (%edx), %eax\n"
	"	stosl\n"
	"	jmp next\n"
	"4:	movl $-1, %eax\n"
	"	sti\n"
	"	nop\n"
	"	outb %al, $0xf1\n" /* a KVM without hardware may look at interrupts on entry only */
	"	nop\n"
	"	cli\n"
	"guest_noted:\n"
	"	stosl\n"
	"	movl $0x8000, %esp\n"
	"	jmp next\n"
	"idt_pointer:\n"
	"	.word 0x7ff\n"
	"	.long 0x4000\n"
	"guest_code_end:\n"
	".code64\n"
	".popsection\n");

extern const uint8_t guest_code[], guest_noted[], guest_code_end[];

struct side {
	const struct kvm_backend *backend;
	struct kvm_system system;
	struct kvm_vm vm;
	struct kvm_vcpu vcpu;
	uint8_t *ram;
};

static uint64_t random_state;
static bool opens_windows = true;

static uint32_t random_below(uint32_t limit)
{
	/* xorshift64* */
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 0x2545f4914f6cdd1dull >> 33) % limit;
}

static uint8_t random_vector(void)
{
	/* Few different ones, so that they meet. */
	return 0x20 + random_below(6) * 0x18 + random_below(3);
}

static void fail(const struct side *side, const char *what, int result)
{
	printf("%s: %s: %s\n", side->backend->name, what, strerror(-result));
	exit(1);
}

/* Interrupt gates to stubs of 16 bytes: mov $vector,%eax; jmp guest_noted. */
static void write_tables(uint8_t *ram)
{
	uint32_t noted = CODE + (guest_noted - guest_code), stub, vector;
	int32_t distance;
	static const uint64_t gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	uint64_t gate;

	memcpy(ram + GDT, gdt, sizeof(gdt));
	for (vector = 0; vector < 256; vector++) {
		stub = STUBS + vector * 16;
		ram[stub] = 0xb8;
		memcpy(ram + stub + 1, &vector, 4);
		ram[stub + 5] = 0xe9;
		distance = noted - (stub + 10);
		memcpy(ram + stub + 6, &distance, 4);
		gate = (stub & 0xffff) | 0x8ull << 16 | 0x8e00ull << 32;
		memcpy(ram + IDT + vector * 8, &gate, 8);
	}
}

static void set_flat(struct side *side)
{
	struct kvm_segment segment = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				      .s = 1, .db = 1, .g = 1};
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = STACK, .rsi = SCRIPT,
				.rdi = RESULTS};
	struct kvm_sregs sregs;
	int result;

	kvm_vcpu_ioctl(&side->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs = segment;
	segment.selector = 16;
	segment.type = 3;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 3 * 8 - 1;
	sregs.cr0 |= 1;
	result = kvm_vcpu_ioctl(&side->vcpu, KVM_SET_SREGS, &sregs);
	if (result == 0)
		result = kvm_vcpu_ioctl(&side->vcpu, KVM_SET_REGS, &regs);
	if (result < 0)
		fail(side, "setting the registers", result);
}

static void create(struct side *side)
{
	struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES};
	struct error error;
	int result;

	side->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	if (side->ram == MAP_FAILED)
		fail(side, "mmap", -errno);
	if (kvm_vm_create(&side->vm, &side->system, &error) < 0) {
		printf("%s\n", error.message);
		exit(1);
	}
	kvm_vm_ioctl(&side->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	result = kvm_vm_ioctl(&side->vm, KVM_CREATE_IRQCHIP, NULL);
	if (result < 0)
		fail(side, "KVM_CREATE_IRQCHIP", result);
	region.userspace_addr = (uintptr_t)side->ram;
	result = kvm_vm_ioctl(&side->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (result < 0)
		fail(side, "KVM_SET_USER_MEMORY_REGION", result);
	if (kvm_vcpu_create(&side->vcpu, &side->vm, 0, &error) < 0) {
		printf("%s\n", error.message);
		exit(1);
	}
	memcpy(side->ram + CODE, guest_code, guest_code_end - guest_code);
	write_tables(side->ram);
}

static void destroy(struct side *side)
{
	kvm_vcpu_close(&side->vcpu);
	kvm_vm_close(&side->vm);
	munmap(side->ram, RAM_BYTES);
}

/* -- making a script -- */

static struct entry script[ENTRIES_MAX];
static unsigned script_length;

static void add(uint32_t op, uint32_t address, uint32_t value)
{
	script[script_length++] = (struct entry){op, address, value};
}

static void add_lapic(unsigned offset, uint32_t value)
{
	add(OP_STORE, LAPIC + offset, value);
}

static void add_ioapic(unsigned index, uint32_t value)
{
	add(OP_STORE, IOAPIC, index);
	add(OP_STORE, IOAPIC + 0x10, value);
}

static void add_pic_initialization(uint16_t port)
{
	unsigned line;

	/* Linux's cascade follows at the next write of a mask only: no request may outlive ICW1. */
	add(OP_OUT, port == 0x20 ? 0x4d0 : 0x4d1, 0);
	for (line = 0; line < 8; line++)
		add(OP_OUT, port, 0x60 | line);
	add(OP_OUT, port, 0x11);
	add(OP_OUT, port + 1, random_vector() & 0xf8);
	add(OP_OUT, port + 1, port == 0x20 ? 4 : 2);
	add(OP_OUT, port + 1, 1 | random_below(2) << 1 | random_below(2) << 4);
	add(OP_OUT, port + 1, random_below(256) & random_below(256));
}

static void add_pic(void)
{
	static const uint8_t commands[] = {0x20, 0x20, 0x20, 0x60, 0xa0, 0xc0, 0xe0, 0x00, 0x80};
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	uint16_t port = random_below(2) ? 0x20 : 0xa0;

	switch (random_below(12)) {
	case 0:
		add_pic_initialization(port);
		break;
	case 1:
	case 2:
		add(OP_OUT, port + 1, random_below(256) & random_below(256));
		break;
	case 3:
		add(OP_OUT, 0x4d0 + random_below(2), random_below(256));
		break;
	case 4:
		add(OP_OUT, port, 0x0a + random_below(2));
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		add(OP_OUT, port, commands[random_below(sizeof(commands))] | random_below(8));
		break;
	default:
		add(OP_IN, ports[random_below(6)], 0);
		break;
	}
}

/* A level goes to an APIC that is there: Linux sets remote IRR even when nobody takes it. */
static void add_ioapic_access(void)
{
	unsigned pin = random_below(24), edge_only = random_below(2) << 8 | random_below(2) << 11;

	switch (random_below(5)) {
	case 0:
		add_ioapic(0x11 + 2 * pin, random_below(3) ? 0 : 0xff000000);
		break;
	case 1:
	case 2:
		add_ioapic(0x10 + 2 * pin, random_vector() | random_below(2) << 13 |
						   random_below(4) / 3 << 16 |
						   (random_below(2) ? 1 << 15 : edge_only));
		break;
	case 3:
		add_ioapic(0, random_below(16) << 24);
		break;
	default:
		add(OP_STORE, IOAPIC, random_below(0x44));
		add(OP_LOAD, IOAPIC + 0x10, 0);
		break;
	}
}

static void add_lapic_access(void)
{
	static const uint16_t readable[] = {0x020, 0x030, 0x080, 0x0a0, 0x0d0, 0x0e0, 0x0f0, 0x120,
					    0x130, 0x220, 0x1a0, 0x280, 0x300, 0x310, 0x320, 0x330,
					    0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0};
	static const uint32_t lint0[] = {0x700, 0x700, 0x10700, 0x10000};

	switch (random_below(16)) {
	case 0:
		add_lapic(0x080, random_below(4) ? 0 : random_below(256));
		break;
	case 1:
		add_lapic(0x0d0, random_below(256) << 24 | random_below(256));
		break;
	case 2:
		add_lapic(0x0e0, random_below(3) ? 0xffffffff : random_below(256));
		break;
	case 3:
		add_lapic(0x0f0, random_below(6) ? 0x1ff : 0xff);
		break;
	case 4:
		add_lapic(0x350, lint0[random_below(4)]);
		break;
	case 5: /* LINT1 and LVT error, which nothing raises */
		add_lapic(random_below(2) ? 0x360 : 0x370, random_vector() | random_below(2) << 16);
		break;
	case 6:
		add_lapic(0x310, random_below(3) << 24);
		break;
	case 7: /* fixed, to itself by shorthand, to all, or by destination */
	case 8:
		add_lapic(0x300, random_vector() | random_below(2) << 11 | 1 << 14 |
					 random_below(3) << 18);
		break;
	case 9:
		add_lapic(0x3e0, random_below(16));
		break;
	case 10:
	case 11:
	case 12:
		add_lapic(0x0b0, 0);
		break;
	default:
		add(OP_LOAD, LAPIC + readable[random_below(sizeof(readable) / 2)], 0);
		break;
	}
}

static void make_script(void)
{
	unsigned i, count = 1 + random_below(OPERATIONS);

	script_length = 0;
	for (i = 0; i < count; i++) {
		switch (random_below(4)) {
		case 0: add_pic(); break;
		case 1: add_ioapic_access(); break;
		case 2: add_lapic_access(); break;
		default:
			if (!opens_windows)
				break;
			add(OP_WINDOW, 0, 0);
			add(OP_LOAD, LAPIC + 0x0a0, 0);
			break;
		}
	}
	add(OP_END, 0, 0);
}

/* -- running and comparing -- */

static void run(struct side *side)
{
	const struct kvm_run *state = side->vcpu.run;
	int result;

	memset(side->ram + RESULTS, 0, ENTRIES_MAX * 4);
	memcpy(side->ram + SCRIPT, script, script_length * sizeof(script[0]));
	set_flat(side);
	do {
		result = kvm_vcpu_ioctl(&side->vcpu, KVM_RUN, NULL);
		if (result < 0)
			fail(side, "KVM_RUN", result);
	} while (state->exit_reason == KVM_EXIT_IO && state->io.port == PORT_IDLE);
	if (state->exit_reason != KVM_EXIT_IO || state->io.port != PORT_END) {
		printf("%s: exit %u instead of the script's end\n", side->backend->name,
		       state->exit_reason);
		exit(SKIPPED);
	}
}

static bool same_results(const struct side *sides)
{
	const uint32_t *a = (uint32_t *)(sides[0].ram + RESULTS);
	const uint32_t *b = (uint32_t *)(sides[1].ram + RESULTS);
	static const char *const names[] = {"out", "in", "store", "load", "window", "end"};
	unsigned i, result = 0, last;

	for (i = 0; i < script_length; i++) {
		if (script[i].op != OP_IN && script[i].op != OP_LOAD && script[i].op != OP_WINDOW)
			continue;
		if (a[result] != b[result])
			break;
		result++;
	}
	if (i == script_length)
		return true;
	printf("%s: %#x, %s: %#x, the last of\n", sides[0].backend->name, a[result],
	       sides[1].backend->name, b[result]);
	result = 0;
	for (last = i, i = 0; i <= last; i++) {
		printf("  %s %#x %#x", names[script[i].op], script[i].address, script[i].value);
		if (script[i].op == OP_IN || script[i].op == OP_LOAD || script[i].op == OP_WINDOW)
			printf(" -> %#x", a[result++]);
		printf("\n");
	}
	return false;
}

/* What is needed to understand a difference. */
static void print_states(const struct side *sides)
{
	struct kvm_irqchip chip;
	struct kvm_lapic_state lapic;
	unsigned i, id, offset;
	uint32_t value;

	for (i = 0; i < 2; i++) {
		printf("%s:\n", sides[i].backend->name);
		for (id = 0; id < 2; id++) {
			chip.chip_id = id;
			kvm_vm_ioctl(&sides[i].vm, KVM_GET_IRQCHIP, &chip);
			printf("  PIC %u: irr %02x last %02x imr %02x isr %02x elcr %02x base %02x "
			       "first %u auto %u\n",
			       id, chip.chip.pic.irr, chip.chip.pic.last_irr, chip.chip.pic.imr,
			       chip.chip.pic.isr, chip.chip.pic.elcr, chip.chip.pic.irq_base,
			       chip.chip.pic.priority_add, chip.chip.pic.auto_eoi);
		}
		kvm_vcpu_ioctl(&sides[i].vcpu, KVM_GET_LAPIC, &lapic);
		for (offset = 0; offset < 0x400; offset += 16) {
			memcpy(&value, lapic.regs + offset, 4);
			if (value)
				printf("  local APIC %03x: %08x\n", offset, value);
		}
	}
}

static bool same_bytes(const char *what, const void *left, const void *right, size_t size)
{
	const uint8_t *a = left, *b = right;
	size_t i;

	for (i = 0; i < size; i++)
		if (a[i] != b[i]) {
			printf("%s differs at byte %#zx: %#x, %#x\n", what, i, a[i], b[i]);
			return false;
		}
	return true;
}

static bool same_states(const struct side *sides)
{
	static const char *const names[] = {"master PIC", "slave PIC", "I/O APIC"};
	struct kvm_irqchip chips[2];
	struct kvm_lapic_state lapics[2];
	unsigned id, i;

	for (id = 0; id < 3; id++) {
		for (i = 0; i < 2; i++) {
			memset(&chips[i], 0, sizeof(chips[i]));
			chips[i].chip_id = id;
			kvm_vm_ioctl(&sides[i].vm, KVM_GET_IRQCHIP, &chips[i]);
		}
		if (!same_bytes(names[id], &chips[0].chip, &chips[1].chip,
				id < 2 ? sizeof(chips[0].chip.pic) : sizeof(chips[0].chip.ioapic)))
			return false;
	}
	for (i = 0; i < 2; i++)
		kvm_vcpu_ioctl(&sides[i].vcpu, KVM_GET_LAPIC, &lapics[i]);
	return same_bytes("local APIC", lapics[0].regs, lapics[1].regs, sizeof(lapics[0].regs));
}

/* Each backend's state, read and set again: nothing may change. */
static void save_and_restore(struct side *side)
{
	struct kvm_irqchip chip;
	struct kvm_lapic_state lapic;
	unsigned id;

	for (id = 0; id < 3; id++) {
		chip.chip_id = id;
		kvm_vm_ioctl(&side->vm, KVM_GET_IRQCHIP, &chip);
		kvm_vm_ioctl(&side->vm, KVM_SET_IRQCHIP, &chip);
	}
	kvm_vcpu_ioctl(&side->vcpu, KVM_GET_LAPIC, &lapic);
	kvm_vcpu_ioctl(&side->vcpu, KVM_SET_LAPIC, &lapic);
}

static bool outside_event(struct side *sides)
{
	struct kvm_irq_level line = {.irq = random_below(24), .level = random_below(3) != 0};
	struct kvm_msi msi = {
		.address_lo = LAPIC | (random_below(3) ? random_below(2) << 3 : 0xff000),
		.data = random_vector() | random_below(2) << 8 | random_below(2) << 15,
	};
	bool is_msi = random_below(4) == 0;
	int results[2];
	unsigned i;

	for (i = 0; i < 2; i++)
		results[i] = is_msi ? kvm_vm_ioctl(&sides[i].vm, KVM_SIGNAL_MSI, &msi)
				    : kvm_vm_ioctl(&sides[i].vm, KVM_IRQ_LINE, &line);
	if (results[0] == results[1])
		return true;
	if (is_msi)
		printf("KVM_SIGNAL_MSI %#x %#x: %d, %d\n", msi.address_lo, msi.data, results[0],
		       results[1]);
	else
		printf("KVM_IRQ_LINE %u %u: %d, %d\n", line.irq, line.level, results[0],
		       results[1]);
	return false;
}

static bool run_round(struct side *sides)
{
	unsigned segment, events, i;
	bool is_same = true;

	for (i = 0; i < 2; i++)
		create(&sides[i]);
	script_length = 0;
	add_lapic(0x0f0, 0x1ff);
	add_pic_initialization(0x20);
	add_pic_initialization(0xa0);
	add(OP_END, 0, 0);
	for (segment = 0; segment < SEGMENTS && is_same; segment++) {
		for (i = 0; i < 2; i++)
			run(&sides[i]);
		is_same = same_results(sides) && same_states(sides);
		for (events = random_below(12); events && is_same; events--)
			is_same = outside_event(sides);
		if (is_same && random_below(3) == 0)
			for (i = 0; i < 2; i++)
				save_and_restore(&sides[i]);
		is_same = is_same && same_states(sides);
		make_script();
	}
	if (!is_same)
		print_states(sides);
	for (i = 0; i < 2; i++)
		destroy(&sides[i]);
	return is_same;
}

/*
 * A /dev/kvm without hardware virtualization may deliver a vector without noting it as in service.
 * Then interrupts stay pending in this test, and everything else is compared.
 */
static void probe_delivery(struct side *side)
{
	const uint32_t *results;

	create(side);
	results = (uint32_t *)(side->ram + RESULTS);
	script_length = 0;
	add_lapic(0x0f0, 0x1ff);
	add_lapic(0x300, 0x44052);
	add(OP_WINDOW, 0, 0);
	add(OP_LOAD, LAPIC + 0x120, 0);
	add(OP_END, 0, 0);
	run(side);
	opens_windows = results[0] == 0x52 && results[1] == 1 << 18;
	if (!opens_windows)
		printf("%s does not keep delivered vectors in service: none are delivered\n",
		       side->backend->name);
	destroy(side);
}

int main(int argc, char **argv)
{
	struct side sides[2] = {{.backend = &kvm_backend_linux}, {.backend = &kvm_backend_engine}};
	unsigned long long seed = time(NULL), rounds = 100, round;
	struct error error;
	int i;

	for (i = 1; i < argc; i++)
		if (sscanf(argv[i], "--seed=%llu", &seed) != 1 &&
		    sscanf(argv[i], "--rounds=%llu", &rounds) != 1) {
			fprintf(stderr, "usage: irqchip-differential [--seed=N] [--rounds=N]\n");
			return 2;
		}
	for (i = 0; i < 2; i++)
		if (kvm_system_open(&sides[i].system, sides[i].backend, NULL, &error) < 0) {
			printf("%s\n", error.message);
			return SKIPPED;
		}
	probe_delivery(&sides[0]);
	for (round = 0; round < rounds; round++) {
		random_state = (seed + round) * 0x9e3779b97f4a7c15ull | 1;
		if (!run_round(sides)) {
			printf("run again with --seed=%llu --rounds=1\n", seed + round);
			return 1;
		}
	}
	printf("%llu rounds from seed %llu\n", rounds, seed);
	for (i = 0; i < 2; i++)
		kvm_system_close(&sides[i].system);
	return 0;
}
