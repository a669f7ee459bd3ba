/*
 * Accesses to the first and the last page of the address space, and over its end, with no memory
 * there: each must fault, translated or not, with the flags live across it or not.
 *
 * exits:
 *   hlt rsi=460 r8=0
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
	enter_long
	gate64 14, on_page_fault
	movl $0, LEVEL1 /* what is at 0 now */
	invlpg 0
	xorl %esi, %esi
	xorl %r8d, %r8d
	movl $40, %r15d
1:	leaq addresses(%rip), %rdi
2:	movq (%rdi), %rbx
	/* Flags dead. */
	leaq 3f(%rip), %r14
	movq (%rbx), %rax
	incl %r8d
3:	leaq 3f(%rip), %r14
	movq %rax, (%rbx)
	incl %r8d
	/* Flags live. */
3:	leaq 3f(%rip), %r14
	stc
	movq (%rbx), %rax
	adcl $0, %r8d
3:	leaq 3f(%rip), %r14
	stc
	movl %eax, (%rbx)
	adcl $0, %r8d
3:	addq $8, %rdi
	leaq addresses_end(%rip), %rax
	cmpq %rax, %rdi
	jb 2b
	decl %r15d
	jnz 1b
	hlt
	end

	.balign 8
addresses:
	.quad 0, 8, 0xff8, -0x1000, -8, -4, -1
addresses_end:

on_page_fault:
	incl %esi
	addq $8, %rsp
	movq %r14, (%rsp)
	iretq
	define_gdt
