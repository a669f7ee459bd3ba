/*
 * A guest whose work depends on all that it did before, for tests of saving and loading
 * (tests/machine/saved): 64-bit mode, 4 GiB mapped one to one, loaded at 1 MiB. It prints lines on the
 * serial port, for ever:
 *
 *   NUMBER HASH TICKS TIME VECTOR
 *
 * HASH follows from NUMBER alone: it goes through a table in memory. TICKS counts interrupts of the
 * local APIC's periodic timer, TIME is "time" unless the time-stamp counter has gone back or jumped by
 * more than a minute, and VECTOR is "vector" as long as a vector register keeps its value (unless built
 * with NO_VECTOR: a /dev/kvm that emulates its guests' kernels knows few vector instructions, and is slow).
 */
#include <stdbool.h>
#include <stdint.h>

#include "guest.h"

#define SERIAL	0x3f8
#define VECTOR	0x40
#define TABLE	0x200000ul /* a MiB */
#define ENTRIES 131072
#ifndef TURNS
#define TURNS 200000 /* for each line */
#endif
#define MARK	0x0123456789abcdefull

static volatile uint64_t ticks;

static inline uint64_t time_stamp(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void put(char c)
{
	while (!(in8(SERIAL + 5) & 0x20))
		continue;
	out8(SERIAL, c);
}

static void print(const char *text)
{
	while (*text)
		put(*text++);
}

static void print_number(uint64_t value)
{
	int shift;

	for (shift = 60; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

__attribute__((interrupt)) static void tick(struct frame *frame)
{
	(void)frame;
	ticks++;
	store32(LAPIC + 0xb0, 0);
}

static void start_timer(void)
{
	set_gate(VECTOR, tick);
	enable_interrupts();
	store32(LAPIC + 0x3e0, 0xb); /* undivided */
	store32(LAPIC + 0x320, 0x20000 | VECTOR); /* periodic */
	store32(LAPIC + 0x380, 5000000);
	__asm__ volatile("sti");
}

#ifdef NO_VECTOR

static uint64_t vector;

static void load_vector(uint64_t value)
{
	vector = value;
}

static uint64_t stored_vector(void)
{
	return vector;
}

#else

static void load_vector(uint64_t value)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 0x600));
	__asm__ volatile("movq %0, %%xmm7" : : "r"(value));
}

static uint64_t stored_vector(void)
{
	uint64_t value;

	__asm__ volatile("movq %%xmm7, %0" : "=r"(value));
	return value;
}

#endif

void guest_main(void)
{
	uint64_t *table = (uint64_t *)TABLE, hash = 1, number, last = time_stamp(), now, i;

	for (i = 0; i < ENTRIES; i++)
		table[i] = i * 0x9e3779b97f4a7c15;
	load_vector(MARK);
	start_timer();
	for (number = 0;; number++) {
		for (i = 0; i < TURNS; i++) {
			hash = (hash ^ table[hash % ENTRIES]) * 0x100000001b3 + i;
			hash ^= hash >> 31;
			table[hash % ENTRIES] += hash;
		}
		now = time_stamp();
		print_number(number);
		put(' ');
		print_number(hash);
		put(' ');
		print_number(ticks);
		print(now < last || now - last > 600000000000 ? " jump" : " time");
		print(stored_vector() == MARK ? " vector\n" : " lost\n");
		last = now;
	}
}
