/*
 * returns.S in 32-bit code: deep recursion, with and without flags that nothing tells, and returns
 * that do not go back where the last call came from, in turn with those that do.
 *
 * exits:
 *   hlt rax=112b438
 *   hlt rdx=a
 *   hlt rdx=927c0
 *   hlt rdx=a52
 *   end
 */
#include "guest.h"
#define TOP   0x100000 /* of the stack */
#define OTHER 0x6a000  /* of another stack */
	enter_protected
	cld
	movl $TOP, %esp

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
	movl $10, %ebp
2:	movl $2000, %ecx
	movl $3, %eax
	shrl $1, %eax
	movl $0, %eax
	call pass
	adcl $0, %edx
	decl %ebp
	jnz 2b
	hlt

	/* 3. Calls that nothing ever returns from. */
	xorl %edx, %edx
	movl $600000, %ecx
3:	call 1f
	hlt
1:	addl $4, %esp
	incl %edx
	decl %ecx
	jnz 3b
	hlt

	/* 4. All that does not pair. */
	xorl %edx, %edx
	movl $100, %ebp
4:	call outer
	decl %ebp
	jnz 4b
	hlt
	end

sum:
	testl %edi, %edi
	jz 1f
	pushl %edi
	decl %edi
	call sum
	popl %edi
	addl %edi, %eax
1:	ret

pass:
	jecxz 1f
	leal -1(%ecx), %ecx
	call pass
1:	ret

outer:
	call mixed
	addl $1, %edx
	ret
mixed:
	testl $3, %ebp
	jz 1f
	ret
1:	movl $1f, %eax
	pushl %eax
	ret
1:	addl $2, %edx
	call 2f                /* for its address, as position-independent code does */
2:	popl %ebx
	subl $2b, %ebx
	addl %ebx, %edx
	call skip
	jmp 3f
	addl $4, %edx
3:	movl %esp, %ebx
	movl $10, %edi
	movl $4f, %esi
	call dive
4:	movl %ebx, %esp
	addl $8, %edx
	pushl $16
	pushl $32
	call take
	leal -4(%esp), %ecx
	call switch_stacks
	testl $4, %ebp
	jz 5f
	movl $OTHER - 4, %ecx
	movl $on_other, OTHER - 4
	call switch_stacks
	addl $64, %edx
	call switch_stacks
5:	ret
skip:
	testl $4, %ebp
	jz 1f
	addl $2, (%esp)
1:	ret
dive:
	decl %edi
	jz 1f
	call dive
	ret
1:	testl $4, %ebp
	jz 2f
	jmp *%esi
2:	ret
take:
	addl 4(%esp), %edx
	addl 8(%esp), %edx
	ret $8
switch_stacks:
	xchgl %ecx, %esp
	ret
on_other:
	call switch_stacks
	addl $16, %edx
	call switch_stacks
	define_gdt
