/*
 * Debug exceptions inside the guest: the trap flag, an execution and a data breakpoint, DR6.
 *
 * exits:
 *   out 0xf1 4: ffff4ff0
 *   out 0xf1 4: ffff0ff1
 *   out 0xf1 4: ffff0ff2
 *   hlt rbx=3
 *   end
 */
#include "guest.h"
	enter_long
	gate64 1, on_debug
	xorl %ebx, %ebx
	/* One step: TF set by POPFQ traps after the next instruction. */
	pushq $0x102
	popfq
	nop
	/* Execution breakpoint. */
	movl $breakpoint, %eax
	movq %rax, %dr0
	movl $0x401, %eax
	movq %rax, %dr7
breakpoint:
	nop
	/* Data breakpoint: writes of four bytes. */
	movl $0x9000, %eax
	movq %rax, %dr1
	movl $0x00d00404, %eax
	movq %rax, %dr7
	movl $1, 0x9000
	nop
	xorl %eax, %eax
	movq %rax, %dr7
	hlt
	end
on_debug:
	pushq %rax
	print_dr6
	andq $~0x100, 24(%rsp)
	orq $0x10000, 24(%rsp) /* RF: past the breakpoint */
	incl %ebx
	popq %rax
	iretq
	define_gdt
