/*
 * SERIALIZE (Intel SDM vol. 2) in a loop, with flags live across it, and between a store to code and that code;
 * where CPUID does not have it, the same without.
 *
 * exits:
 *   out 0xf1 4: 000003e8
 *   out 0xf1 4: 000013ba
 *   end
 */
#include "guest.h"
	.macro test_with instruction:vararg
	/* Below 1000 the comparison carries. */
	xorl %edx, %edx
	movl $50000, %ecx
1:	decl %ecx
	cmpl $1000, %ecx
	\instruction
	adcl $0, %edx
	testl %ecx, %ecx
	jnz 1b
	movl %edx, %eax
	outl %eax, $PORT_PRINT
	xorl %edx, %edx
	movl $100, %ecx
2:	movb %cl, 3f+1
	\instruction
3:	movl $0, %eax
	addl %eax, %edx
	decl %ecx
	jnz 2b
	movl %edx, %eax
	outl %eax, $PORT_PRINT
	.endm
	enter_long
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	btl $14, %edx
	jnc without
	test_with .byte 0x0f, 0x01, 0xe8
	end
without:
	test_with nop
	end
	define_gdt
