/*
 * A program that makes code as compilers at run time do: it writes functions into a pair of pages, calls them and writes
 * others over them, by the mapping that it executes and by another one, also over the border of the two pages; and two
 * that call one another are changed in turn. Each round's functions return numbers that RBX sums up.
 *
 * exits:
 *   hlt rbx=4340 rdi=0
 *   end
 */
#include "guest.h"
#include "linux.h"
#define USER	0x100000
#define STACK3	0x110f00
#define CODE3	0x120000   /* two pages, ... */
#define ALIAS	0x130000   /* ... and here as well */
#define LEVEL1	(PAGES+0x3000)
#define ROUNDS	64

	/* MOV $n, %eax; RET, at `at`, with the round's number, and call it where it is executed. */
	.macro make at
	movb $0xb8, \at(%rdi)
	movl %ecx, \at+1(%rdi)
	movb $0xc3, \at+5(%rdi)
	.endm
	.macro run at
	movl $CODE3+\at, %ebp
	call *%rbp
	addl %eax, %ebx
	.endm

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x80, on_80, 0xee
	linux_null_selectors
	linux_features 0x50000     /* OSXSAVE, FSGSBASE */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $CODE3|7, LEVEL1+(ALIAS>>12)*8
	movl $CODE3+0x1007, LEVEL1+(ALIAS>>12)*8+8
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %ebx, %ebx
	pushq $SS3
	pushq $STACK3
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq
on_80:
	xorl %eax, %eax
	xorl %ebp, %ebp
	hlt
	end

	.balign 64
user:
	movl $ROUNDS, %ecx
again:
	/* In place, by the other mapping, in place. */
	movl $CODE3, %edi
	make 0x100
	make 0x1100
	make 0xffd                 /* the border is in MOV's number */
	run 0x100
	run 0x1100
	run 0xffd
	addl $3, %ecx
	movl $ALIAS, %edi
	make 0x100
	make 0x1100
	make 0xffd
	run 0xffd
	run 0x1100
	run 0x100
	subl $3, %ecx
	/* One jumps to the other: JMP CODE3+1100h. Then it does not. */
	movl $CODE3, %edi
	movb $0xe9, 0x200(%rdi)
	movl $0x1100-0x205, 0x201(%rdi)
	movl $ALIAS, %edi
	make 0x1100
	run 0x200
	make 0x200
	run 0x200
	decl %ecx
	jnz again
	xorl %edi, %edi
	int $0x80
user_end:
	define_gdt
