/*
 * Flags that live across what destroys the host's: calls and returns through other pages, stores,
 * backward jumps, with a timer's interrupts in between whose handler has flags of its own. Each
 * loop sums what the flags tell.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 00030d3f
 *   out 0xf1 4: 0000c350
 *   out 0xf1 4: 000061a8
 *   out 0xf1 4: 0000c350
 *   out 0xf1 4: 0010c8e0
 *   out 0xf1 4: 0000c350
 *   end
 */
#include "guest.h"
#define BUFFER 0x50000
	enter_long
	gate64 0x40, on_timer
	movl $0x41000, %esp
	mask_pics
	enter_x2apic
	x2apic_timer 0x20040       /* periodic */
	write_msr 0x838, 100000
	sti

	/* A comparison, read behind a backward jump. */
	xorl %ecx, %ecx
	movl $200000, %esi
	xorl %edx, %edx
1:	adcl $0, %edx
	leal 1(%rcx), %ecx
	cmpl %esi, %ecx
	movl %edx, BUFFER
	jne 1b
	call print

	/* A shift, read behind a call to another page. */
	movl $50000, %ecx
	xorl %edx, %edx
2:	movl $1, %eax
	shrl $1, %eax
	call load
	adcl $0, %edx
	decl %ecx
	jnz 2b
	call print

	/* A logic operation whose result is gone when the function returns. */
	movl $50000, %ecx
	xorl %edx, %edx
3:	call is_even
	sete %al
	movzbl %al, %eax
	addl %eax, %edx
	decl %ecx
	jnz 3b
	call print

	/* A flag that goes through everything, by way of pointers and the stack. */
	movl $50000, %ecx
	xorl %edx, %edx
	movl $pass, %edi
4:	stc
	call *%rdi
	adcl $0, %edx
	decl %ecx
	jnz 4b
	call print

	/* RSP's own: all of them. */
	movl $50000, %ecx
	xorl %edx, %edx
5:	movl $0x41000, %esp
	call frame
	lahf
	movzbl %ah, %eax
	addl %eax, %edx
	decl %ecx
	jnz 5b
	call print

	/* INC leaves CF to the instruction before it. */
	xorl %ecx, %ecx
	movl $50000, %esi
	xorl %edx, %edx
6:	adcl $0, %edx
	cmpl %esi, %ecx
	incl %ecx
	pushq %rcx
	popq BUFFER
	movl BUFFER, %eax
	xchgl %eax, %ebx
	jmp 7f
	.balign 64
7:	jbe 6b
	call print
	end

print:
	movl %edx, %eax
	outl %eax, $PORT_PRINT
	ret
on_timer:
	pushq %rax
	pushq %rcx
	pushq %rdx
	x2apic_eoi
	addl $0x7fffffff, %eax
	addl %eax, %eax
	popq %rdx
	popq %rcx
	popq %rax
	iretq
	define_gdt

	.balign 4096
load:
	movl BUFFER, %eax
	movl BUFFER + 8, %ebx
	ret
is_even:
	pushq %rbx
	movl %ecx, %ebx
	andl $1, %ebx
	popq %rbx
	ret
pass:
	movl %ecx, BUFFER
	pushq $behind_pass
	ret
	.balign 4096
behind_pass:
	ret
frame:
	pushq %rbx
	subq $24, %rsp
	movl %ecx, (%rsp)
	addq $24, %rsp
	popq %rbx
	ret
