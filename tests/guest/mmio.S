/*
 * Memory-mapped I/O from 64-bit mode: each size, read-modify-write, string copies in both
 * directions, a push and a call through it, writes to read-only memory.
 *
 * exits:
 *   write 0x800000: 11
 *   write 0x800002: 33 22
 *   write 0x800004: 77 66 55 44
 *   write 0x800008: ff ee dd cc bb aa 99 88
 *   read 0x800010 1
 *   read 0x800012 2
 *   read 0x800014 4
 *   read 0x800018 8
 *   hlt rax=a0 rbx=a2a1 rcx=a6a5a4a3 rdx=aeadacabaaa9a8a7
 *   read 0x800020 4
 *   write 0x800020: b0 b0 b1 b2
 *   hlt rax=1
 *   write 0x800030: 01 02 03 04
 *   write 0x800034: 05 06 07 08
 *   hlt rcx=0 rdi=800038
 *   read 0x800040 2
 *   read 0x800042 2
 *   hlt rax=b6b5b4b3
 *   write 0x800048: 88 77 66 55 44 33 22 11
 *   hlt rsp=800048
 *   write 0xf00010: 5a
 *   hlt rax=cc
 *   end
 */
#include "guest.h"
#define DEVICE 0x800000
	enter_long
	/* Map 2 MiB from 8 MiB on (the device) and from 14 MiB on (read-only memory, 15 MiB). */
	movl $0x800083, PAGES + 0x2000 + 8 * 4
	movl $0xe00083, PAGES + 0x2000 + 8 * 7
	movl $DEVICE, %ebp
	movb $0x11, (%rbp)
	movw $0x2233, 2(%rbp)
	movl $0x44556677, 4(%rbp)
	movabsq $0x8899aabbccddeeff, %rax
	movq %rax, 8(%rbp)
	movzbl 0x10(%rbp), %eax
	movzwl 0x12(%rbp), %ebx
	movl 0x14(%rbp), %ecx
	movq 0x18(%rbp), %rdx
	hlt
	/* The guest's value is b2b1b0af; one more. */
	xorl %eax, %eax
	addl $1, 0x20(%rbp)
	setns %al
	xorb $1, %al
	hlt
	cld
	movl $data, %esi
	leaq 0x30(%rbp), %rdi
	movl $2, %ecx
	rep movsl
	hlt
	leaq 0x40(%rbp), %rsi
	movl $buffer, %edi
	movl $2, %ecx
	rep movsw
	movl buffer, %eax
	hlt
	movabsq $0x1122334455667788, %rax
	leaq 0x50(%rbp), %rsp
	pushq %rax
	hlt
	movl $STACK, %esp
	movl $0xf00010, %ebx
	movb $0x5a, (%rbx)
	movzbl (%rbx), %eax
	hlt
	end
data:
	.byte 1, 2, 3, 4, 5, 6, 7, 8
buffer:
	.fill 16, 1, 0
	define_gdt
