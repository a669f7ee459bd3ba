/*
 * A data breakpoint that MOV SS meets is held back until the next instruction is done (Intel SDM vol. 3
 * §6.8.3): after a NOP it comes alone, with INT1 it is one exception, told in DR6.
 *
 * exits:
 *   out 0xf1 4: ffff0ff1
 *   out 0xf1 4: ffff0ff1
 *   out 0xf1 4: ffff0ff0
 *   hlt rbx=3
 *   end
 */
#include "guest.h"
	enter_long
	gate64 1, on_debug
	xorl %ebx, %ebx
	movl $selector, %eax
	movq %rax, %dr0
	movl $0x00030403, %eax /* reads and writes of one byte */
	movq %rax, %dr7
	movw selector, %ss
	nop
	movw selector, %ss
	.byte 0xf1
	.byte 0xf1
	xorl %eax, %eax
	movq %rax, %dr7
	hlt
	end
on_debug:
	pushq %rax
	print_dr6
	incl %ebx
	popq %rax
	iretq
	.balign 8
selector:
	.quad 0x10
	define_gdt
