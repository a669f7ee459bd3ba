/*
 * What kernels do all the time and the translator does itself: CLI and STI, PUSHFQ, SWAPGS, STAC and
 * CLAC, RDTSC and RDTSCP, RDFSBASE and its like, PUSH from memory, POP RSP, bits of bit strings. In
 * loops, with flags live across them, and against what may come in between: interrupts, faults, CR4.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 060bf35d
 *   out 0xf1 4: 00000009
 *   out 0xf1 4: 00000013
 *   out 0xf1 4: 00000550
 *   out 0xf1 4: 626b0d69
 *   out 0xf1 4: 293365aa
 *   out 0xf1 4: 0672a700
 *   out 0xf1 4: 500b8421
 *   out 0xf1 4: 002d82ee
 *   out 0xf1 4: 00000050
 *   out 0xf1 4: 00000028
 *   out 0xf1 4: 00000050
 *   out 0xf1 4: 81e8c301
 *   out 0xf1 4: 00005050
 *   out 0xf1 4: 54857c72
 *   out 0xf1 4: 00000050
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define A      0x50000
#define BITS   0x61000
#define V      0x70000 /* belongs to user code, when all else doesn't */
#define TURNS  40
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
	gate64 6, on_undefined
	gate64 13, on_protection
	gate64 14, on_page_fault
	gate64 0x40, on_interrupt
	gate64 0x80, on_user_end, 0xee
	movw $TSS, %ax
	ltr %ax
	movl $STACK - 0x400, TSS_ADDRESS + 4
	cld
	mask_pics
	enter_x2apic

	/* 1. IF, DF, AC and the arithmetic flags in PUSHFQ; and none of them is lost. */
	begin
1:	movl %ebp, %eax
	addb $0xfd, %al
	sti
	pushfq
	popq %rdx
	mix %rdx
	movl %ebp, %eax
	subl $20, %eax
	std
	cli
	pushfq
	setb %cl
	popq %rdx
	mix %rdx
	movzbl %cl, %ecx
	mix %rcx
	imull $0x4000000, %ebp, %eax /* CF and OF, that nothing tells again */
	cld
	sti
	adcl $0, %edi
	cli
	pushfq
	popq %rdx
	mix %rdx
	again 1b
	print
	print %edi

	/* 2. An interrupt waits: it is taken behind the instruction that follows STI. */
	begin
	movl $SELF_IPI, %ecx
	xorl %edx, %edx
2:	movl $0x40, %eax
	movl $taken, %r12d
	cli
	wrmsr
	cmpl $20, %ebp
	sti
	movl $1, %edi
taken:	movl $2, %edi
	adcl $0, %esi
	cli
	movl $taken2, %r12d
	wrmsr
	sti
	cli                        /* never open */
	movl $3, %edi
	sti
	movl $1, %edi
taken2:	movl $0, %edi
	again 2b
	print
	print %ebx

	/* 3. SWAPGS between accesses of the same offset. */
	begin
	movl $0xc0000101, %ecx
	movl $A, %eax
	xorl %edx, %edx
	wrmsr
	incl %ecx
	movl $A + 0x1000, %eax
	wrmsr
	movl $0, A + 0x10
	movl $0x100, A + 0x1010
3:	incl %gs:0x10
	movl %gs:0x10, %eax
	cmpl $0x7fffffff, %eax     /* CF */
	swapgs
	movl %gs:0x10, %edx
	adcl %edx, %eax
	mix %rax
	incl %gs:0x10
	pushq %gs:0x10
	popq %rax
	mix %rax
	swapgs
	movl $0xc0000101, %ecx
	rdmsr
	mix %rax
	again 3b
	print

	/* 4. Bits far from their operand, in registers and homes, and in pages that do not follow one
	 * another in memory. */
	begin
	movl $0x90007, LEVEL1 + (BITS >> 12) * 8 - 8
	movl $0x93007, LEVEL1 + (BITS >> 12) * 8 + 8
	movq %cr3, %rax
	movq %rax, %cr3
	movl $BITS, %r15d
	xorl %eax, %eax
	movl $BITS - 0x800, %edi
	movl $0x1000, %ecx
	rep stosb
4:	imulq $97, %rbp, %r13
	imulq $-61, %rbp, %rcx
	movl %ebp, %edx
	btsq %r13, (%r15)
	adcl %ebp, %esi
	btcl %ecx, 0x20(%r15)
	adcl %ebp, %esi
	movq 8(%r15), %rax
	btrq %rdx, 8(%r15)
	adcl $0, %esi
	mix %rax
	mix 8(%r15)
	movl $BITS, %edx
	lock btsl %ebp, (%rdx,%rbp)
	adcl $0, %esi
	btl %ecx, -8(%rdx,%rbp,4)
	adcl $0, %esi
	again 4b
	movl $BITS - 0x800, %edi
4:	mix (%rdi)
	addl $8, %edi
	cmpl $BITS + 0x800, %edi
	jne 4b
	print

	/* 5. A bit string in a loop that has its other lookups hoisted. */
	begin
	movl $BITS + 0xf80, %edx
	movl $64 * TURNS, %ecx
	movl $0x55555555, BITS + 0x1000
5:	btrl %ecx, (%rdx)
	adcl %ecx, %esi
	addl %ecx, -0x800(%rdx)
	decl %ecx
	jnz 5b
	mix -0x800(%rdx)
	print

	/* 6. PUSH from memory, the stack's too, and POP RSP. */
	begin
	movl $A, %edi
	movq $STACK - 0x100, A + 8
	movq $0x7d18, A + 16
6:	pushq %rbp
	pushq (%rsp)
	cmpl $20, (%rsp)
	pushq 8(%rsp)
	pushq 8(%rdi)
	movl %esp, %eax
	popq %rsp
	adcl %esp, %esi
	mix %rax
	pushq %rsp
	popq %rcx
	mix %rcx
	pushq 16(%rdi)
	pushq %rbp
	subq $-8, %rsp
	popq %rsp                  /* the flags are not those of this one */
	movl (%rdi), %edx
	pushfq
	popq %rcx
	mix %rcx
	movl %eax, %esp
	popq %rcx
	popq %rcx
	mix %rcx
	popq %rcx
	mix %rcx
	popq %rcx
	mix %rcx
	again 6b
	print

	/* 7. The time: halves of 32 bits, that only grow; from 0 when it was set so. */
	begin
	movl $0xc0000103, %ecx
	movl $0x12345, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x10, %ecx
	xorl %eax, %eax
	wrmsr
	xorl %r8d, %r8d
7:	movq $-1, %rax
	movq %rax, %rdx
	cmpl $20, %ebp
	rdtsc
	adcl $0, %esi
	movq %rax, %r9
	orq %rdx, %r9
	shrq $32, %r9
	addl %r9d, %esi            /* 0 */
	shlq $32, %rdx
	orq %rdx, %rax
	cmpq %rax, %r8
	adcl $0, %edi
	movq %rax, %r8
	cmpl $20, %ebp
	rdtscp
	adcl %ecx, %esi
	shlq $32, %rdx
	orq %rdx, %rax
	cmpq %rax, %r8
	adcl $0, %edi
	movq %rax, %r8
	shrq $44, %rax
	addl %eax, %esi            /* 0 */
	again 7b
	print
	print %edi

	/* 8. RDTSC of user code, before and after CR4.TSD forbids it. */
	begin
	movl $2, %r12d
	enter_user64 $user
user:	movl $TURNS, %ebp
1:	rdtsc
	incl %edi
	again 1b
	int $0x80
on_user_end:
	movq %cr4, %rax
	btsl $2, %eax
	jc 8f
	movq %rax, %cr4
	movq $user, (%rsp)
	iretq
8:	addq $40, %rsp
	print %ebx
	print %edi

	/* 9. Bases of FS and GS, canonical or not, in registers and homes, with and without the right to;
	 * selectors. */
	begin
	movl $5, %r12d
	movl $USER_DATA, %eax
	movw %ax, %es
	movl $7, A
	movl $9, A + 0x1000
9:	movq %cr4, %rax
	btsl $16, %eax
	movq %rax, %cr4
	movabsq $-1, %r14
	leal A(%rbp), %r13d
	cmpl $20, %ebp
	wrfsbase %r13
	rdfsbase %r14
	adcl $0, %esi
	mix %r14
	movl %ebp, %ecx
	negq %rcx
	addl %fs:(%rcx), %esi
	orq $-1, %r14
	rdfsbase %r14d
	mix %r14
	addq $0x1000, %r13
	wrgsbase %r13d
	addl %gs:(%rcx), %esi
	cmpl $20, %ebp
	rdgsbase %rcx
	adcl %ecx, %esi
	movabsq $0x800000000000, %rcx
	wrgsbase %rcx              /* faults */
	movabsq $0xffff800000000000, %rcx
	wrgsbase %rcx
	movabsq $0xffff7fffffffffff, %rcx
	wrgsbase %rcx              /* faults */
	rdgsbase %rcx
	mix %rcx
	movabsq $0x7fffffffffff, %rcx
	cmpl $20, %ebp
	wrfsbase %rcx
	adcl $0, %esi
	movq $-1, %r9
	wrfsbase %r9d
	rdfsbase %rdx
	mix %rdx
	movq $-1, %rdx
	movq %rdx, %r15
	movw %es, %dx
	mix %rdx
	movl %es, %edx
	movw %cs, %r15w
	mix %rdx
	mix %r15
	cmpl $20, %ebp
	movq %ss, %r15
	adcq $0, %r15
	mix %r15
	movq %cr4, %rax
	btrl $16, %eax
	movq %rax, %cr4
	rdfsbase %rcx              /* undefined */
	wrgsbase %rdx              /* undefined */
	again 9b
	print
	print %ebx

	/* 10. SMAP, through the TLB and through page slots. */
	begin
	movl $LEVEL1, %ebx
9:	andl $~4, (%rbx)
	addl $8, %ebx
	cmpl $LEVEL1 + 0x1000, %ebx
	jne 9b
	movl $V + 7, LEVEL1 + (V >> 12) * 8
	movl $5, V
	movq %cr4, %rax
	orl $1 << 21, %eax
	movq %rax, %cr4
	xorl %ebx, %ebx
	xorl %ecx, %ecx
	movl $V, %edx
9:	cmpl $20, %ebp
	stac
	adcl V(%rcx), %esi
	addl (%rdx), %esi
	incl V
	cmpl $20, %ebp
	clac
	adcl $0, %esi
	addl %edi, A               /* the supervisor's: it may go on */
	addl V(%rcx), %esi         /* faults, and goes on with AC set */
	pushfq
	popq %rax
	mix %rax
	clac
	addl (%rdx), %esi          /* likewise */
	clac
	pushfq
	popq %rax
	mix %rax
	again 9b
	print
	print %ebx
	end

/* Where it was taken counts. */
on_interrupt:
	pushq %rax
	pushq %rcx
	pushq %rdx
	movq 24(%rsp), %rax
	subq %r12, %rax
	shll $8, %eax
	leal 1(%rbx,%rax), %ebx
	shll $4, %edi
	addl %edi, %ebx
	x2apic_eoi
	popq %rdx
	popq %rcx
	popq %rax
	iretq
	/* They step over what faulted, which has %r12 bytes. */
on_protection:
	incl %ebx
	addq $8, %rsp
	addq %r12, (%rsp)
	iretq
on_undefined:
	addl $0x100, %ebx
	addq %r12, (%rsp)
	iretq
on_page_fault:
	incl %ebx
	cmpl $100000, %ebx         /* where there is no FSGSBASE */
	ja give_up
	addq $8, %rsp
	orl $1 << 18, 16(%rsp)
	iretq
give_up:
	end
	define_gdt
