/*
 * A CPU of AMD's, whatever the host's: SYSCALL works in compatibility mode and SYSENTER does not in
 * long mode, a 66 prefix makes near branches short, TSC_AUX drops its upper half, HWCR is there and
 * MISC_ENABLE is not, CPUID knows nothing beyond its leaves, MOV SS holds back no code breakpoint.
 *
 * needs: amd
 * exits:
 *   out 0xf1 4: 0000005c
 *   hlt rax=5c
 *   out 0xf1 4: 00000006
 *   out 0xf1 4: 00000066
 *   out 0xf1 4: 00001234
 *   out 0xf1 4: 01000000
 *   out 0xf1 4: 0000000d
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: ffff0ff1
 *   end
 */
#include "vendor.h"
	enter_long
	gate64 6, on_6
	gate64 13, on_13
	movl $STACK, %esp
	enable_syscall wrong
	movl $0xc0000083, %ecx
	movl $on_compat_syscall, %eax
	xorl %edx, %edx
	wrmsr
	pushq $CODE32
	pushq $code32
	lretq
	.code32
code32:
	movl $0x5c, %eax
	syscall
compat_return:
	end
	.code64
on_compat_syscall:
	cmpl $compat_return, %ecx
	jne wrong
	outl %eax, $PORT_PRINT
	hlt
	movl $DATA, %ecx /* SYSCALL took a code segment's selector for SS */
	movw %cx, %ss
	write_msr 0x174, CODE64
	write_msr 0x176, wrong
	movl $1f, %ebp
	sysenter
1:	.byte 0x66, 0xe9 /* jmp with a displacement of two bytes */
	.word 1f - . - 2
	.word 0
	jmp wrong
1:	movl $0x66, %eax
	outl %eax, $PORT_PRINT
	movl $wrong, %ebp
	movl $0xc0000103, %ecx
	movl $0x1234, %eax
	movl $1, %edx
	wrmsr
	rdtscp
	movl %ecx, %eax
	outl %eax, $PORT_PRINT
	movl $0xc0010015, %ecx /* HWCR: TscFreqSel */
	rdmsr
	outl %eax, $PORT_PRINT
	movl $0x1a0, %ecx /* Intel's MISC_ENABLE */
	movl $1f, %ebp
	rdmsr
	jmp wrong
1:	movl $0x20000000, %eax
	xorl %ecx, %ecx
	cpuid
	outl %eax, $PORT_PRINT
	break_after_mov_ss
	end
	vendor_handlers
	define_gdt
