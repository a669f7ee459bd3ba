/*
 * A return to an outer ring nullifies data segments that this ring may not have, but not their bases:
 * what a kernel put into IA32_FS_BASE and IA32_GS_BASE is there before and after.
 *
 * exits:
 *   out 0xf1 4: 00001111
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 00002222
 *   out 0xf1 4: 00000000
 *   hlt rbx=1111 rsi=2222
 *   end
 */
#include "guest.h"
	enter_long
	load_tss64
	gate64 0x80, on_call, 0xee
	/* Ring 0's data segment in both; then their bases. */
	movl $0x10, %eax
	movw %ax, %fs
	movw %ax, %gs
	xorl %edx, %edx
	movl $0xc0000100, %ecx
	movl $fs_area, %eax
	wrmsr
	movl $0xc0000101, %ecx
	movl $gs_area, %eax
	wrmsr
	xorl %edi, %edi
	enter_user64 $user
user:
	movl %gs:0, %eax
	int $0x80
	movw %gs, %ax
	movzwl %ax, %eax
	int $0x80
	movl %fs:0, %eax
	int $0x80
	movw %fs, %ax
	movzwl %ax, %eax
	movl $1, %edi
	int $0x80
on_call:
	outl %eax, $PORT_PRINT
	testl %edi, %edi
	jnz 1f
	iretq
1:	movl %gs:0, %ebx
	movl %fs:0, %esi
	hlt
	end
	.balign 8
gs_area:
	.quad 0x1111
fs_area:
	.quad 0x2222
	define_gdt
