/*
 * A second contributory exception on the way to the first one's handler is a double fault, with
 * error code 0; a third one, for want of a handler for that, is a shutdown.
 *
 * exits:
 *   out 0xf1 4: 00000008
 *   out 0xf1 4: 00000000
 *   hlt rsp=7fe0
 *   shutdown
 */
#include "guest.h"
	enter_protected
	/* #GP's gate is not present: #NP while delivering #GP, both contributory. */
	gate32 13, on_fault, 0x0e
	gate32 8, on_fault
	movl $0xffffff, %eax
	movw %ax, %fs
	hlt
on_fault:
	movl $8, %eax
	outl %eax, $PORT_PRINT
	popl %eax
	outl %eax, $PORT_PRINT
	pushl %eax
	hlt
	/* Now #DF has no handler either. */
	movl $0, IDT + 8 * 8 + 4
	movl $0xffffff, %eax
	movw %ax, %fs
	define_gdt
