/*
 * An instruction that reaches into the next page, in a warm loop: that page leads elsewhere, comes
 * and goes, and so does the instruction's first half; one that unmasks exceptions; one whose second half
 * is stored to, by other code and by itself; a page that loses its right; and a call, a return and a
 * conditional jump that are such instructions.
 *
 * exits:
 *   hlt rax=4000000
 *   hlt rax=14 rbx=3f
 *   hlt rax=2a rbx=2a rdx=51000
 *   hlt rax=1d rbx=1
 *   hlt rax=a2 rbx=1e
 *   hlt rax=100000 rbx=14
 *   hlt rax=0 rbx=14 rdx=51000
 *   hlt rax=14 rdx=14 rbx=14
 *   hlt rax=a rdx=a
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
	movl $0x10, %r12d          /* the expected error code: a fetch, of a page that is not there */

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

	/* 5. mov $imm32, %eax; add %eax, %ebp; ret: the constant's last byte is stored to in each round. */
	movl $0x0000b890, HERE + 0xffc
	movl $0xc5010000, NEXT
	movb $0xc3, NEXT + 4
	xorl %ebp, %ebp
	xorl %ebx, %ebx
	movl $30, %ecx
9:	movb %cl, NEXT + 1
	call HERE + 0xffd
	shrl $24, %eax
	cmpl %ecx, %eax
	jne 10f
	incl %ebx
10:	call HERE + 0xffd
	decl %ecx
	jnz 9b
	movl %ebp, %eax
	shrl $24, %eax             /* 1 to 30, twice, in 8 bits */
	hlt

	/* 6. addl $imm32, (%rdi); ret: it doubles its own constant. */
	movw $0x0781, HERE + 0xffe
	movl $1, NEXT
	movb $0xc3, NEXT + 4
	movl $NEXT, %edi
	movl $20, %ecx
	xorl %ebx, %ebx
11:	call HERE + 0xffe
	incl %ebx
	decl %ecx
	jnz 11b
	movl NEXT, %eax
	hlt

	/* 7. The second page is there, but not to be executed, in every third call. */
	movl $0x11, %r12d
	movl $0x0000b890, HERE + 0xffc
	movl $0x00c30000, NEXT
	xorl %ebx, %ebx
	movl $20, %ebp
12:	call HERE + 0xffd
	call HERE + 0xffd
	btsq $63, LEVEL1 + (NEXT >> 12) * 8
	invlpg NEXT
	call HERE + 0xffd
	decl %ebp
	jnz 12b
	hlt

	/* 8. A call to HERE + 100h: inc %edx; ret. Behind it, inc %eax, and a ret $0 that crosses. */
	movl $0xc3c2ff, HERE + 0x100
	movl $0xf0fee890, HERE + 0xffc
	movl $0xc0ffffff, NEXT
	movb $0xe9, NEXT + 4       /* jmp NEXT + ffe */
	movl $0xff5, NEXT + 5
	movw $0x00c2, NEXT + 0xffe
	movb $0, NEXT + 0x1000
	xorl %eax, %eax
	xorl %ebx, %ebx
	xorl %edx, %edx
	movl $20, %ecx
13:	call HERE + 0xffd
	incl %ebx
	decl %ecx
	jnz 13b
	hlt

	/* 9. jz HERE + 100h; inc %eax; ret: taken every second time. */
	movw $0x840f, HERE + 0xffe
	movl $0xfffff0fc, NEXT
	movl $0xc3c0ff, NEXT + 4
	xorl %eax, %eax
	xorl %edx, %edx
	movl $20, %ecx
14:	testb $1, %cl
	call HERE + 0xffe
	decl %ecx
	jnz 14b
	hlt
	end

on_page_fault:
	movq %cr2, %rdx
	cmpq $HERE + 0xffd, 8(%rsp)
	jne 8f
	cmpl %r12d, (%rsp)
	jne 8f
	incl %ebx
8:	movl $0, LEVEL1 + (NEXT >> 12) * 8 + 4
	map_next NEXT | 7
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
