/*
 * Big real mode: segments keep the limits that they were given in protected mode; a load in real
 * mode changes the base alone. Addresses above 1 MiB and the wrap of 16-bit offsets.
 *
 * exits:
 *   hlt rax=12345678 rbx=5678
 *   write 0x800000: 78 56 34 12
 *   hlt rcx=1234
 *   end
 */
#include "guest.h"
	enter_protected
	/* Through a 16-bit code segment back to real mode; DS and ES stay flat. */
	ljmpl $CODE16, $1f
	.code16
1:	movl %cr0, %eax
	andl $~1, %eax
	movl %eax, %cr0
	ljmpw $0, $1f
1:	xorl %eax, %eax
	movw %ax, %ss
	movl $0x200000, %esi
	movl $0x12345678, (%esi)
	movl (%esi), %eax
	/* DS = 1000h: base 10000h, limit still 4 GiB. */
	movw $0x1000, %cx
	movw %cx, %ds
	movw 0x1f0000, %bx /* 16-bit address: offset 0 of DS */
	addr32 movw 0x1f0000, %bx
	hlt
	movl $0x7f0000, %esi
	movl %eax, (%esi)
	/* A 16-bit offset wraps inside the segment. */
	movw $0x1234, %es:0x7000
	movw $0, %cx
	movw %cx, %ds
	movw $0xffff, %si
	movw 0x7001(%si), %cx
	hlt
	end
	define_gdt
