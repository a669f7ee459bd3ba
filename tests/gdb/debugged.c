/*
 * A guest that is debugged: it goes round until the debugger says that it is enough, with an interrupt
 * handler in between, an INT3 of its own, and a single step of its own (none of these with PLAIN).
 */
#include "../machine/guest.h"

#define DEBUG_EXIT 0xf4

struct point {
	int x, y;
};

volatile unsigned long rounds, total, enough, breakpoints, steps;
volatile struct point here = {3, 4};
volatile double half = 0.5;

__attribute__((interrupt)) static void on_int3(struct frame *frame)
{
	(void)frame;
	breakpoints++;
}

struct pushed {
	unsigned long rip, cs, flags, rsp, ss;
};

__attribute__((interrupt)) static void on_debug(struct pushed *pushed)
{
	steps++;
	pushed->flags &= ~0x100ul;
}

__attribute__((noinline)) static unsigned long add(unsigned long a, unsigned long b)
{
	unsigned long sum = a + b;

	__asm__ volatile("" : "+r"(sum));
	return sum;
}

__attribute__((noinline)) void go_round(unsigned long n)
{
	total = add(total, n);
	rounds++;
#ifndef PLAIN
	__asm__ volatile("int3");
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop" : : : "memory", "cc");
#else
	breakpoints++;
	steps++;
#endif
}

void guest_main(void)
{
	set_gate(1, (void (*)(struct frame *))on_debug);
	set_gate(3, on_int3);
	enable_interrupts();
	while (!enough)
		go_round(rounds + 1);
	out8(DEBUG_EXIT, breakpoints == rounds && steps == rounds ? 20 : 21);
	for (;;)
		;
}
