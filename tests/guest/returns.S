/*
 * Returns that do not go back where the last call came from, or where that means something else by
 * then: recursion deeper than anybody keeps track of, PUSH and RET, calls that never return, other
 * stacks; other code at the address, through CR3, INVLPG or a store; another mode or privilege. In
 * turn with returns that do, so that those are the usual thing.
 *
 * exits:
 *   hlt rax=112b438
 *   hlt rdx=19000a
 *   hlt rdx=124f80
 *   hlt rdx=1900300a
 *   hlt rdx=78c8
 *   hlt rdx=78c8
 *   hlt rdx=dc
 *   hlt rdx=c8
 *   hlt rdx=3200000
 *   hlt rdx=14
 *   hlt rdx=64 r8=3c
 *   hlt rdx=12c r8=14
 *   hlt rdx=12c r8=14
 *   end
 */
#include "guest.h"
#define LEVEL1  PAGES + 0x3000
#define B       0x50000 /* a second address space's tables, 4 KiB each from level 4 on */
#define ONE     0x70000
#define TWO     0x71000
#define VIEW    0x150000 /* ONE here, TWO there */
#define ALIAS_A 0x160000
#define ALIAS_B 0x180000
#define TOP     0x100000 /* of the stack */
#define OTHER   0x6a000  /* of another stack */
#define ROUNDS  40

	.macro map page, address
	movl $\page | 7, LEVEL1 + (\address >> 12) * 8
	.endm

	enter_long
	cld
	movl $TOP, %esp
	gate64 14, page_fault
	lidt idt_pointer
	load_tss64
	enable_syscall on_syscall
	movl $view, %esi
	movl $ONE, %edi
	movl $view_end - view, %ecx
	rep movsb
	movl $view, %esi
	movl $TWO, %edi
	movl $view_end - view, %ecx
	rep movsb
	movl $0x100, TWO + (view_value - view) + 1
	movl $PAGES, %esi
	movl $B, %edi
	movl $0x4000, %ecx
	rep movsb
	movl $B + 0x1007, B
	movl $B + 0x2007, B + 0x1000
	movl $B + 0x3007, B + 0x2000
	map ONE, VIEW
	movl $TWO | 7, B + 0x3000 + (VIEW >> 12) * 8
	movl $kernels, %eax
	shrl $12, %eax
	movl $kernels + 3, LEVEL1(, %rax, 8)
	movq %cr3, %rax
	movq %rax, %cr3

	/* 1. Deep. */
	movl $5, %ebp
1:	xorl %eax, %eax
	movl $6000, %edi
	call sum
	decl %ebp
	jnz 1b
	hlt

	/* 2. Deep, with flags that nothing tells. */
	xorl %edx, %edx
	movl $5, %ebp
2:	movl $2000, %ecx
	stc
	call pass
	adcl $0, %edx
	movl $2000, %ecx
	movb $0x7f, %al
	addb $1, %al
	call pass
	seto %al
	movzbl %al, %eax
	addl %eax, %edx
	movl $2000, %ecx
	call pass_and_lose
	sbbl %eax, %eax
	subl %eax, %edx
	addl $0x50000, %edx
	decl %ebp
	jnz 2b
	subl $5, %edx
	hlt

	/* 3. Calls that nothing ever returns from, without and with such flags. */
	xorl %edx, %edx
	movl $600000, %ecx
3:	call 1f
	hlt
1:	addq $8, %rsp
	incl %edx
	decl %ecx
	jnz 3b
	movl $600000, %ecx
	movq %rsp, %rbx
4:	movl $1, %esi
	shrl $1, %esi
	movl $0, %esi
	call 1f
	hlt
	.balign 64
1:	movq %rbx, %rsp
	adcl $0, %edx
	decl %ecx
	jnz 4b
	hlt

	/* 4. All that does not pair, with callers that have pairs. */
	xorl %edx, %edx
	movl $100, %ebp
3:	call outer
	decl %ebp
	jnz 3b
	hlt

	/* 5. Another address space. */
	xorl %edx, %edx
	movl $ROUNDS, %ebp
4:	movl $VIEW, %ebx
	movl $switch, %esi
	movl $PAGES, %edi
	call *%rbx
	addl %eax, %edx
	movl $B, %edi
	call *%rbx
	leal (%rdx, %rax, 2), %edx
	call *%rbx
	addl %eax, %edx
	movl $PAGES, %edi
	call *%rbx
	leal (%rdx, %rax, 4), %edx
	decl %ebp
	jnz 4b
	hlt

	/* 6. Another page, with INVLPG. */
	xorl %edx, %edx
	movl $ROUNDS, %ebp
5:	movl $VIEW, %ebx
	movl $remap, %esi
	movl $ONE | 7, %edi
	call *%rbx
	addl %eax, %edx
	movl $TWO | 7, %edi
	call *%rbx
	leal (%rdx, %rax, 2), %edx
	call *%rbx
	addl %eax, %edx
	movl $ONE | 7, %edi
	call *%rbx
	leal (%rdx, %rax, 4), %edx
	decl %ebp
	jnz 5b
	hlt

	/* 7. The callee changes the code behind the call. */
	xorl %edx, %edx
	movl $0, behind_change + 1
	movl $ROUNDS, %ebp
6:	call change
behind_change:
	movl $0, %eax
	addl %eax, %edx
	decl %ebp
	jnz 6b
	hlt

	/* 8. The last instruction of a page. */
	xorl %edx, %edx
	movl $100, %ebp
7:	call page_end
	decl %ebp
	jnz 7b
	hlt

	/* 9. One page at two addresses. */
	movl $alias_page, %eax
	orl $7, %eax
	movl %eax, LEVEL1 + (ALIAS_A >> 12) * 8
	movl %eax, LEVEL1 + (ALIAS_B >> 12) * 8
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %edx, %edx
	movl $5, %ebp
8:	movl $ALIAS_A, %ebx
	movl $5, %ecx
	call *%rbx
	decl %ebp
	jnz 8b
	hlt

	/* 10. Out of 64-bit code, with a return there. */
	xorl %edx, %edx
	movl $ROUNDS, %ebp
9:	call to_compat
behind_compat:
	andl $0, %eax
	.byte 0x40, 0x90       /* in 32-bit code: incl %eax; nop */
	testl %eax, %eax
	jz 1f
	.byte 0xea             /* there ljmp, here #UD */
	.long 1f
	.word CODE64
1:	addl %eax, %edx
	movl $TOP, %esp
	decl %ebp
	jnz 9b
	hlt

	/* 11. A return of the kernel's, behind a call of the user's. The user's own access faults. */
	xorl %edx, %edx
	xorl %r8d, %r8d
	movl $ROUNDS, %ebp
10:	movl $kernel_returns, %r12d
	movl $11f, %r15d
	movl $user_calls, %edi
	jmp to_user
11:	movl $12f, %r15d
	movl $user_reads, %edi
	jmp to_user
12:	movl $TOP, %esp
	decl %ebp
	jnz 10b
	hlt

	/* 12. The user's, by way of SYSRET, behind a call of the kernel's. */
	xorl %edx, %edx
	xorl %r8d, %r8d
	movl $ROUNDS, %ebp
13:	movl $14f, %r15d
	jmp reads
14:	movl $15f, %r15d
	movl $by_sysret, %edi
	jmp kernel_calls
15:	movl $TOP, %esp
	decl %ebp
	jnz 13b
	hlt

	/* 13. The same by IRET. */
	xorl %edx, %edx
	xorl %r8d, %r8d
	movl $ROUNDS, %ebp
16:	movl $17f, %r15d
	jmp reads
17:	movl $18f, %r15d
	movl $by_iret, %edi
	jmp kernel_calls
18:	movl $TOP, %esp
	decl %ebp
	jnz 16b
	hlt
	end

sum:
	testl %edi, %edi
	jz 1f
	pushq %rdi
	decl %edi
	call sum
	popq %rdi
	addl %edi, %eax
1:	ret

pass:
	jecxz 1f
	leal -1(%rcx), %ecx
	call pass
1:	ret

/* CF of a shift that is told by no register any more. */
pass_and_lose:
	movl $3, %eax
	shrl $1, %eax
	movl $0, %eax
	call pass
	ret

outer:
	call middle
	addl $1, %edx
	ret
middle:
	testl $1, %ebp
	jz 1f
	call leaf
1:	call mixed
	addl $2, %edx
	ret
mixed:
	/* PUSH and RET */
	testl $3, %ebp
	jz 1f
	ret
1:	movl $1f, %eax
	pushq %rax
	ret
1:	addl $4, %edx
	/* CALL and POP */
	call 2f
	.long 8
2:	popq %rsi
	addl (%rsi), %edx
	call 3f
3:	popq %rsi
	subl $3b, %esi
	addl %esi, %edx
	/* one that changes its return address */
	call skip
	jmp 3f
	addl $16, %edx
3:
	/* out of a recursion */
	movq %rsp, %rbx
	movl $10, %edi
	movl $4f, %esi
	call dive
4:	movq %rbx, %rsp
	addl $32, %edx
	/* a retpoline */
	movl $leaf, %eax
	call thunk
	/* a return through a thunk that calls what drops its return address, as AMD's CPUs want it */
	call safe
	/* a return that takes arguments away */
	pushq $1
	pushq $2
	call take
	/* another stack, and back; or this one */
	leaq -8(%rsp), %rcx
	call switch_stacks
	testl $4, %ebp
	jz 5f
	movl $OTHER - 8, %ecx
	movl $on_other, OTHER - 8
	call switch_stacks
	addl $64, %edx
	call switch_stacks
5:	ret
skip:
	testl $4, %ebp
	jz 1f
	addq $2, (%rsp)
1:	ret
dive:
	decl %edi
	jz 1f
	call dive
	ret
1:	testl $4, %ebp
	jz 2f
	jmp *%rsi
2:	ret
thunk:
	call 2f
1:	pause
	lfence
	jmp 1b
	.balign 16
2:	movq %rax, (%rsp)
	ret
leaf:
	addl $128, %edx
	ret
safe:
	addl $0x1000000, %edx
	jmp safe_thunk
safe_thunk:
	call 1f
	ud2
1:	leaq 8(%rsp), %rsp
	ret
take:
	addl 8(%rsp), %edx
	ret $16
switch_stacks:
	xchgq %rcx, %rsp
	ret
on_other:
	call switch_stacks
	addl $16, %edx
	call switch_stacks

switch:
	movq %rdi, %cr3
	ret
remap:
	movl %edi, LEVEL1 + (VIEW >> 12) * 8
	invlpg (%rbx)
	ret

change:
	testl $3, %ebp
	jnz 1f
	incl behind_change + 1(%rip)
1:	ret

to_compat:
	testl $1, %ebp
	jz 2f
	ret
2:
	pushq $CODE32
	pushq $1f
	lretq
	.code32
1:	ret
	.code64

/* To ring 3 at EDI, on the other stack. */
to_user:
	enter_user64 %rdi, stack=$OTHER
user_calls:
	call gate
reads:
	movl kernels(%rip), %ecx
	addl %ecx, %edx
	jmp *%r15
gate:
	testl $1, %ebp
	jz 1f
	ret
1:	syscall
on_syscall:
	jmp *%r12
kernel_returns:
	ret
user_reads:
	jmp reads

kernel_calls:
	call *%rdi
	movl kernels(%rip), %ecx
	addl %ecx, %edx
	jmp *%r15
by_sysret:
	testl $1, %ebp
	jz 1f
	ret
1:
	movl $user_returns, %ecx
	movl $2, %r11d
	sysretq
by_iret:
	testl $1, %ebp
	jz 1f
	ret
1:
	movq %rsp, %rax
	enter_user64 $user_returns, stack=%rax
user_returns:
	ret

page_fault:
	incl %r8d
	jmp *%r15

/* RSI is called; RAX tells which page it returns to. */
	.balign 64
view:
	call *%rsi
view_value:
	movl $1, %eax
	ret
view_end:
	define_gdt

	.balign 4096
kernels: /* not the user's */
	.long 5

	.balign 4096
alias_page:
	leaq alias_page(%rip), %rax
	addq %rax, %rdx
	decl %ecx
	jz 1f
	xorl $ALIAS_A ^ ALIAS_B, %ebx
	call *%rbx
	leaq alias_page(%rip), %rax
	shrq $1, %rax
	addq %rax, %rdx
1:	ret

	.balign 4096
	.skip 4096 - 10
page_end:
	addl $1, %edx
	nop
	nop
	call leaf_2
	.balign 4096 /* nothing: the next page begins here */
	ret
leaf_2:
	addl $1, %edx
	ret
