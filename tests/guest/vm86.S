/*
 * Virtual-8086 mode: entry by IRET, 20-bit addresses, sensitive instructions fault with IOPL 0, a
 * software interrupt goes to the monitor in ring 0.
 *
 * exits:
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00001004
 *   out 0xf1 4: 00000021
 *   out 0xf1 4: 00000123
 *   hlt rax=123 rsp=7ecc
 *   end
 */
#include "guest.h"
	enter_protected
	movl $TSS, %eax
	ltr %ax
	movl $STACK - 0x100, TSS_ADDRESS + 4
	movl $DATA, TSS_ADDRESS + 8
	movw $0x68, TSS_ADDRESS + 0x66
	gate32 13, on_13
	gate32 0x21, on_21, 0xee
	/* Code at 0200:1000, that is 3000h. */
	movl $vm_code, %esi
	movl $0x3000, %edi
	movl $vm_end - vm_code, %ecx
	cld
	rep movsb
	movl $0x00005678, 0x4000
	pushl $0      /* GS */
	pushl $0      /* FS */
	pushl $0x0300 /* DS: 3000h */
	pushl $0      /* ES */
	pushl $0x0400 /* SS: 4000h */
	pushl $0x0ff0 /* ESP */
	pushl $0x20002
	pushl $0x0200 /* CS: 2000h */
	pushl $0x1000
	iretl
on_13:
	/* CLI at IOPL 0. */
	movl $13, %eax
	outl %eax, $PORT_PRINT
	addl $4, %esp
	movl (%esp), %eax
	outl %eax, $PORT_PRINT
	incl (%esp)
	movl $0x23002, 8(%esp) /* IOPL 3: INT n is allowed from here on */
	iretl
on_21:
	movl $0x21, %eax
	outl %eax, $PORT_PRINT
	movzwl %bx, %eax
	outl %eax, $PORT_PRINT
	movl $0, %ebx
	hlt
	end
	.code16
vm_code:
	movw $0x0123, %bx
	nop
	cli
	movw %bx, %ax
	int $0x21
vm_end:
	.code32
	define_gdt
