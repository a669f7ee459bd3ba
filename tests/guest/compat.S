/*
 * Compatibility mode: 32- and 16-bit code under IA-32e paging, entered and left by far transfers;
 * INC is INC again, addresses wrap at 4 GiB, interrupts go through 64-bit gates with 8-byte pushes.
 *
 * exits:
 *   out 0xf1 4: 00000065
 *   out 0xf1 4: 00000008
 *   out 0xf1 4: 00007ff0
 *   out 0xf1 2: 1235
 *   hlt rax=1235 rcx=200000000 rsp=7ff0
 *   end
 */
#include "guest.h"
	enter_long
	gate64 0x41, on_call, 0xee
	movl $STACK, %esp
	movq $0x200000000, %rcx
	pushq $CODE32
	pushq $code32
	lretq
	.code32
code32:
	movl $DATA, %eax
	movw %ax, %ss
	movw %ax, %ds
	movl $0x64, %eax
	.byte 0x40 /* INC EAX; a REX prefix in 64-bit mode */
	outl %eax, $PORT_PRINT
	int $0x41
	ljmpl $CODE16, $code16
	.code16
code16:
	movw $0x1234, %ax
	.byte 0x40
	outw %ax, $PORT_PRINT
	ljmpl $CODE64, $back
	.code64
back:
	movzwl %ax, %eax
	hlt
	end
on_call:
	pushq %rax
	movl 16(%rsp), %eax
	outl %eax, $PORT_PRINT
	movl 32(%rsp), %eax
	outl %eax, $PORT_PRINT
	popq %rax
	iretq
	define_gdt
