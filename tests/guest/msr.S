/*
 * Model-specific registers: what is written is read, reserved bits and unknown numbers are #GP(0),
 * the TSC runs, and the FS base acts at once.
 *
 * exits:
 *   hlt rax=81000000 rdx=ffffffff
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 0000000d
 *   hlt rax=feedface rbx=1
 *   end
 */
#include "guest.h"
	enter_long
	gate64 13, on_13
	movl $STACK, %esp
	/* LSTAR, a 64-bit one. */
	movl $0xc0000082, %ecx
	movl $0x81000000, %eax
	movl $0xffffffff, %edx
	wrmsr
	xorl %eax, %eax
	xorl %edx, %edx
	rdmsr
	hlt
	/* LSTAR must be canonical. */
	movl $1f, %ebp
	movl $0x80000000, %edx
	wrmsr
1:	/* No such MSR. */
	movl $1f, %ebp
	movl $0xdeadbeef, %ecx
	rdmsr
1:	/* EFER's reserved bits. */
	movl $1f, %ebp
	movl $0xc0000080, %ecx
	movl $0xffffffff, %eax
	wrmsr
1:	/* FS base. */
	movl $0xc0000100, %ecx
	movl $area, %eax
	xorl %edx, %edx
	wrmsr
	/* The TSC goes on. */
	rdtsc
	shlq $32, %rdx
	orq %rdx, %rax
	movq %rax, %rsi
	movl $0x10, %ecx
	rdmsr
	shlq $32, %rdx
	orq %rdx, %rax
	cmpq %rsi, %rax
	seta %bl
	movzbl %bl, %ebx
	movl %fs:0, %eax
	xorl %edx, %edx
	xorl %esi, %esi
	hlt
	end
on_13:
	movl $13, %eax
	outl %eax, $PORT_PRINT
	popq %rax
	movq %rbp, (%rsp)
	iretq
area:
	.long 0xfeedface
	define_gdt
