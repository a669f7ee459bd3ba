/*
 * Ring 3 in 32-bit protected mode: IRET to it, a call gate with parameters, the I/O permission
 * bitmap, a return to ring 3, faults from there.
 *
 * exits:
 *   out 0xf1 4: 00001234
 *   out 0xf1 4: 0000002b
 *   out 0x80 1: 55
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   hlt rbx=77f8 rsp=7f00
 *   end
 */
#include "guest.h"
	enter_protected
	movl $STACK - 0xf0, TSS_ADDRESS + 4
	movl $DATA, TSS_ADDRESS + 8
	/* The bitmap's base is just inside the TSS; port 80h only. */
	movl $0xcf, gdt + TSS
	movw $TSS_ADDRESS, gdt + TSS + 2
	movw $0x68, TSS_ADDRESS + 0x66
	movl $TSS_ADDRESS + 0x68, %edi
	movl $0xffffffff, %eax
	movl $0x19, %ecx
	cld
	rep stosl
	movb $0xfe, TSS_ADDRESS + 0x68 + 0x10
	movb $0x89, gdt + TSS + 5
	movl $TSS, %eax
	ltr %ax
	gate32 13, on_13
	/* A call gate at selector 48h for ring 3, with one parameter. */
	movl $gate, %eax
	movw %ax, gdt + 0x48
	movw $CODE32, gdt + 0x4a
	movw $0xec01, gdt + 0x4c
	movw $0, gdt + 0x4e
	pushl $USER_DATA | 3
	pushl $USER_STACK
	pushl $2
	pushl $USER_CODE32 | 3
	pushl $user
	iretl
gate:
	movl 8(%esp), %eax
	outl %eax, $PORT_PRINT
	movl 4(%esp), %eax
	outl %eax, $PORT_PRINT
	lret $4
on_13:
	movl $13, %eax
	outl %eax, $PORT_PRINT
	popl %eax
	outl %eax, $PORT_PRINT
	movl 12(%esp), %ebx
	addl $20, %esp
	hlt
	end
user:
	movw $USER_DATA | 3, %ax
	movw %ax, %ds
	pushl $0x9999
	pushl $0x9998
	pushl $0x1234
	lcall $0x4b, $0
	movb $0x55, %al
	outb %al, $0x80
	outb %al, $0x81 /* not in the bitmap */
	define_gdt
