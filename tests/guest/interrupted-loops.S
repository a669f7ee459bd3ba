/*
 * Interrupts into loops that leave nothing else to look: `jmp .` and a loop over two instructions,
 * many times over; HLT in between, which the timer ends.
 * needs: irqchip
 *
 * exits:
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
	define_gdt
