/*
 * Debugging inside loops that have run often: the trap flag, an execution and a data breakpoint,
 * and the loops as fast as before afterwards. Shadows of STI and MOV SS in a loop.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 00000064
 *   out 0xf1 4: 00000005
 *   out 0xf1 4: 00000001
 *   out 0xf1 4: 00000001
 *   out 0xf1 4: 00000064
 *   out 0xf1 4: 0000000a
 *   out 0xf1 4: 00000020
 *   end
 */
#include "guest.h"
	enter_long
	gate64 1, on_debug
	gate64 0x40, on_interrupt
	movl $0x41000, %esp
	mask_pics

	/* Warm. */
	call add_up
	call print
	/* Single steps through three instructions of the loop: TF is set by POPFQ and cleared by the
	 * handler after 5 traps. */
	xorl %r13d, %r13d
	movl $5, %r14d
	pushfq
	orq $0x100, (%rsp)
	popfq
	call add_up
	movl %r13d, %eax
	call print
	/* An execution breakpoint in the loop, once (the handler disables it). */
	xorl %r13d, %r13d
	movl $1, %r14d
	movl $in_loop, %eax
	movq %rax, %dr0
	movl $0x401, %eax
	movq %rax, %dr7
	call add_up
	movl %r13d, %eax
	call print
	/* A data breakpoint on what it writes. */
	xorl %r13d, %r13d
	movl $1, %r14d
	movl $total, %eax
	movq %rax, %dr0
	movl $0x000d0401, %eax
	movq %rax, %dr7
	call add_up
	movl %r13d, %eax
	call print
	call add_up
	call print

	/* Self-interrupts through the x2APIC: each comes behind the instruction after STI. */
	enter_x2apic
	xorl %r13d, %r13d
	movl $10, %ebp
1:	movl $0x83f, %ecx
	movl $0x40, %eax
	wrmsr
	xorl %ebx, %ebx
	sti
	movl $1, %ebx              /* in the shadow */
	cli
	decl %ebp
	jnz 1b
	movl %r13d, %eax
	call print
	/* MOV SS holds back a pending trap until after the next instruction, in a loop. */
	movl $32, %ebp
	xorl %eax, %eax
	movl $DATA, %edx
2:	movw %dx, %ss
	incl %eax
	decl %ebp
	jnz 2b
	call print
	end

/* EAX = 100, by way of memory. */
add_up:
	movl $100, %ecx
	movl $0, total
3:	incl total
in_loop:
	nop
	decl %ecx
	jnz 3b
	movl total, %eax
	ret
	.balign 4
total:	.long 0
print:
	outl %eax, $PORT_PRINT
	ret
on_debug:
	incl %r13d
	cmpl %r14d, %r13d
	jne 4f
	andq $~0x100, 16(%rsp)
	pushq %rax
	xorl %eax, %eax
	movq %rax, %dr7
	popq %rax
4:	orq $0x10000, 16(%rsp)
	iretq
on_interrupt:
	addl %ebx, %r13d
	pushq %rax
	pushq %rcx
	pushq %rdx
	x2apic_eoi
	popq %rdx
	popq %rcx
	popq %rax
	iretq
	define_gdt
