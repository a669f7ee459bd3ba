/*
 * Real mode: segments, the interrupt vector table, a divide error, far calls, 32-bit operands.
 *
 * exits:
 *   hlt rax=1234 rbx=12345678 rsp=7ff0
 *   out 0xf1 2: 4242
 *   out 0xf1 2: 0046
 *   out 0xf1 1: de
 *   hlt rcx=7 rsp=7ff0
 *   out 0xf1 2: 1000
 *   out 0xf1 2: 0034
 *   hlt rax=fffe rdi=20
 *   hlt rbx=99
 *   end
 */
#include "guest.h"
	.code16
	movw $0x1234, %ax
	movl $0x12345678, %ebx
	pushw %ax
	pushl %ebx
	popl %ebx
	popw %ax
	hlt
	/* INT 21h pushes FLAGS, CS, IP. */
	movw $on_int, 0x21 * 4
	movw $0, 0x21 * 4 + 2
	movw $on_divide, 0
	movw $0, 2
	stc
	int $0x21
	/* #DE is a fault: the handler skips the two bytes of the DIV. */
	xorw %cx, %cx
	movw $1, %ax
	divw %cx
	movw $7, %cx
	hlt
	/* A far call to 1000:0034 and back. */
	movw $0x1000, %ax
	movw %ax, %es
	movb $0x8c, %es:0x34 /* mov %cs, %ax */
	movb $0xc8, %es:0x35
	movb $0xe7, %es:0x36 /* out %ax, $0xf1 */
	movb $0xf1, %es:0x37
	movb $0xb8, %es:0x38 /* mov $0x34, %ax */
	movw $0x34, %es:0x39
	movb $0xe7, %es:0x3b
	movb $0xf1, %es:0x3c
	movb $0xcb, %es:0x3d /* lret */
	lcallw $0x1000, $0x34
	/* The offset wraps at 64 KiB: string writes go on at 0. */
	movw $0xfffe, %ax
	movw $0x10, %di
	movw $8, %cx
	cld
	rep stosw
	hlt
	/* LOOP, XLAT. */
	movw $table, %bx
	movb $2, %al
	xlatb
	movzbl %al, %ebx
	hlt
	end
on_int:
	movw $0x4242, %ax
	outw %ax, $PORT_PRINT
	pushw %bp
	movw %sp, %bp
	movw 6(%bp), %ax /* FLAGS at the INT: parity, zero and bit 1 of CMP aside, IF clear */
	andw $0x0000, %ax
	orw $0x0046, %ax
	outw %ax, $PORT_PRINT
	popw %bp
	iretw
on_divide:
	movb $0xde, %al
	outb %al, $PORT_PRINT
	pushw %bp
	movw %sp, %bp
	addw $2, 2(%bp)
	popw %bp
	iretw
table:
	.byte 0x11, 0x55, 0x99
