/*
 * Loops whose lookups are hoisted: up and down through pages until one is missing, with FS's base, with an
 * index, with every register in use, with memory that each iteration changes, and with accesses
 * that are looked up each time, some of them at the end of a page.
 *
 * exits:
 *   hlt rsi=7ff800 rdi=54000
 *   hlt rsi=7ff800 rdi=4effc
 *   hlt rsi=7ff800 rcx=ffffffffffffffff
 *   hlt rbx=400000003ff800 rbp=1800 r8=800 r9=1ffc00 r11=1000 rcx=0 rdi=54000 rsi=64000
 *   hlt rbx=400000003ff800
 *   hlt rax=beb25c rbx=1fff rdx=12345678
 *   hlt rax=1f4 rbx=2bc
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define A      0x50000 /* four pages of 32-bit numbers: 0, 1, 2... */
#define B      0x60000
	enter_long
	gate64 14, on_page_fault
	movl $0, LEVEL1 + ((A - 0x1000) >> 12) * 8
	movl $0, LEVEL1 + ((A + 0x4000) >> 12) * 8
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %eax, %eax
1:	movl %eax, A(, %rax, 4)
	incl %eax
	cmpl $0x1000, %eax
	jne 1b

	/* Up. */
	movl $2f, %r15d
	movl $A, %edi
	xorl %esi, %esi
1:	movl (%rdi), %eax
	addl %eax, %esi
	addq $4, %rdi
	jmp 1b
2:	hlt

	/* Down, with a base. */
	movl $0xc0000100, %ecx
	movl $0x1000, %eax
	xorl %edx, %edx
	wrmsr
	movl $2f, %r15d
	movl $A + 0x2ffc, %edi
	xorl %esi, %esi
1:	movl %fs:(%rdi), %eax
	addl %eax, %esi
	subq $4, %rdi
	jmp 1b
2:	hlt

	/* Down, with an index. */
	movl $2f, %r15d
	movl $A - 4, %ebp
	movl $0xfff, %ecx
	xorl %esi, %esi
1:	movl 4(%rbp, %rcx, 4), %eax
	addl %eax, %esi
	decq %rcx
	jmp 1b
2:	hlt

	/* Only RSP is not used. */
	movl $A, %edi
	movl $B, %esi
	movl $0x800, %ecx
	movl $3, %edx
	xorl %ebx, %ebx
	xorl %ebp, %ebp
	xorl %r8d, %r8d
	xorl %r9d, %r9d
	movl $2, %r10d
	xorl %r11d, %r11d
	movl $1, %r12d
1:	movq (%rdi), %rax
	movq %rax, (%rsi)
	addq $8, %rdi
	addq $8, %rsi
	addq %rax, %rbx
	addq %rdx, %rbp
	addq %r8, %r9
	addq %r10, %r11
	addq %r12, %r8
	decl %ecx
	jnz 1b
	hlt
	xorl %ebx, %ebx
	movl $0x800, %ecx
1:	addq B - 8(, %rcx, 8), %rbx
	decq %rcx
	jnz 1b
	hlt

	/* The same memory in each iteration. */
	movl $3, %ecx
	movl $0x12345678, %r14d
4:	movq $0, B
	movq $0, B + 8
	movq $0, B + 16
	movl $1, %eax
1:	lock addq %rax, B
	orl %eax, B + 8
	xorq %r14, B + 16
	addq $1, %rax
	cmpq $5000, %rax
	jne 1b
	decl %ecx
	jnz 4b
	movq B, %rax
	movq B + 8, %rbx
	movq B + 16, %rdx
	hlt

	/* What RDX points to crosses pages every other time. */
	movl $200, %ecx
1:	movq $B + 0x100, A - 8(, %rcx, 8)
	decl %ecx
	movq $B + 0xff8, A - 8(, %rcx, 8)
	decl %ecx
	jnz 1b
	movq $5, B + 0x100
	movq $0, B + 0x108
	movq $7, B + 0xff8
	movq $0, B + 0x1000
	movl $A, %edi
	movl $200, %ecx
1:	movq (%rdi), %rdx
	addq $8, %rdi
	movq (%rdx), %rax
	addq %rax, 8(%rdx)
	decl %ecx
	jnz 1b
	movq B + 0x108, %rax
	movq B + 0x1000, %rbx
	hlt
	end

/* Dead flags are the translator's business. */
on_page_fault:
	addq $8, %rsp
	movq %r15, (%rsp)
	andl $~0x8d5, 16(%rsp)
	iretq
	define_gdt
