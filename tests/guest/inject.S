/*
 * Interrupts from user space: KVM_INTERRUPT waits for the window (IF, the shadow of STI), an NMI
 * does not; a second NMI waits for IRET.
 *
 * exits:
 *   out 0xf2 1: 30
 *   out 0xf1 1: 01
 *   window
 *   out 0xf1 1: 30
 *   out 0xf1 1: 02
 *   out 0xf2 1: 00
 *   out 0xf1 1: 22
 *   out 0xf1 1: 03
 *   hlt rbx=2 rsp=7ff0
 *   end
 */
#include "guest.h"
	enter_long
	gate64 2, on_nmi
	gate64 0x30, on_interrupt
	xorl %ebx, %ebx
	movb $0x30, %al
	outb %al, $PORT_INJECT
	/* Interrupts are off: not yet. */
	movb $1, %al
	outb %al, $PORT_PRINT
	sti
	movl $1000000, %ecx
1:	testl %ebx, %ebx
	loopz 1b
	xorl %ecx, %ecx /* how long it took is not to be compared */
	cli
	xorl %ecx, %ecx
	movb $2, %al
	outb %al, $PORT_PRINT
	xorb %al, %al
	outb %al, $PORT_INJECT
	movb $3, %al
	outb %al, $PORT_PRINT
	hlt
	end
on_interrupt:
	pushq %rax
	movb $0x30, %al
	outb %al, $PORT_PRINT
	incl %ebx
	popq %rax
	iretq
on_nmi:
	pushq %rax
	movb $0x22, %al
	outb %al, $PORT_PRINT
	incl %ebx
	popq %rax
	iretq
	define_gdt
