/*
 * One page of code at several addresses, each with another page behind it: what the code computes
 * from its own address, where its calls, returns and jumps lead, and the RIP that a fault pushes,
 * depend on where it runs. In one address space, in two, and with global pages.
 *
 * RAX counts what the code reads and runs in the page behind it, RBX adds up addresses, which the
 * guest then compares with a sum of its own.
 *
 * exits:
 *   hlt rax=157fc
 *   hlt rax=157fc
 *   hlt rax=157fc
 *   hlt rax=2aff8
 *   hlt rax=2aff8
 *   hlt rax=3c
 *   hlt rax=3c
 *   hlt rdx=0
 *   end
 */
#include "guest.h"
#define LEVEL1   PAGES + 0x3000
#define LEVEL3_B 0x50000 /* a second address space's tables: its first levels */
#define LEVEL4_B 0x51000
#define LEVEL2_B 0x52000
#define LEVEL1_B 0x53000
#define CODE    0x30000 /* the page */
#define ONE     0x31000 /* what is behind it at A */
#define TWO     0x32000 /* and at B */
#define A       0x100000
#define B       0x140000
#define C       0x180000 /* here the page itself */
#define VALUE   0x800
#define ROUNDS  20
	enter_long
	cld
	gate64 14, page_fault
	lidt idt_pointer

	movl $shared, %esi
	movl $CODE, %edi
	movl $shared_end - shared, %ecx
	rep movsb
	movl $behind, %esi
	movl $ONE, %edi
	movl $behind_end - behind, %ecx
	rep movsb
	movl $behind, %esi
	movl $TWO, %edi
	movl $behind_end - behind, %ecx
	rep movsb
	/* What is added: VALUE is read, the others are immediates of the code there. */
	movl $0x1, ONE + VALUE
	movl $0x10, TWO + VALUE
	movl $0x100, ONE + (add_called - behind) + 1
	movl $0x1000, TWO + (add_called - behind) + 1
	movl $0x2, ONE + (add_jumped - behind) + 1
	movl $0x20, TWO + (add_jumped - behind) + 1

	movl $CODE | 7, LEVEL1 + (A >> 12) * 8
	movl $ONE | 7, LEVEL1 + (A >> 12) * 8 + 8
	movl $CODE | 7, LEVEL1 + (B >> 12) * 8
	movl $TWO | 7, LEVEL1 + (B >> 12) * 8 + 8
	movl $CODE | 7, LEVEL1 + (C >> 12) * 8
	movl $CODE | 7, LEVEL1 + (C >> 12) * 8 + 8
	movl $ONE | 7, LEVEL1 + (C >> 12) * 8 + 16
	movl $0, LEVEL1 + (0x1e0000 >> 12) * 8 /* faults */
	/* The same memory from 2 GiB on. */
	movl $PAGES + 0x2007, PAGES + 0x1000 + 2 * 8
	/* The second address space: A and B change places. */
	movl $PAGES, %esi
	movl $LEVEL4_B, %edi
	movl $0x1000, %ecx
	rep movsb
	movl $PAGES + 0x1000, %esi
	movl $LEVEL3_B, %edi
	movl $0x1000, %ecx
	rep movsb
	movl $PAGES + 0x2000, %esi
	movl $LEVEL2_B, %edi
	movl $0x1000, %ecx
	rep movsb
	movl $LEVEL1, %esi
	movl $LEVEL1_B, %edi
	movl $0x1000, %ecx
	rep movsb
	movl $LEVEL3_B | 7, LEVEL4_B
	movl $LEVEL2_B | 7, LEVEL3_B
	movl $LEVEL2_B | 7, LEVEL3_B + 2 * 8
	movl $LEVEL1_B | 7, LEVEL2_B
	movl $TWO | 7, LEVEL1_B + (A >> 12) * 8 + 8
	movl $ONE | 7, LEVEL1_B + (B >> 12) * 8 + 8
	movq %cr3, %rax
	movq %rax, %cr3

	/* 1. Through a register, in turn. */
	call begin
1:	movl $A, %edx
	call *%rdx
	movl $B, %edx
	call *%rdx
	decl %ebp
	jnz 1b
	movl $A + B, %esi
	call compare
	hlt

	/* 2. Each for itself, warm before the other comes. */
	call begin
2:	movl $A, %edx
	call *%rdx
	decl %ebp
	jnz 2b
	movl $ROUNDS, %ebp
3:	movl $B, %edx
	call *%rdx
	decl %ebp
	jnz 3b
	movl $A + B, %esi
	call compare
	hlt

	/* 3. By calls that know their target. */
	call begin
4:	call A
	call B
	decl %ebp
	jnz 4b
	movl $A + B, %esi
	call compare
	hlt

	/* 4. In two address spaces. */
	call begin
5:	call A
	call B
	movl $LEVEL4_B, %edi
	movq %rdi, %cr3
	call A
	call B
	movl $PAGES, %edi
	movq %rdi, %cr3
	decl %ebp
	jnz 5b
	movl $(A + B) * 2, %esi
	call compare
	hlt

	/* 5. With global pages, whose links outlive a load of CR3. */
	movq %cr4, %rax
	orl $0x80, %eax
	movq %rax, %cr4
	orl $0x100, LEVEL1 + (A >> 12) * 8
	orl $0x100, LEVEL1 + (A >> 12) * 8 + 8
	orl $0x100, LEVEL1 + (B >> 12) * 8
	orl $0x100, LEVEL1 + (B >> 12) * 8 + 8
	movq %cr3, %rax
	movq %rax, %cr3
	call begin
6:	call A
	call B
	movq %cr3, %rdi
	movq %rdi, %cr3
	call A
	call B
	decl %ebp
	jnz 6b
	movl $(A + B) * 2, %esi
	call compare
	hlt

	/* 6. The page follows itself: a jump to the next page leads to the same code. */
	call begin
7:	movl $C + (follow - shared), %edx
	call *%rdx
	decl %ebp
	jnz 7b
	movl $C * 2 + 0x1000 + (follow - shared) * 2, %esi
	imull $ROUNDS, %esi, %esi
	subq %rsi, %rbx
	addl %ebx, %eax
	hlt

	/* 7. An operand 2 GiB away from its instruction. */
	call begin
8:	movl $A + (far - shared), %edx
	call *%rdx
	addl $10, %eax
	subl $9, %eax
	movl $B + (far - shared), %edx
	call *%rdx
	decl %ebp
	jnz 8b
	hlt

	/* 8. x87's instruction pointer. */
	fninit
	xorl %edx, %edx
	movl $ROUNDS, %ebp
9:	movl $A + (x87 - shared), %esi
	call *%rsi
	fnstenv 0x1f0000
	cmpl $A + (x87_last - shared), 0x1f000c
	setne %cl
	orb %cl, %dl
	movl $B + 0x1000, %esi
	invlpg (%rsi)              /* the access misses */
	fld1
	fstp %st
	movl $B + (x87 - shared), %esi
	call *%rsi
	fnstenv 0x1f0000
	cmpl $B + (x87_last - shared), 0x1f000c
	setne %cl
	orb %cl, %dl
	decl %ebp
	jnz 9b
	hlt
	end

begin:
	xorl %eax, %eax
	xorl %ebx, %ebx
	movl $ROUNDS, %ebp
	ret

/* Adds to RAX how far RBX is from what visits at addresses of sum ESI give in ROUNDS. */
compare:
	leaq (%rsi, %rsi, 2), %rsi
	movl $(returned - shared) + (fault - shared), %edx
	leal (, %edx, 2), %edx
	cmpl $(A + B) * 3, %esi
	je 1f
	addl %edx, %edx
1:	addq %rdx, %rsi
	imulq $ROUNDS, %rsi, %rsi
	subq %rsi, %rbx
	addq %rbx, %rax
	ret

page_fault:
	addq $8, %rsp
	addq (%rsp), %rbx
	addq $3, (%rsp)
	iretq

/* The page. */
	.balign 64
shared:
	addl behind_page + VALUE(%rip), %eax
	leaq shared(%rip), %rsi
	addq %rsi, %rbx
	call add_return
returned:
	call behind_page
	movl $0x1e0000, %r8d
fault:	movl (%r8), %ecx
	jmp behind_page + (jumped - behind)
back:	ret
add_return:
	addq (%rsp), %rbx
	ret
	.balign 128
follow:
	incl %eax
	leaq follow(%rip), %rsi
	addq %rsi, %rbx
	jmp follow + 0x1000
far:
	movl shared + 0x80000000(%rip), %ecx
	cmpl shared(%rip), %ecx
	jne far_wrong
	incl %eax
	ret
far_wrong:
	addl $0x1000, %eax
	ret
x87:
	fldl behind_page + VALUE(%rip)
	fld1
	fstp %st
x87_last:
	fstp %st
	ret
shared_end:

	.equ behind_page, shared + 0x1000
/* What is behind it. */
behind:
add_called:
	.byte 0x05 /* add $imm32, %eax */
	.long 0
	ret
	.balign 64
jumped:
add_jumped:
	.byte 0x05
	.long 0
	jmp behind - 0x1000 + (back - shared)
	.org behind + (follow - shared)
	incl %eax
	ret
behind_end:
	define_gdt
