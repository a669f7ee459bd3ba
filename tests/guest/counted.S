/*
 * Jumps by RCX, POPFQ and LDMXCSR, which the translator does itself: with flags live across them, in loops, to
 * where they began and over page borders; with interrupts in between, and with what is the interpreter's.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 0000001c
 *   out 0xf1 4: 00000334
 *   out 0xf1 4: 10017c48
 *   out 0xf1 4: 00000064
 *   out 0xf1 4: e66dc500
 *   out 0xf1 4: 42108420
 *   out 0xf1 4: 00000028
 *   out 0xf1 4: 00000320
 *   out 0xf1 4: 4cec6146
 *   out 0xf1 4: 00000028
 *   out 0xf1 4: 00000028
 *   out 0xf1 4: fd3f4e42
 *   out 0xf1 4: a306ea24
 *   out 0xf1 4: 00000028
 *   out 0xf1 4: 00000028
 *   end
 */
#include "guest.h"
#define A        0x50000
#define TURNS    40
#define SELF_IPI 0x83f
	.macro print reg=%esi
	movl \reg, %eax
	outl %eax, $PORT_PRINT
	.endm
	.macro begin
	xorl %esi, %esi
	xorl %edi, %edi
	xorl %ebx, %ebx
	movl $TURNS, %ebp
	.endm
	enter_long
	gate64 1, on_debug
	gate64 13, on_protection
	gate64 19, on_vector_fault
	gate64 0x40, on_interrupt
	gate64 0x80, on_user_end, 0xee
	movw $TSS, %ax
	ltr %ax
	movl $STACK - 0x400, TSS_ADDRESS + 4
	cld
	mask_pics
	enter_x2apic

	/* 1. LOOP to itself, and around an instruction; what CF and OF are goes through it. */
	begin
1:	movl $TURNS, %ecx
	cmpl $20, %ebp
2:	loop 2b
	adcl $0, %esi
	movl %ebp, %ecx
	imull $0x4000000, %ebp, %eax /* CF and OF, that nothing tells again */
3:	leaq 1(%rdi), %rdi
	movl %edi, A
	loop 3b
	adcl %ecx, %esi
	again 1b
	print
	print %edi

	/* 2. The condition is the flags' and the count's; ECX, whose upper half goes. */
	begin
1:	movabsq $0x700000003, %rcx
	movl %ebp, %eax
2:	incl %edi
	testl $3, %eax
	leal 1(%rax), %eax
	loopne 2b
	mix %rcx
	orq $-1, %rcx
	cmpl %eax, %eax
	.byte 0x67                 /* ECX */
	loope 3f
	mix $1
3:	mix %rcx
	movl $1, %ecx
	cmpl $20, %ebp
	loopne 4f
	adcl $0, %esi
4:	movabsq $0x100000000, %rcx
	stc
	jrcxz 5f
	jecxz 6f
5:	mix $2
6:	adcl $0, %esi
	xorl %ecx, %ecx
	cmpl $20, %ebp
	jrcxz 7f
	mix $4
7:	adcl %ebp, %esi
	movl %ebp, %ecx
	andl $1, %ecx
	jrcxz 8f
	mix $8
8:	again 1b
	print
	print %edi

	/* 3. Its registers tell the flags that are live behind it. */
	begin
1:	movl %ebp, %ecx
	leal 4(%rbp), %eax
2:	cmpl %eax, %ecx
	leal -1(%rax), %eax
	loop 3f
3:	adcl %ecx, %esi
	addl $3, %ecx
	movl %esi, A
	loop 4f
4:	movl %edi, A + 8
	adcl $0, %esi
	decq %rcx
	movl %eax, A + 16
	jrcxz 5f
	adcl $7, %esi
5:	subl $1, %eax
	movl %eax, A + 24
	loopne 2b
	mix %rcx
	again 1b
	print

	/* 4. Over the page's end and back, while interrupts come. */
	begin
	movl $SELF_IPI, %ecx
	xorl %edx, %edx
	xorl %r12d, %r12d
	sti
1:	movl $SELF_IPI, %ecx
	movl $0x40, %eax
	wrmsr
	movl $TURNS, %ecx
	cmpl $20, %ebp
	jmp over
over_end:
	adcl $0, %esi
	mix %rcx
	again 1b
	cli
	print
	print %ebx
	print %edi

	/* 5. POPFQ gives back what PUSHFQ has taken: IF, DF and the arithmetic flags. An interrupt that waits is
	 * taken behind it. */
	begin
	xorl %edx, %edx
1:	movl $taken, %r12d
	sti
	cmpl $20, %ebp
	std
	pushfq
	cli
	movl $SELF_IPI, %ecx
	movl $0x40, %eax
	wrmsr
	cld
	addl $0x7fffffff, %ecx
	popfq
taken:	adcl %ebx, %esi
	pushfq
	popq %rax
	mix %rax
	pushq $0x8d7               /* all of them, and IF is clear */
	popfq
	seto %al
	setp %cl
	adcb %cl, %al
	movzbl %al, %eax
	mix %rax
	pushfq
	popq %rax
	mix %rax
	pushq $2
	popfq
	adcl $0, %esi
	pushfq
	orl $0x200ad5, (%rsp)      /* ID */
	popfq
	pushfq
	popq %rax
	mix %rax
	pushq $0x47002             /* AC, NT, IOPL */
	popfq
	pushfq
	popq %rax
	mix %rax
	pushq $2
	popfq
	pushq $0x102               /* TF: a trap behind the next instruction */
	popfq
	nop
	addl %edi, %esi
	pushfq
	popq %rax
	mix %rax
	again 1b
	print
	print %ebx
	print %edi

	/* 6. That of user code, with an IOPL that does not let it at IF, and one that does. */
	begin
	enter_user64 $user, flags=$0x202
user:	movl $TURNS, %ebp
1:	pushq $0xcd7
	cmpl $20, %ebp
	popfq
	adcl $0, %esi
	cld
	pushfq
	popq %rax
	mix %rax
	pushq $0x3202
	popfq
	pushfq
	popq %rax
	mix %rax
	again 1b
	int $0x80
on_user_end:
	btsl $12, 16(%rsp)
	btsl $13, 16(%rsp)
	jc 2f
	movq $user, (%rsp)
	iretq
2:	addq $40, %rsp
	cld
	print

	/* 7. LDMXCSR: what it may load, what it may not, and what unmasks. */
	begin
	movl $A, %edx
	movl $0x1f80, A
	movl $0x7fa5, A + 4
	movl $0x80001f80, A + 8
	movl $0x1d80, A + 12 /* division by 0 */
	movl $3, A + 16
	movl $7, A + 20
	pxor %xmm2, %xmm2
1:	cmpl $20, %ebp
	ldmxcsr (%rdx)
	adcl $0, %esi
	cvtsi2ss 16(%rdx), %xmm0
	cvtsi2ss 20(%rdx), %xmm1
	divss %xmm1, %xmm0
	movd %xmm0, %eax
	mix %rax
	stmxcsr A + 24
	mix A + 24
	movabsq $A + 4, %rcx
	ldmxcsr (%rcx)
	cvtsi2ss 16(%rdx), %xmm0
	divss %xmm1, %xmm0         /* rounded otherwise */
	movd %xmm0, %eax
	mix %rax
	stmxcsr A + 24
	mix A + 24
	ldmxcsr 8(%rdx)            /* faults */
	ldmxcsr (%rdx)
	ldmxcsr 12(%rdx)
	cvtsi2ss 16(%rdx), %xmm0
	divss %xmm2, %xmm0         /* faults */
	stmxcsr A + 24
	mix A + 24
	ldmxcsr (%rdx)
	again 1b
	print
	print %ebx
	print %edi
	end

on_interrupt:
	pushq %rax
	pushq %rcx
	pushq %rdx
	incl %ebx
	testq %r12, %r12
	jz 1f
	movq 24(%rsp), %rax
	subq %r12, %rax
	addl %eax, %edi
1:	x2apic_eoi
	popq %rdx
	popq %rcx
	popq %rax
	iretq
on_debug:
	incl %edi
	btrl $8, 16(%rsp)
	iretq
on_protection:
	incl %ebx
	addq $8, %rsp
	addq $4, (%rsp)
	iretq
on_vector_fault:
	incl %edi
	addq $4, (%rsp)
	iretq

	.balign 4096
	.skip 4096 - 12
over:	incl %edi
	movl %edi, A
	nop
	loop over2                 /* to the next page, and on in it */
	jmp over_end
over2:	loop over
	jmp over_end
	define_gdt
