/*
 * CMPXCHG16B where its operand is not aligned, without LOCK and with it: #GP each time (SDM vol. 2A), also where it
 * has run often, and where the address was right before.
 *
 * exits:
 *   hlt rbx=64 rdi=64
 *   hlt rbx=64 rdi=64
 *   end
 */
#include "guest.h"

#define OPERAND 0x50000

	enter_long
	gate64 13, on_protection

	.macro try lock:vararg
	xorl %ebx, %ebx
	xorl %edi, %edi
	movl $100, %ebp
1:	movl $2f, %r8d
	movl $OPERAND, %esi
	\lock cmpxchg16b (%rsi)
	incl %edi
2:	movl $3f, %r8d
	leal 8(%rsi), %esi
	\lock cmpxchg16b (%rsi)
	hlt
3:	decl %ebp
	jnz 1b
	hlt
	.endm

	try
	try lock
	end

on_protection:
	incl %ebx
	movq %r8, 8(%rsp)
	addq $8, %rsp
	iretq

	define_gdt
