/*
 * Code that changes itself: the next instruction, an instruction of a loop that ran before, code
 * through another mapping of the same page.
 *
 * exits:
 *   hlt rax=42
 *   hlt rbx=37
 *   hlt rax=7
 *   end
 */
#include "guest.h"
	enter_long
	movb $0x42, 1f + 1
1:	movl $0x11, %eax
	hlt
	/* Ten rounds adding 1, then ten adding 5, less the immediate's change in round ten. */
	xorl %ebx, %ebx
	movl $20, %ecx
2:	addl $1, %ebx
	cmpl $11, %ecx
	jne 3f
	movb $5, 2b + 2
3:	decl %ecx
	jnz 2b
	addl $0xb, %ebx
	subl $0x10, %ebx
	hlt
	/* The page at 0x9000 is also at 0x1ff000. */
	movl $0x9007, PAGES + 0x3000 + 0x1ff * 8
	movl $0x1ff000, %esi
	invlpg (%rsi)
	movl $0x000001b8, 0x9000 /* mov $1, %eax */
	movw $0xc300, 0x9004     /* ret */
	movl $0x9000, %edi
	call *%rdi
	movb $7, 1(%rsi)
	call *%rdi
	hlt
	end
	define_gdt
