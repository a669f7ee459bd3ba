/*
 * Segment limits in protected mode: expand-up and expand-down, the last byte and the one after it,
 * #SS for the stack, null selectors. Each fault prints its vector and error code; each access that
 * is allowed prints what it read.
 *
 * exits:
 *   out 0xf1 4: 000000aa
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 000000bb
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000c
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   hlt rsp=7ff0
 *   end
 */
#include "guest.h"
	enter_protected
	gate32 12, on_12
	gate32 13, on_13
	movb $0xaa, 0x5fff
	movb $0xbb, 0x6000
	/* FS: base 5000h, limit fffh, in bytes. */
	movl $0x50000fff, gdt + 0x48
	movl $0x00409300, gdt + 0x4c
	movl $0x48, %eax
	movw %ax, %fs
	movzbl %fs:0xfff, %eax
	outl %eax, $PORT_PRINT
	movl $1f, %ebp
	movzbl %fs:0x1000, %eax
1:	/* A word across the limit. */
	movl $1f, %ebp
	movzwl %fs:0xfff, %eax
1:	/* The same, expand-down: what was inside is outside. */
	movb $0x97, gdt + 0x4d
	movl $0x48, %eax
	movw %ax, %fs
	movl $1f, %ebp
	movzbl %fs:0xfff, %eax
1:	movzbl %fs:0x1000, %eax
	outl %eax, $PORT_PRINT
	/* Null is loaded, but not used. */
	xorl %eax, %eax
	movw %ax, %gs
	movl $1f, %ebp
	movzbl %gs:0, %eax
1:	/* The stack's limit raises #SS. */
	movl $0x00006000, gdt + 0x58
	movl $0x00409300, gdt + 0x5c
	movl $0x58, %eax
	movl $1f, %ebp
	movw %ax, %ss
	movl $0x5ff0, %esp
	movl %ss:0x6000, %eax
1:	movl $DATA, %eax
	movw %ax, %ss
	movl $STACK, %esp
	movl $1f, %ebp
	/* SS may not be null. */
	xorl %ecx, %ecx
	movw %cx, %ss
1:	hlt
	end
on_12:	movl $12, %eax
	jmp report
on_13:	movl $13, %eax
report:	outl %eax, $PORT_PRINT
	popl %eax
	outl %eax, $PORT_PRINT
	movl %ebp, (%esp)
	iretl
	define_gdt
