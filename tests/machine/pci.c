/*
 * A guest without anything below it that finds pci-exercise (src/device/pci_exercise.c) and has it do
 * all that it can: tests/machine/pci runs it. 64-bit mode, 4 GiB mapped one to one, loaded at 1 MiB.
 * Prints a line for each thing on port 0xe9, "ok NAME" or "FAIL NAME VALUE", and ends by port 0xf4.
 *
 * Configuration space is reached by ports where they are, and by memory.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest.h"

#define ECAM   0xfeb00000ul
#define IOAPIC 0xfec00000ul

#define EXERCISE_ID 0x4b561234u /* device, vendor */
#define TESTDEV_ID  0x00051b36u

#define NEW_PORTS     0xd100
#define NEW_REGISTERS 0xd8000000u
#define NEW_MEMORY    0x280000000ul /* 10 GiB */

#define PIN_VECTOR  0x41
#define MSI_VECTOR  0x54 /* four of them */
#define MSIX_VECTOR 0x61
#define EVENTFD_VECTOR 0x62

static unsigned device; /* slot << 3 */
static bool has_ports;
static uint16_t ports;
static uint64_t registers, memory;
static uint8_t msi, msix;
static volatile unsigned interrupts;
static volatile uint8_t last_vector;

static void print(const char *text)
{
	while (*text)
		out8(0xe9, *text++);
}

static void print_number(uint64_t value)
{
	int shift;

	for (shift = 60; shift >= 0; shift -= 4)
		out8(0xe9, "0123456789abcdef"[value >> shift & 15]);
}

static __attribute__((noreturn)) void end(uint8_t status)
{
	out8(0xf4, status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void check(const char *name, uint64_t value, uint64_t expected)
{
	if (value == expected) {
		print("ok ");
		print(name);
	} else {
		print("FAIL ");
		print(name);
		print(" ");
		print_number(value);
	}
	print("\n");
}

/* --- configuration space --- */

static uint32_t read_by_ports(unsigned offset)
{
	out32(0xcf8, 0x80000000 | device << 8 | (offset & 0xfc));
	return in32(0xcfc);
}

static uint32_t read_by_memory(unsigned offset)
{
	return load32(ECAM + (device << 12) + (offset & 0xffc));
}

static uint32_t get(unsigned offset)
{
	return has_ports ? read_by_ports(offset) : read_by_memory(offset);
}

static void set(unsigned offset, uint32_t value)
{
	if (has_ports) {
		out32(0xcf8, 0x80000000 | device << 8 | (offset & 0xfc));
		out32(0xcfc, value);
	} else {
		store32(ECAM + (device << 12) + offset, value);
	}
}

static void set16(unsigned offset, uint16_t value)
{
	if (has_ports) {
		out32(0xcf8, 0x80000000 | device << 8 | (offset & 0xfc));
		out16(0xcfc + (offset & 2), value);
	} else {
		*(volatile uint16_t *)(ECAM + (device << 12) + offset) = value;
	}
}

static uint16_t get16(unsigned offset)
{
	return get(offset) >> (8 * (offset & 2));
}

static void set_command(uint16_t command)
{
	set16(0x04, command);
}

static uint8_t capability(uint8_t id)
{
	uint8_t at = get(0x34);

	while (at && (uint8_t)get(at) != id)
		at = get(at) >> 8;
	return at;
}

static bool find_device(uint32_t id)
{
	out32(0xcf8, 0x80000000);
	has_ports = in32(0xcf8) == 0x80000000;
	for (device = 0; device < 256; device += 8)
		if (get(0) == id)
			return true;
	return false;
}

static uint64_t size_of(unsigned bar, bool is_64)
{
	uint32_t low = get(0x10 + bar * 4), high = 0;
	uint64_t mask;

	set(0x10 + bar * 4, 0xffffffff);
	mask = get(0x10 + bar * 4) & (low & 1 ? ~3u : ~15u);
	set(0x10 + bar * 4, low);
	if (!is_64)
		return (uint32_t)~mask + 1;
	high = get(0x14 + bar * 4);
	set(0x14 + bar * 4, 0xffffffff);
	mask |= (uint64_t)get(0x14 + bar * 4) << 32;
	set(0x14 + bar * 4, high);
	return ~mask + 1;
}

static void test_configuration(void)
{
	unsigned offset;
	bool is_same = true;

	for (offset = 0; offset < 256 && has_ports; offset += 4)
		is_same = is_same && read_by_ports(offset) == read_by_memory(offset);
	check("both ways to configuration space show the same", is_same, true);
	check("nothing beyond 256 bytes", read_by_memory(0x100), 0xffffffff);
	msi = capability(0x05);
	msix = capability(0x11);
	check("MSI has 4 vectors", get16(msi + 2), 0x0184);
	check("MSI-X has 8 vectors", get16(msix + 2), 7);
	check("MSI-X table", get(msix + 4), 0x1001);
	check("vendor's capability", get(capability(0x09) + 4), 0x74736574);
	check("firmware gave all BARs an address and switched them on",
	      (get(0x10) & ~3) && (get(0x14) & ~15) && ((get(0x18) & ~15) | get(0x1c)) &&
		      (get16(0x04) & 3) == 3,
	      true);
	set_command(0);
	check("size of BAR 0", size_of(0, false), 0x20);
	check("size of BAR 1", size_of(1, false), 0x2000);
	check("size of BAR 2", size_of(2, true), 0x10000);
	check("BAR 2 is 64 bits wide and prefetchable", get(0x18) & 15, 0xc);
	set_command(7);
	ports = get(0x10) & ~3;
	registers = get(0x14) & ~15;
	memory = (get(0x18) & ~15u) | (uint64_t)get(0x1c) << 32;
}

/* --- windows --- */

/* Map 2 MiB at `gpa` (below 512 GiB) where the loader's tables end. */
static void map(uint64_t gpa)
{
	static __attribute__((aligned(4096))) uint64_t directory[512];
	uint64_t cr3, *level4, *level3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	level4 = (uint64_t *)(cr3 & ~0xffful);
	level3 = (uint64_t *)(level4[0] & ~0xffful);
	directory[gpa >> 21 & 511] = gpa | 0x93; /* present, writable, not cached, 2 MiB */
	level3[gpa >> 30 & 511] = (uint64_t)directory | 3;
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

static void test_windows(void)
{
	uint64_t old_registers = registers;
	uint16_t old_ports = ports;

	check("registers by port", in32(ports), 0x4b49564b);
	check("registers by memory", load32(registers), 0x4b49564b);
	out32(ports + 4, 0x12345678);
	check("the same registers", load32(registers + 4), 0x12345678);
	if (memory >> 32)
		map(memory);
	*(volatile uint64_t *)(memory + 0xfff8) = 0x1122334455667788;
	check("memory", *(volatile uint32_t *)(memory + 0xfffc), 0x11223344);
	/* Moved while they decode. */
	set(0x10, NEW_PORTS);
	set(0x14, NEW_REGISTERS);
	set(0x18, (uint32_t)NEW_MEMORY);
	set(0x1c, NEW_MEMORY >> 32);
	map(NEW_MEMORY);
	check("nothing at the old ports", in16(old_ports + 4), 0xffff);
	check("nothing at the old registers", load32(old_registers + 4), 0xffffffff);
	check("moved ports", in32(NEW_PORTS + 4), 0x12345678);
	check("moved registers", load32(NEW_REGISTERS + 4), 0x12345678);
	check("memory moved above 4 GiB", *(volatile uint64_t *)(NEW_MEMORY + 0xfff8),
	      0x1122334455667788);
	set_command(6);
	check("I/O decoding off", in16(NEW_PORTS + 4), 0xffff);
	check("memory decoding still on", load32(NEW_REGISTERS + 4), 0x12345678);
	set_command(7);
	ports = NEW_PORTS;
	registers = NEW_REGISTERS;
	memory = NEW_MEMORY;
}

/* --- interrupts --- */

static void took(uint8_t vector)
{
	interrupts++;
	last_vector = vector;
	store32(LAPIC + 0xb0, 0);
}

__attribute__((interrupt)) static void pin_handler(struct frame *frame)
{
	(void)frame;
	/* The device's pin first, so that the level doesn't come again. */
	store32(registers + 0x0c, 0);
	took(PIN_VECTOR);
}

#define HANDLER(name, vector)                                                                      \
	__attribute__((interrupt)) static void name(struct frame *frame)                           \
	{                                                                                          \
		(void)frame;                                                                       \
		took(vector);                                                                      \
	}

HANDLER(msi_handler0, MSI_VECTOR)
HANDLER(msi_handler1, MSI_VECTOR + 1)
HANDLER(msi_handler2, MSI_VECTOR + 2)
HANDLER(msi_handler3, MSI_VECTOR + 3)
HANDLER(msix_handler, MSIX_VECTOR)
HANDLER(eventfd_handler, EVENTFD_VECTOR)

static void set_up_interrupts(void)
{
	set_gate(PIN_VECTOR, pin_handler);
	set_gate(MSI_VECTOR, msi_handler0);
	set_gate(MSI_VECTOR + 1, msi_handler1);
	set_gate(MSI_VECTOR + 2, msi_handler2);
	set_gate(MSI_VECTOR + 3, msi_handler3);
	set_gate(MSIX_VECTOR, msix_handler);
	set_gate(EVENTFD_VECTOR, eventfd_handler);
	enable_interrupts();
}

/* Let interrupts in until one came or time is up; how many came. */
static unsigned wait_turns(unsigned limit)
{
	unsigned before = interrupts, turns;

	__asm__ volatile("sti");
	for (turns = 0; turns < limit && interrupts == before; turns++)
		__asm__ volatile("pause");
	/* And another one, if there is one too many. */
	for (turns = 0; turns < 1000; turns++)
		__asm__ volatile("pause");
	__asm__ volatile("cli");
	return interrupts - before;
}

static unsigned wait(void)
{
	return wait_turns(200000);
}

/* One that comes by way of another thread of the monitor, which may have to be scheduled first. */
static unsigned wait_long(void)
{
	return wait_turns(2000000000);
}

/* Route an I/O APIC pin, level-triggered, to this CPU. */
static void route(unsigned pin, uint32_t low)
{
	store32(IOAPIC, 0x11 + pin * 2);
	store32(IOAPIC + 0x10, 0);
	store32(IOAPIC, 0x10 + pin * 2);
	store32(IOAPIC + 0x10, low);
}

/* Raise the pin and say how many interrupts came. */
static unsigned raise_pin(void)
{
	store32(registers + 0x0c, 1);
	return wait();
}

static void test_pin(void)
{
	/* A PC tells the line; without one the links have the four pins after the ISA's. */
	unsigned line = get(0x3c) & 0xff;

	check("interrupt pin", get(0x3c) >> 8 & 0xff, 1);
	route(line, 0x8000 | PIN_VECTOR);
	check("INTx", raise_pin(), 1);
	check("INTx again", raise_pin(), 1);
	set_command(0x407);
	check("INTx disabled", raise_pin(), 0);
	check("its status", get16(0x06) & 8, 8);
	set_command(7);
	check("INTx enabled", wait(), 1);
	check("its status again", get16(0x06) & 8, 0);
	if (has_ports) {
		/* The PIIX routes the device's link elsewhere: IRQ 5. */
		unsigned link = ((device >> 3) + 3) & 3, ours = device, shift = 8 * link;
		uint32_t old;

		device = 8;
		old = get(0x60);
		set(0x60, (old & ~(0xffu << shift)) | 5u << shift);
		device = ours;
		route(5, 0x8000 | PIN_VECTOR);
		route(line, 0x10000);
		check("INTx routed to IRQ 5", raise_pin(), 1);
		device = 8;
		set(0x60, old);
		device = ours;
		route(5, 0x10000);
	}
	route(line, 0x10000);
}

static unsigned notify(unsigned vector)
{
	store32(registers + 0x08, vector);
	return wait();
}

static void test_msi(void)
{
	set(msi + 4, 0xfee00000);
	set(msi + 8, 0);
	set16(msi + 12, MSI_VECTOR);
	check("MSI is off", notify(0), 0);
	set16(msi + 2, 0x21); /* on, four vectors */
	check("MSI", notify(2), 1);
	check("its vector", last_vector, MSI_VECTOR + 2);
	set(msi + 16, 0x8);
	check("MSI masked", notify(3), 0);
	check("pending", get(msi + 20), 0x8);
	set(msi + 16, 0);
	check("MSI unmasked", wait(), 1);
	check("the pending vector", last_vector, MSI_VECTOR + 3);
	set_command(3);
	check("MSI without the right to be master", notify(1), 0);
	set_command(7);
	set16(msi + 2, 0);
}

static void test_msix(void)
{
	uint64_t entry = registers + 0x1000 + 5 * 16;

	store32(entry, 0xfee00000);
	store32(entry + 4, 0);
	store32(entry + 8, MSIX_VECTOR);
	set16(msix + 2, 0x8000);
	check("MSI-X masked", notify(5), 0);
	check("MSI-X pending", load32(registers + 0x1800), 1 << 5);
	store32(entry + 12, 0);
	check("MSI-X unmasked", wait(), 1);
	check("MSI-X nothing pending", load32(registers + 0x1800), 0);
	check("MSI-X", notify(5), 1);
	check("its MSI-X vector", last_vector, MSIX_VECTOR);
	set16(msix + 2, 0xc000);
	check("MSI-X function masked", notify(5), 0);
	set16(msix + 2, 0x8000);
	check("MSI-X function unmasked", wait(), 1);
	check("another MSI-X vector is masked", notify(4), 0);
	store32(registers + 0x0c, 1);
	check("INTx while MSI-X is on", wait(), 0);
	store32(registers + 0x0c, 0);
	set16(msix + 2, 0);
}

/* Signal an eventfd of the function, which sends the vector with its own number at first. */
static void signal_eventfd(unsigned eventfd)
{
	store32(registers + 0x08, 0x80000000 | eventfd << 16);
}

static bool is_pending(unsigned vector)
{
	return load32(registers + 0x1800) >> vector & 1;
}

static void test_eventfds(void)
{
	uint64_t entry = registers + 0x1000 + 6 * 16;

	store32(entry, 0xfee00000);
	store32(entry + 4, 0);
	store32(entry + 8, EVENTFD_VECTOR);
	signal_eventfd(6);
	check("eventfd while MSI-X is off", wait(), 0);
	set16(msix + 2, 0x8000);
	check("what is lost is not pending", is_pending(6), false);
	signal_eventfd(6);
	check("eventfd masked", wait(), 0);
	store32(entry + 12, 0);
	check("eventfd unmasked", wait_long(), 1);
	check("its eventfd vector", last_vector, EVENTFD_VECTOR);
	signal_eventfd(6);
	check("eventfd", wait_long(), 1);
	store32(entry + 12, 1);
	signal_eventfd(6);
	check("eventfd masked again", wait(), 0);
	check("eventfd pending", is_pending(6), true);
	store32(entry + 12, 0);
	check("eventfd unmasked again", wait_long(), 1);
	check("nothing pending", is_pending(6), false);
	set16(msix + 2, 0xc000);
	signal_eventfd(6);
	check("eventfd of a masked function", wait(), 0);
	set16(msix + 2, 0x8000);
	check("eventfd of an unmasked function", wait_long(), 1);
	/* Another message while it is open; another vector. */
	store32(entry + 8, MSIX_VECTOR);
	signal_eventfd(6);
	check("eventfd with another message", wait_long(), 1);
	check("the other message", last_vector, MSIX_VECTOR);
	store32(registers + 0x08, 0xc0020006);
	signal_eventfd(2);
	check("a second eventfd for the vector", wait_long(), 1);
	store32(registers + 0x08, 0xc0020002);
	signal_eventfd(2);
	check("that vector is masked", wait(), 0);
	set_command(3);
	signal_eventfd(6);
	check("eventfd without the right to be master", wait(), 0);
	set_command(7);
	check("nor is it sent later", wait(), 0);
	set16(msix + 2, 0);
	/* MSI. */
	set(msi + 4, 0xfee00000);
	set(msi + 8, 0);
	set16(msi + 12, MSI_VECTOR);
	set(msi + 16, 0);
	set16(msi + 2, 0x21);
	signal_eventfd(1);
	check("MSI by eventfd", wait_long(), 1);
	check("its MSI vector", last_vector, MSI_VECTOR + 1);
	set(msi + 16, 0x2);
	signal_eventfd(1);
	check("MSI by eventfd masked", wait(), 0);
	check("MSI by eventfd pending", get(msi + 20), 0x2);
	set(msi + 16, 0);
	check("MSI by eventfd unmasked", wait_long(), 1);
	set16(msi + 2, 0);
}

static void test_dma(void)
{
	static uint64_t source[8], target[8];
	unsigned i;
	bool is_same = true;

	for (i = 0; i < 8; i++)
		source[i] = 0x0101010101010101 * (i + 1);
	store32(registers + 0x10, (uint32_t)(uint64_t)source);
	store32(registers + 0x14, (uint64_t)source >> 32);
	store32(registers + 0x18, sizeof(source));
	store32(registers + 0x1c, 1);
	check("DMA from memory", load32(registers + 0x1c), 0);
	check("the device has it", *(volatile uint64_t *)(memory + 56), 0x0808080808080808);
	store32(registers + 0x10, (uint32_t)(uint64_t)target);
	store32(registers + 0x1c, 2);
	for (i = 0; i < 8; i++)
		is_same = is_same && *(volatile uint64_t *)&target[i] == source[i];
	check("DMA to memory", is_same, true);
	store32(registers + 0x14, 0xffffffff);
	store32(registers + 0x1c, 2);
	check("DMA to nowhere", load32(registers + 0x1c), 14);
}

/* What pci-testdev counts of 16 writes, as it asks for them; and one byte that it doesn't. */
static uint32_t count_writes(uint64_t header, uint8_t test)
{
	unsigned i;

	*(volatile uint8_t *)header = test;
	for (i = 0; i < 16; i++)
		*(volatile uint8_t *)(header + load32(header + 4)) = load32(header + 8);
	*(volatile uint8_t *)(header + load32(header + 4)) = 0;
	return load32(header + 12);
}

static void test_testdev(void)
{
	uint64_t header;

	if (!find_device(TESTDEV_ID)) {
		check("there is a pci-testdev", false, true);
		return;
	}
	header = get(0x10) & ~15;
	check("counted by the device", count_writes(header, 0), 16);
	check("its name", load32(header + 16), 0x6f696d6d); /* "mmio" */
	check("taken by an eventfd", count_writes(header, 1), 0);
	check("taken by an eventfd when they match", count_writes(header, 2), 0);
	set(0x10, NEW_REGISTERS + 0x100000);
	header = NEW_REGISTERS + 0x100000;
	*(volatile uint8_t *)(header + load32(header + 4)) = load32(header + 8);
	check("the eventfd moves with the BAR", load32(header + 12), 0);
	*(volatile uint8_t *)header = 3;
	check("there are three tests", load32(header + 8), 0);
	header = get(0x14) & ~3;
	out8(header, 0);
	out8(header + in32(header + 4), in32(header + 8));
	check("counted by port", in32(header + 12), 1);
	out8(header, 2);
	out8(header + in32(header + 4), in32(header + 8));
	check("taken by an eventfd of ports", in32(header + 12), 0);
}

void guest_main(void)
{
	if (!find_device(EXERCISE_ID)) {
		print("FAIL there is no pci-exercise\n");
		end(1);
	}
	print(has_ports ? "ports and memory\n" : "memory alone\n");
	test_configuration();
	test_windows();
	set_up_interrupts();
	test_pin();
	test_msi();
	test_msix();
	test_eventfds();
	test_dma();
	test_testdev();
	print("end\n");
	end(0);
}
