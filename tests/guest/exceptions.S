/*
 * Exceptions in 32-bit protected mode without paging: vectors, error codes, faults against traps.
 * Each case prints the vector and the error code (dead where there is none).
 *
 * exits:
 *   hlt rax=10 rsp=7ff0
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000060
 *   out 0xf1 4: 0000000b
 *   out 0xf1 4: 00000048
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000202
 *   out 0xf1 4: 00000006
 *   out 0xf1 4: 0000dead
 *   out 0xf1 4: 00000003
 *   out 0xf1 4: 0000dead
 *   out 0xf1 4: 00000004
 *   out 0xf1 4: 0000dead
 *   out 0xf1 4: 00000005
 *   out 0xf1 4: 0000dead
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000dead
 *   hlt rsp=7ff0
 *   end
 */
#include "guest.h"
	enter_protected
	movzwl %ax, %eax
	hlt
	gate32 0, on_0
	gate32 3, on_3
	gate32 4, on_4
	gate32 5, on_5
	gate32 6, on_6
	gate32 11, on_11
	gate32 13, on_13
	/* A write through a code segment. */
	movl $1f, %ebp
	movl %eax, %cs:0x5000
1:	/* A selector past the table's end. */
	movl $1f, %ebp
	movl $0x60, %eax
	movw %ax, %es
1:	/* A data segment that is not present. */
	movl $0x0000ffff, gdt + 0x48
	movl $0x00cf1300, gdt + 0x4c
	movl $1f, %ebp
	movl $0x48, %eax
	movw %ax, %es
1:	/* An empty gate: the error code names the IDT entry. */
	movl $1f, %ebp
	int $0x40
1:	movl $1f, %ebp
	ud2
1:	movl $1f, %ebp
	int3
1:	movl $1f, %ebp
	movb $0x7f, %al
	addb $1, %al
	into
1:	movl $1f, %ebp
	movl $5, %eax
	bound %eax, bounds
1:	movl $1f, %ebp
	xorl %ecx, %ecx
	divl %ecx
1:	hlt
	end
bounds:
	.long 6, 8
	.irp vector, 0, 3, 4, 5, 6
on_\vector:
	pushl $0xdead
	movl $\vector, %eax
	jmp report
	.endr
on_11:	movl $11, %eax
	jmp report
on_13:	movl $13, %eax
report:	outl %eax, $PORT_PRINT
	popl %eax
	outl %eax, $PORT_PRINT
	movl %ebp, (%esp)
	iretl
	define_gdt
