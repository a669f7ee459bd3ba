/*
 * An instruction that reaches into the next page, in a warm loop: that page leads elsewhere, comes
 * and goes, and so does the instruction's first half; one that unmasks exceptions.
 *
 * exits:
 *   hlt rax=4000000
 *   hlt rax=14 rbx=3f
 *   hlt rax=2a rbx=2a rdx=51000
 *   hlt rax=1d rbx=1
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define HERE   0x50000
#define NEXT   0x51000 /* the page behind it */
#define OTHER  0x60000
	.macro map_next page
	movl $\page, LEVEL1 + (NEXT >> 12) * 8
	invlpg NEXT
	.endm
	enter_long
	gate64 14, on_page_fault
	gate64 16, on_math_fault
	movq %cr0, %rax
	orl $0x20, %eax            /* NE */
	movq %rax, %cr0

	/* 1. mov $imm32, %eax; ret: the constant's upper half is on either of two pages. */
	movl $0x0000b890, HERE + 0xffc
	movl $0x00c30100, NEXT
	movl $0x00c30300, OTHER
	xorl %ebp, %ebp
	movl $16, %ecx
1:	map_next OTHER | 7
	call HERE + 0xffd
	addl %eax, %ebp
	map_next NEXT | 7
	call HERE + 0xffd
	addl %eax, %ebp
	decl %ecx
	jnz 1b
	movl %ebp, %eax
	shrl $4, %eax
	hlt

	/* 2. Now mov $imm8, %al, which crosses nothing; nop; nop; nop; ret. */
	movl $0x0000b890, HERE + 0xffc
	movl $0x00c39090, NEXT
	xorl %ebp, %ebp
	xorl %ebx, %ebx
	movl $20, %ecx
2:	xorl %eax, %eax
	movb $0xb8, HERE + 0xffd
	movw $0x9003, HERE + 0xffe
	call HERE + 0xffd
	cmpl $0x90909003, %eax
	jne 3f
	incl %ebp
3:	xorl %eax, %eax
	movb $0xb0, HERE + 0xffd
	call HERE + 0xffd
	orl %eax, %ebx
	orl $0x3c, %ebx
	decl %ecx
	jnz 2b
	movl %ebp, %eax
	hlt

	/* 3. The second page is away each time: the fetch faults there. */
	movb $0xb8, HERE + 0xffd
	xorl %ebx, %ebx
	movl $42, %ebp
4:	map_next 0
	call HERE + 0xffd
	decl %ebp
	jnz 4b
	movl %ebx, %eax
	hlt

	/* 4. fldcw; fldz; fld1; fdivp; fwait; ret: with ZM clear in the last round. */
	movw $0x2cd9, HERE + 0xffd
	movb $0x25, HERE + 0xfff
	movl $control, NEXT
	movl $0xe8d9eed9, NEXT + 4
	movl $0x9bf1de90, NEXT + 8
	movl $0x90c3d8dd, NEXT + 12
	xorl %ebx, %ebx
	xorl %eax, %eax
	movl $30, %ecx
5:	fninit
	cmpl $1, %ecx
	jne 6f
	movw $0x37b, control
6:	call HERE + 0xffd
	incl %eax
7:	decl %ecx
	jnz 5b
	hlt
	end

on_page_fault:
	movq %cr2, %rdx
	cmpq $HERE + 0xffd, 8(%rsp)
	jne 8f
	cmpl $0x10, (%rsp)         /* a fetch, of a page that is not there */
	jne 8f
	incl %ebx
8:	map_next NEXT | 7
	addq $8, %rsp
	iretq
on_math_fault:
	incl %ebx
	fninit
	addq $48, %rsp             /* the frame and the return address */
	jmp 7b
control:
	.word 0x37f
	define_gdt
