/*
 * Interrupts into loops that leave nothing else to look: `jmp .` and a loop over two instructions,
 * many times over; HLT in between, which the timer ends. Into a tree of 2^44 calls, too, without one
 * jump back.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 00000014
 *   out 0xf1 4: 00000014
 *   out 0xf1 4: 00000014
 *   out 0xf1 4: 00000014
 *   end
 */
#include "guest.h"
	enter_long
	gate64 0x40, on_timer
	movl $0x41000, %esp
	mask_pics
	enter_x2apic
	x2apic_timer 0x40          /* one-shot */
	sti

	movl $20, %ebp
	xorl %r13d, %r13d
1:	movl $2f, %r14d
	call arm
	jmp .
2:	decl %ebp
	jnz 1b
	movl %r13d, %eax
	outl %eax, $PORT_PRINT

	movl $20, %ebp
	xorl %r13d, %r13d
3:	movl $5f, %r14d
	call arm
4:	incq %rbx
	testl %esp, %esp
	jnz 4b
5:	decl %ebp
	jnz 3b
	movl %r13d, %eax
	outl %eax, $PORT_PRINT

	movl $20, %ebp
	xorl %r13d, %r13d
6:	cli
	movl $7f, %r14d
	call arm
	sti
	hlt
7:	decl %ebp
	jnz 6b
	movl %r13d, %eax
	outl %eax, $PORT_PRINT

	/* All of it is warm before. */
	movl $2, %ebp
1:	movl $tree, %ebx
2:	movl $1, %edi
	call *%rbx
	addl $tree_node, %ebx
	cmpl $tree_end, %ebx
	jne 2b
	decl %ebp
	jnz 1b
	movl $20, %ebp
	xorl %r13d, %r13d
8:	movl $9f, %r14d
	call arm
	movl $1000, %edi
	call tree
9:	movl $0x41000, %esp
	decl %ebp
	jnz 8b
	movl %r13d, %eax
	outl %eax, $PORT_PRINT
	end

/* An interrupt in some 50 microseconds. */
arm:
	write_msr 0x838, 50000
	ret
on_timer:
	incl %r13d
	x2apic_eoi
	movq %r14, (%rsp)          /* goes on behind the loop */
	iretq
/* EDI: how deep it is. */
	.equ tree_node, 32
	.balign 2048
tree:
	.rept 44
	.balign tree_node
	decl %edi
	js 2f
	call 1f
	call 1f
2:	incl %edi
	ret
	.balign tree_node
1:
	.endr
tree_end:
	ret
	define_gdt
