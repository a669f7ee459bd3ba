/*
 * The in-kernel interrupt controllers: the PIT through the PIC, then the local APIC's timer, each
 * waking the CPU from HLT; an IPI to itself; polling the PIC's registers.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 1: 20
 *   out 0xf1 1: 01
 *   out 0xf1 1: 40
 *   out 0xf1 1: 50
 *   out 0xf1 4: 00000000
 *   end
 */
#include "guest.h"
	enter_long
	/* The APIC's page, as a large page. */
	movl $0xa007, PAGES + 0x1000 + 8 * 3
	movl $0xfee00083, 0xa000 + 8 * 0x1f7
	gate64 0x20, on_pit
	gate64 0x40, on_timer
	gate64 0x50, on_ipi
	gate64 0xff, on_spurious
	/* PIC: vectors 20h and 28h, only IRQ 0 open. */
	movb $0x11, %al
	outb %al, $0x20
	outb %al, $0xa0
	movb $0x20, %al
	outb %al, $0x21
	movb $0x28, %al
	outb %al, $0xa1
	movb $4, %al
	outb %al, $0x21
	movb $2, %al
	outb %al, $0xa1
	movb $1, %al
	outb %al, $0x21
	outb %al, $0xa1
	movb $0xfe, %al
	outb %al, $0x21
	movb $0xff, %al
	outb %al, $0xa1
	/* PIT channel 0, one shot, about 1 ms. */
	movb $0x30, %al
	outb %al, $0x43
	movb $0xa9, %al
	outb %al, $0x40
	movb $0x04, %al
	outb %al, $0x40
	movl $0xfee00000, %ebp
	xorl %ebx, %ebx
1:	sti
	hlt
	cli
	testl %ebx, %ebx
	jz 1b
	/* The interrupt was acknowledged: nothing in service. */
	movb $0x0b, %al
	outb %al, $0x20
	inb $0x20, %al
	incb %al
	outb %al, $PORT_PRINT
	movb $0xff, %al
	outb %al, $0x21
	/* The local APIC's timer, divided by 1. */
	movl $0x1ff, 0xf0(%rbp)
	movl $0xb, 0x3e0(%rbp)
	movl $0x40, 0x320(%rbp)
	movl $100000, 0x380(%rbp)
	xorl %ebx, %ebx
1:	sti
	hlt
	cli
	testl %ebx, %ebx
	jz 1b
	/* Fixed delivery to itself. */
	movl $0x44050, 0x300(%rbp)
	xorl %ebx, %ebx
1:	sti
	nop
	nop
	cli
	testl %ebx, %ebx
	jz 1b
	movl 0x120(%rbp), %eax /* in service, vectors 40h-5fh */
	outl %eax, $PORT_PRINT
	end
on_pit:
	movb $0x20, %al
	outb %al, $PORT_PRINT
	outb %al, $0x20
	incl %ebx
	iretq
on_timer:
	movb $0x40, %al
	outb %al, $PORT_PRINT
	movl $0, 0xb0(%rbp)
	incl %ebx
	iretq
on_ipi:
	movb $0x50, %al
	outb %al, $PORT_PRINT
	movl $0, 0xb0(%rbp)
	incl %ebx
	iretq
on_spurious:
	iretq
	define_gdt
