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
	movl $TSS, %eax
	ltr %ax
	/* The other task. */
	movl $TSS2_ADDRESS, %edi
	movl $other, 0x20(%edi)
	movl $2, 0x24(%edi)
	movl $0x7000, 0x38(%edi)
	movl $DATA, 0x48(%edi)
	movl $CODE32, 0x4c(%edi)
	movl $DATA, 0x50(%edi)
	movl $DATA, 0x54(%edi)
	movl $0, 0x58(%edi)
	movl $0, 0x5c(%edi)
	movl $0, 0x60(%edi)
	movl $0x00680000, 0x64(%edi)
	movl $0x00680000, TSS_ADDRESS + 0x64
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
