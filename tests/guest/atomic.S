/*
 * Locked instructions and the compare-and-exchange family, in 64-bit mode: results, flags, and #UD
 * for LOCK where it is not allowed.
 *
 * exits:
 *   hlt rax=5 rbx=7
 *   hlt rax=7 rcx=c
 *   hlt rax=c rdx=9
 *   hlt rax=1111111111111111 rdx=2222222222222222 rsi=1
 *   hlt rax=1111111111111111 rdx=2222222222222222 rsi=0
 *   hlt rax=3 rbx=1
 *   out 0xf1 1: 06
 *   end
 */
#include "guest.h"
	enter_long
	gate64 6, on_6
	movl $STACK, %esp
	/* XCHG is locked without the prefix. */
	movq $5, word
	movl $7, %eax
	xchgq %rax, word
	movq word, %rbx
	hlt
	/* XADD. */
	movl $5, %eax
	lock xaddq %rax, word
	movq word, %rcx
	hlt
	/* CMPXCHG that fails loads RAX, one that succeeds stores. */
	movl $1, %eax
	movl $9, %edx
	lock cmpxchgq %rdx, word
	lock cmpxchgq %rdx, word
	movq word, %rdx
	hlt
	/* CMPXCHG16B. */
	movq $0x1111111111111111, %rax
	movq %rax, pair
	movq $0x2222222222222222, %rdx
	movq %rdx, pair + 8
	movl $0x33, %ebx
	movl $0x44, %ecx
	lock cmpxchg16b pair
	movl $0, %esi
	setz %sil
	hlt
	movq $0x1111111111111111, %rax
	movq %rax, pair
	movq $0x2222222222222222, %rdx
	movq %rdx, pair + 8
	movl $5, %eax
	lock cmpxchg16b pair
	setz %sil
	hlt
	/* BTS beyond the operand's own bits: bit 64 is in the next word. */
	movq $0, pair
	movq $2, pair + 8
	movl $64, %ebx
	lock btsq %rbx, pair
	setc %bl
	movzbl %bl, %ebx
	lock incl pair
	decl pair
	movq pair + 8, %rax
	movl $1, %ebx
	xorl %ecx, %ecx
	movl $0x2222, %edx
	hlt
	.byte 0xf0, 0x01, 0xc0 /* LOCK ADD EAX, EAX */
	hlt
on_6:
	movb $6, %al
	outb %al, $PORT_PRINT
	end
	.balign 16
word:
	.quad 0
	.balign 16
pair:
	.quad 0, 0
	define_gdt
