/*
 * The guest of `bench/run --only loops`: small loops.
 *
 * On COM1 it prints "> NAME OPERATIONS" before a loop and "<" after it, three rounds of all loops,
 * and "done". The host times these lines, so that the guest's own clock does not matter. An operation
 * is an instruction, except where the loop's comment says otherwise.
 */
#include "start.S"

#define ROUNDS 3

	.text
main:
	gate 0x30, on_interrupt
	movl $ROUNDS, %r15d
round:
	movl $table, %r14d
next:
	movl (%r14), %eax
	testl %eax, %eax
	jz 1f
	movl $'>', %eax
	call print_char
	movl $' ', %eax
	call print_char
	leaq 12(%r14), %rsi
	call print_string
	movl $' ', %eax
	call print_char
	movl 8(%r14), %eax
	mull 4(%r14)
	shlq $32, %rdx
	orq %rdx, %rax
	call print_decimal
	movl $'\n', %eax
	call print_char
	movl 4(%r14), %ecx
	movl (%r14), %eax
	call *%rax
	movl $'<', %eax
	call print_char
	movl $'\n', %eax
	call print_char
	addq $28, %r14
	jmp next
1:	decl %r15d
	jnz round
	movl $done, %esi
	call print_string
1:	cli
	hlt
	jmp 1b

/* Each loop runs ECX times. */
integer:
	addq %rbx, %rax
	xorq %rax, %rdx
	leaq 3(%rdx, %rbx), %rsi
	subq %rsi, %rdi
	shlq $3, %rdi
	andq $0x7fff, %rdi
	orq %rdi, %rbx
	movq %rbx, %r8
	decl %ecx
	jnz integer
	ret

memory:
	movl $ARRAY, %esi
	movl $ARRAY2, %edi
	xorl %eax, %eax
1:	movl (%rsi, %rax, 4), %edx
	addl %edx, %ebx
	movl %ebx, (%rdi, %rax, 4)
	incl %eax
	andl $8191, %eax
	decl %ecx
	jnz 1b
	ret

branches:
	movl $1, %eax
1:	imull $1664525, %eax, %eax
	addl $1013904223, %eax
	testl $0x10000000, %eax
	jz 2f
	incl %ebx
	jmp 3f
2:	decl %ebx
	nop
3:	decl %ecx
	jnz 1b
	ret

calls:
	call 1f
	decl %ecx
	jnz calls
	ret
1:	pushq %rbp
	movq %rsp, %rbp
	popq %rbp
	ret

/* An operation is a quadword copied. */
string:
	movl %ecx, %ebx
1:	movl $ARRAY, %esi
	movl $ARRAY2, %edi
	movl $512, %ecx
	rep movsq
	decl %ebx
	jnz 1b
	ret

sse:
	movaps ones, %xmm1
	movaps halves, %xmm2
	movaps %xmm1, %xmm0
1:	mulps %xmm2, %xmm0
	addps %xmm1, %xmm0
	pshufd $0x1b, %xmm0, %xmm3
	paddd %xmm3, %xmm4
	pxor %xmm4, %xmm5
	movaps %xmm5, vector
	movaps vector, %xmm6
	decl %ecx
	jnz 1b
	ret

double:
	movl $3, %eax
	cvtsi2sd %eax, %xmm1
	movapd %xmm1, %xmm0
1:	addsd %xmm1, %xmm0
	divsd %xmm1, %xmm0
	mulsd %xmm1, %xmm0
	subsd %xmm1, %xmm0
	cvttsd2si %xmm0, %edx
	ucomisd %xmm1, %xmm0
	decl %ecx
	jnz 1b
	ret

/* Pages that no TLB holds all of. */
pages:
	movl %ecx, %ebx
1:	movl $MANY, %esi
	movl $16384, %ecx
2:	movl (%rsi), %eax
	addq $4096, %rsi
	decl %ecx
	jnz 2b
	decl %ebx
	jnz 1b
	ret

/* An operation is an INT with its IRET. */
interrupts:
	int $0x30
	decl %ecx
	jnz interrupts
	ret
on_interrupt:
	iretq

/* An operation is an access to a port that the monitor answers. */
ports:
	outb %al, $0x80
	decl %ecx
	jnz ports
	ret

	.data
	/* Function, iterations, operations in an iteration, name. */
	.macro loop function, iterations, operations
	.long \function, \iterations, \operations
1:	.asciz "\function"
	.fill 16 - (. - 1b), 1, 0
	.endm
table:
	loop integer, 20000000, 10
	loop memory, 10000000, 7
	loop branches, 10000000, 8
	loop calls, 10000000, 7
	loop string, 50000, 512
	loop sse, 3000000, 9
	loop double, 3000000, 8
	loop pages, 200, 65536
	loop interrupts, 500000, 1
	loop ports, 50000, 1
	.long 0
done:
	.asciz "done\n"

	.align 16
ones:
	.float 1, 1, 1, 1
halves:
	.float 0.5, 0.5, 0.5, 0.5

	.bss
	.align 16
vector:	.skip 16
