/*
 * A triple fault: no interrupt table, an undefined instruction.
 *
 * exits:
 *   out 0xf1 1: 01
 *   shutdown
 */
#include "guest.h"
	enter_protected
	movb $1, %al
	outb %al, $PORT_PRINT
	movw $0, idt_pointer
	lidtl idt_pointer
	ud2
	end
	define_gdt
