/*
 * Instructions as long as they may be, of prefixes that are there many times: what is made of one must not be longer
 * than 15 bytes either (SDM vol. 2A §2.3.11).
 *
 * exits:
 *   hlt rax=c8 rdx=64
 *   end
 */
#include "guest.h"

#define OPERAND 0x50000

	enter_long
	movl $OPERAND, %esi
	movl $0, (%rsi)
	xorl %edx, %edx
	movl $100, %ebp
1:	.fill 12, 1, 0xf3
	.byte 0x83, 0x06, 0x01     /* addl $1, (%rsi) */
	.fill 13, 1, 0xf2
	.byte 0xff, 0x06           /* incl (%rsi) */
	.fill 13, 1, 0xf3
	.byte 0xff, 0xc2           /* incl %edx */
	decl %ebp
	jnz 1b
	movl (%rsi), %eax
	hlt
	end

	define_gdt
