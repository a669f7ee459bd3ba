/*
 * A call gate from ring 3 to ring 0 with two parameters: the stack switch, what is copied, and the
 * far return that drops both. A call through a gate that ring 3 may not use is #GP.
 *
 * exits:
 *   out 0xf1 4: 0000002b
 *   out 0xf1 4: 22222222
 *   out 0xf1 4: 11111111
 *   out 0xf1 4: 00000033
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000048
 *   hlt rbx=7800 rsi=7800
 *   end
 */
#include "guest.h"
	enter_protected
	movl $STACK - 0x100, TSS_ADDRESS + 4
	movl $DATA, TSS_ADDRESS + 8
	movw $0x68, TSS_ADDRESS + 0x66
	movw $TSS, %ax
	ltr %ax
	gate32 13, on_13
	/* The second half of each TSS descriptor is free in protected mode: gates 48h and 58h. */
	movl $gate, %eax
	movw %ax, gdt + 0x58
	movw $CODE32, gdt + 0x58 + 2
	movw $0xec02, gdt + 0x58 + 4 /* DPL 3, 32-bit call gate, 2 parameters */
	movw %ax, gdt + 0x48
	movw $CODE32, gdt + 0x48 + 2
	movw $0x8c00, gdt + 0x48 + 4 /* DPL 0 */
	pushl $USER_DATA | 3
	pushl $USER_STACK
	pushl $2
	pushl $USER_CODE32 | 3
	pushl $user
	iretl
user:
	movl %esp, %ebx
	pushl $0x11111111
	pushl $0x22222222
	lcall $0x58, $0
	movl %esp, %esi
	lcall $0x48, $0
gate:
	/* EIP, CS, the parameters in their order, ESP, SS. */
	movl 4(%esp), %eax
	outl %eax, $PORT_PRINT
	movl 8(%esp), %eax
	outl %eax, $PORT_PRINT
	movl 12(%esp), %eax
	outl %eax, $PORT_PRINT
	movl 20(%esp), %eax
	outl %eax, $PORT_PRINT
	lretl $8
on_13:
	movl $13, %eax
	outl %eax, $PORT_PRINT
	popl %eax
	outl %eax, $PORT_PRINT
	hlt
	end
	define_gdt
