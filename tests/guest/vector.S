/*
 * x87 and SSE in 64-bit mode: results, #NM with CR0.TS, #XM, an x87 error through #MF, FXSAVE.
 *
 * exits:
 *   hlt rax=4008000000000000 rbx=3fd5555555555555 rcx=5
 *   out 0xf1 1: 07
 *   hlt rax=2
 *   out 0xf1 1: 13
 *   out 0xf1 4: 00001d84
 *   out 0xf1 1: 10
 *   hlt rax=37f rbx=1f80
 *   end
 */
#include "guest.h"
	enter_long
	gate64 7, on_7
	gate64 16, on_16
	gate64 19, on_19
	movq %cr0, %rax
	andl $~4, %eax
	orl $0x22, %eax /* NE, MP */
	movq %rax, %cr0
	movl $1, %eax
	cvtsi2sd %eax, %xmm0
	movl $3, %eax
	cvtsi2sd %eax, %xmm1
	divsd %xmm1, %xmm0
	movq %xmm0, %rbx
	fninit
	fld1
	fld1
	faddp
	fld1
	faddp
	fstpl number
	movq number, %rax
	movl $5, %ecx
	hlt
	/* Lazy FPU. */
	movq %cr0, %rax
	orl $8, %eax
	movq %rax, %cr0
	movl $2, %eax
	cvtsi2sd %eax, %xmm2
	cvttsd2si %xmm2, %eax
	hlt
	/* Division by zero, unmasked. */
	movl $0x1d80, mxcsr
	ldmxcsr mxcsr
	xorpd %xmm3, %xmm3
	divsd %xmm3, %xmm1
	movl $0x1f80, mxcsr
	ldmxcsr mxcsr
	movw $0x37b, control
	fldcw control
	fld1
	fldz
	fdivrp
	fwait
	fninit
	fxsave area
	movzwl area, %eax
	movl area + 24, %ebx
	hlt
	end
on_7:	pushq %rax
	movb $7, %al
	outb %al, $PORT_PRINT
	clts
	popq %rax
	iretq
on_19:	movb $0x13, %al
	outb %al, $PORT_PRINT
	stmxcsr mxcsr
	movl mxcsr, %eax
	outl %eax, $PORT_PRINT
	addq $4, (%rsp) /* DIVSD is four bytes */
	iretq
on_16:	movb $0x10, %al
	outb %al, $PORT_PRINT
	fnclex
	iretq
	.balign 16
number:	.quad 0
mxcsr:	.long 0
control: .word 0
	define_gdt
	.balign 16
area:	.fill 512, 1, 0
