/*
 * A dozen address spaces where no stub can be had at first, and never more than three: once there are any each of them
 * runs directly whenever it is its turn. RBX counts system calls.
 *
 * needs: scarce
 * exits:
 *   hlt rbx=60
 *   end
 */
#include "guest.h"
#include "linux.h"
#define USER	0x100000   /* the program */
#define STACK3	0x110f00
#define ROOTS	0x180000   /* SPACES pages */
#define SPACES	12
#define ROUNDS	8
#define SOME_TIME 0x50000000 /* ticks, while stubs come to be had: of a busy host, too */

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
	movl $ROOTS, %edi
	movl $SPACES, %ebx
1:	movl $PAGES, %esi
	movl $0x200, %ecx
	rep movsq
	decl %ebx
	jnz 1b
	movl $ROOTS, %ebp          /* the present one */
	rdtsc
	shlq $32, %rdx
	leaq SOME_TIME(%rax, %rdx), %r15
to_user:
	movq %rbp, %cr3
	pushq $SS3
	pushq $STACK3
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

	/* Each for itself for some time; then all in turn. */
on_80:
	addq $40, %rsp
	testq %r15, %r15
	jz 2f
	rdtsc
	shlq $32, %rdx
	orq %rdx, %rax
	cmpq %r15, %rax
	jb to_user
	xorl %r15d, %r15d
	xorl %ebx, %ebx
	jmp to_user
2:	cmpl $SPACES*ROUNDS, %ebx
	je 3f
	addl $0x1000, %ebp
	cmpl $ROOTS+SPACES*0x1000, %ebp
	jb to_user
	movl $ROOTS, %ebp
	jmp to_user
3:	xorl %eax, %eax
	xorl %edx, %edx
	hlt
	end

	.balign 64
user:
	xorl %eax, %eax            /* whose upper half INT 80h would lose */
	incl %ebx
	int $0x80
user_end:
	define_gdt
