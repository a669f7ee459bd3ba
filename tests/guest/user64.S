/*
 * Ring 3 in 64-bit mode: IRETQ to it, INT 80h through the TSS's stack, a privileged instruction,
 * SYSCALL and SYSRET, SWAPGS.
 *
 * exits:
 *   out 0xf1 4: 00000080
 *   out 0xf1 4: 00000033
 *   out 0xf1 4: 0000003b
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 00005ca1
 *   hlt rax=7fc0 rbx=1111 rsi=2222 rdi=3b
 *   end
 */
#include "guest.h"
	enter_long
	load_tss64
	gate64 13, on_13
	gate64 0x80, on_call, 0xee
	enable_syscall on_syscall
	/* Null selectors, or IRETQ would take the segments away; then GS bases for SWAPGS. */
	xorl %eax, %eax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	xorl %edx, %edx
	movl $0xc0000101, %ecx
	movl $user_area, %eax
	wrmsr
	movl $0xc0000102, %ecx
	movl $kernel_area, %eax
	wrmsr
	enter_user64 $user
user:
	movl $0x80, %eax
	int $0x80
	cli
1:	movq %rsp, %r8
	movl $0x5ca1, %eax
	movq %gs:0, %rbx
	syscall
	/* Back in ring 3: HLT there is #GP, whose handler ends the guest. */
	movl $0xe0d, %r15d
	hlt
on_call:
	outl %eax, $PORT_PRINT
	movl 32(%rsp), %eax
	outl %eax, $PORT_PRINT
	movl 8(%rsp), %eax
	outl %eax, $PORT_PRINT
	iretq
on_13:
	cmpl $0xe0d, %r15d
	je 1f
	movl $13, %eax
	outl %eax, $PORT_PRINT
	popq %rax
	outl %eax, $PORT_PRINT
	incq (%rsp) /* CLI is one byte */
	iretq
1:	movl 16(%rsp), %edi
	movq %rsp, %rax
	andl $0xffff, %eax
	addl $0x100, %eax
	hlt
	end
on_syscall:
	outl %eax, $PORT_PRINT
	swapgs
	movq %gs:0, %rsi
	swapgs
	sysretq
	.balign 8
user_area:
	.quad 0x1111
kernel_area:
	.quad 0x2222
	define_gdt
