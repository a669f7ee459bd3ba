/*
 * 64-bit mode: exceptions and their frames, a non-canonical address, NX, CR2, the zero extension of
 * 32-bit results, RIP-relative operands, the direction of stack alignment in an interrupt.
 *
 * exits:
 *   hlt rax=ffffffff rbx=80000000 rcx=ffffffff80000000 rdx=123456789abcdef0
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000e
 *   out 0xf1 4: 00000002
 *   out 0xf1 4: 00200018
 *   out 0xf1 4: 0000000e
 *   out 0xf1 4: 00000011
 *   out 0xf1 4: 00009000
 *   out 0xf1 4: 00000006
 *   out 0xf1 4: 0000dead
 *   hlt rsp=7fe8 rax=0
 *   end
 */
#include "guest.h"
	enter_long
	gate64 6, on_6
	gate64 13, on_13
	gate64 14, on_14
	movq $-1, %rax
	movl %eax, %eax
	movq $-1, %rbx
	movl $0x80000000, %ebx
	movslq %ebx, %rcx
	movq value(%rip), %rdx
	hlt
	/* A stack that is off by eight: the CPU aligns it, IRETQ restores it. */
	movl $STACK - 8, %esp
	movl $1f, %ebp
	movabsq $0x800000000000, %rsi
	movl (%rsi), %eax
1:	movl $1f, %ebp
	movl $0x200018, %esi
	movl %eax, (%rsi)
1:	/* Execute from a page without the right: #PF with the fetch bit. */
	movl $0x80000000, PAGES + 0x3000 + 9 * 8 + 4
	movl $0x9000, %esi
	invlpg (%rsi)
	movl $1f, %ebp
	jmp *%rsi
1:	movl $1f, %ebp
	ud2
1:	xorl %eax, %eax
	hlt
	end
on_6:	pushq $0xdead
	movl $6, %eax
	outl %eax, $PORT_PRINT
	popq %rax
	outl %eax, $PORT_PRINT
	jmp back
on_13:	movl $13, %eax
	outl %eax, $PORT_PRINT
	popq %rax
	outl %eax, $PORT_PRINT
	jmp back
on_14:	movl $14, %eax
	outl %eax, $PORT_PRINT
	popq %rax
	outl %eax, $PORT_PRINT
	movq %cr2, %rax
	outl %eax, $PORT_PRINT
back:	movq %rbp, (%rsp)
	iretq
	.balign 8
value:
	.quad 0x123456789abcdef0
	define_gdt
