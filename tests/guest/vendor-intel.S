/*
 * A CPU of Intel's, whatever the host's: the counterpart of vendor-amd.S.
 *
 * needs: intel
 * exits:
 *   out 0xf1 4: 00000006
 *   hlt rax=6
 *   out 0xf1 4: 0000005e
 *   out 0xf1 4: 00000066
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000001
 *   end
 */
#include "vendor.h"
	enter_long
	gate64 6, on_6
	gate64 13, on_13
	movl $STACK, %esp
	enable_syscall wrong
	pushq $CODE32
	pushq $code32
	lretq
	.code32
code32:
	movl $1f, %ebp
	syscall
	jmp 2f
1:	hlt
2:	ljmpl $CODE64, $back
	.code64
back:
	write_msr 0x174, CODE64
	write_msr 0x175, STACK
	write_msr 0x176, on_sysenter
	movl $0x5e, %eax
	sysenter
	jmp wrong
on_sysenter:
	outl %eax, $PORT_PRINT
	movl $DATA, %ecx /* SYSENTER took a code segment's selector for SS */
	movw %cx, %ss
	.byte 0x66, 0xe9 /* jmp: the prefix means nothing */
	.long 1f - . - 4
	jmp wrong
1:	movl $0x66, %eax
	outl %eax, $PORT_PRINT
	movl $1f, %ebp
	movl $0xc0000103, %ecx
	movl $1, %edx
	wrmsr
	jmp wrong
1:	movl $1f, %ebp
	movl $0xc0010015, %ecx /* AMD's HWCR */
	rdmsr
	jmp wrong
1:	movl $0x20000000, %eax
	xorl %ecx, %ecx
	cpuid
	movl %eax, %esi
	xorl %eax, %eax /* it is as the highest basic leaf */
	cpuid
	xorl %ecx, %ecx
	cpuid
	cmpl %eax, %esi
	sete %al
	movzbl %al, %eax
	outl %eax, $PORT_PRINT
	break_after_mov_ss
	end
	vendor_handlers
	define_gdt
