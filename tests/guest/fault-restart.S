/*
 * Faults and other interruptions inside loops that have run often: pages that are not there, under
 * pushes, calls, returns, string instructions and vector loads; flags that live on across them.
 *
 * exits:
 *   hlt rax=28 rbx=28
 *   hlt rdi=50010 rbx=28 rcx=0
 *   hlt rax=55 rbx=32
 *   hlt r12=abcd rbx=28 r14=abcd
 *   hlt rax=28 rdx=28
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define AWAY   0x50000 /* a page that is there only after a fault */
#define FAULT_STACK 0x41000
/* The page is not there any more. */
	.macro away
	movl $0, LEVEL1 + (AWAY >> 12) * 8
	invlpg AWAY
	.endm
	enter_long
	gate64 14, on_page_fault
	/* On a stack of its own. */
	movb $1, IDT + 14 * 16 + 4
	movl $FAULT_STACK, TSS_ADDRESS + 36
	movw $TSS, %ax
	ltr %ax
	gate64 0, on_divide
	cld

	/* 1. Flags live across a store that faults each time: CF set before, read after. */
	xorl %eax, %eax
	xorl %ebx, %ebx
	movl $40, %ebp
1:	away
	stc
	movl %ebp, AWAY
	adcl $0, %eax
	decl %ebp
	jnz 1b
	hlt

	/* 2. REP STOSB and MOVSB into the page from the one before. */
	xorl %ebx, %ebx
	movl $20, %ebp
2:	away
	movl $AWAY - 8, %edi
	movl $16, %ecx
	movb $0xaa, %al
	rep stosb
	away
	movl $AWAY - 8, %edi
	movl $AWAY - 24, %esi
	movl $24, %ecx
	rep movsb
	decl %ebp
	jnz 2b
	hlt

	/* 3. The stack at the page's border: PUSH, POP, CALL, RET and LEAVE fault and start again. */
	xorl %ebx, %ebx
	movl $10, %r9d
3:	away
	movl $AWAY + 0x1000, %esp
	pushq $0x55
	away
	popq %rax
	away
	call nothing               /* and its return */
	movl $AWAY + 0x800, %ebp
	away
	leave
	cmpl $AWAY + 0x808, %esp
	jne wrong
	decl %r9d
	jnz 3b
	movl $STACK, %esp
	hlt

	/* 4. Registers that are memory of the engine's, and a vector load, with a fault. */
	xorl %ebx, %ebx
	movl $20, %ebp
	movl $AWAY, %r13d
	movl $8, %r15d
5:	call plant_data
	away
	movq -0x40(%r13, %r15, 8), %r14
	away
	movdqu (%r13), %xmm3
	movd %xmm3, %r12d
	decl %ebp
	jnz 5b
	hlt

	/* 5. A division that faults in a loop: RIP and flags are those of the instruction. */
	xorl %eax, %eax
	xorl %ebx, %ebx
	movl $40, %ebp
6:	xorl %ecx, %ecx
	stc
	divl %ecx
	adcl $0, %ebx              /* CF as before the fault */
	decl %ebp
	jnz 6b
	movl %ebx, %edx
	hlt
	end

nothing:
	away
	ret
plant_data:
	movl $0xabcd, AWAY
	movl $0, AWAY + 4
	ret
on_page_fault:
	pushq %rax
	movq %cr2, %rax
	shrl $12, %eax
	cmpl $AWAY >> 12, %eax
	jne 1f
	movl $AWAY | 7, LEVEL1 + (AWAY >> 12) * 8
	incl %ebx
	popq %rax
	addq $8, %rsp
	iretq
wrong:
1:	hlt
	end
on_divide:
	incl %eax
	addq $2, (%rsp)
	iretq
	define_gdt
