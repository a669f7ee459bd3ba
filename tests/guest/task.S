/*
 * Hardware tasks: a far jump to a TSS, a far call and IRET back, busy bits and the back link.
 *
 * exits:
 *   out 0xf1 4: 00000050
 *   out 0xf1 4: 00000001
 *   out 0xf1 4: 00000040
 *   out 0xf1 4: 0000008b
 *   hlt rax=40 rbx=89 rsp=7ff0
 *   end
 */
#include "guest.h"
	enter_protected
	two_tasks
	movl $other, 0x20(%edi)
	lcall $TSS2, $0
	strw %ax
	movzwl %ax, %eax
	movzbl gdt + TSS2 + 5, %ebx
	hlt
	end
other:
	xorl %eax, %eax
	strw %ax
	outl %eax, $PORT_PRINT
	pushfl
	popl %eax
	shrl $14, %eax /* NT */
	andl $1, %eax
	outl %eax, $PORT_PRINT
	movzwl TSS2_ADDRESS, %eax
	outl %eax, $PORT_PRINT
	movzbl gdt + TSS + 5, %eax
	outl %eax, $PORT_PRINT
	iretl
	define_gdt
