/*
 * The classic first guest: prints "Hello" byte by byte and halts.
 *
 * exits:
 *   out 0xf1 1: 48
 *   out 0xf1 1: 65
 *   out 0xf1 1: 6c
 *   out 0xf1 1: 6c
 *   out 0xf1 1: 6f
 *   hlt rax=0 rcx=0
 *   end
 */
#include "guest.h"
	.code16
	xorl %eax, %eax
	movw $text, %si
	movw $PORT_PRINT, %dx
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:	hlt
	end
text:
	.asciz "Hello"
