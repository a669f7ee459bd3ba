/*
 * STI in real mode: an interrupt that waits is taken after the instruction that follows STI, and
 * the return address says so; CLI right behind STI keeps it out.
 *
 * exits:
 *   out 0xf2 1: 30
 *   out 0xf1 1: 01
 *   window
 *   out 0xf1 2: 0000
 *   out 0xf1 1: 02
 *   hlt rbx=5 rsp=7ff0
 *   end
 */
#include "guest.h"
	.code16
	cli
	movw $STACK, %sp
	movw $on_interrupt, 0x30 * 4
	movw $0, 0x30 * 4 + 2
	movb $0x30, %al
	outb %al, $PORT_INJECT
	movb $1, %al
	outb %al, $PORT_PRINT
	xorw %bx, %bx
	/* Never open: the shadow covers CLI. */
	sti
	cli
	nop
	movb $5, %bl
	sti
	movb $2, %al /* still before the interrupt */
taken:	outb %al, $PORT_PRINT
	cli
	hlt
	end
on_interrupt:
	popw %cx
	pushw %cx
	pushw %ax
	movw %cx, %ax
	subw $taken, %ax
	outw %ax, $PORT_PRINT
	popw %ax
	iretw
