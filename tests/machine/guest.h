/*
 * What guests in C with nothing below them share: their entry, a stack, ports and memory, interrupts.
 * 64-bit mode, 4 GiB mapped one to one, loaded at 1 MiB. Each includes it once.
 */
#ifndef KVIK_TESTS_MACHINE_GUEST_H
#define KVIK_TESTS_MACHINE_GUEST_H

#include <stdint.h>

#define LAPIC 0xfee00000ul

/* The loader jumps to the first byte. */
__asm__(".section .text.first, \"ax\"\n"
	"	lea stack_end(%rip), %rsp\n"
	"	xor %ebp, %ebp\n"
	"	jmp guest_main\n"
	".text");

__attribute__((aligned(16))) uint8_t stack[16384];
__asm__(".globl stack_end\n.set stack_end, stack + 16384");

void guest_main(void);

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t load32(uint64_t gpa)
{
	return *(volatile uint32_t *)gpa;
}

static inline void store32(uint64_t gpa, uint32_t value)
{
	*(volatile uint32_t *)gpa = value;
}

struct frame;

static __attribute__((aligned(16))) struct gate {
	uint16_t low, selector;
	uint8_t stack, type;
	uint16_t middle;
	uint32_t high, reserved;
} gates[256];

static void set_gate(uint8_t vector, void (*handler)(struct frame *))
{
	uint64_t address = (uint64_t)handler;
	uint16_t selector;

	__asm__("mov %%cs, %0" : "=r"(selector));
	gates[vector] = (struct gate){.low = address, .selector = selector, .type = 0x8e,
				      .middle = address >> 16, .high = address >> 32};
}

/* Let the CPU know the gates, and the local APIC deliver. */
static void enable_interrupts(void)
{
	struct {
		uint16_t limit;
		void *base;
	} __attribute__((packed)) table = {sizeof(gates) - 1, gates};

	__asm__ volatile("lidt %0" : : "m"(table));
	store32(LAPIC + 0xf0, 0x1ff);
}

#endif
