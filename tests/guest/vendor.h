/* What the guests of both vendors share. */
#include "guest.h"

/* A code breakpoint on the instruction after MOV SS; its handler prints DR6. */
	.macro break_after_mov_ss
	gate64 1, on_1
	movl $2f, %eax
	movq %rax, %dr0
	movl $0x401, %eax
	movq %rax, %dr7
	movl $DATA, %ecx
	movw %cx, %ss
2:	nop
	xorl %eax, %eax
	movq %rax, %dr7
	.endm

/* Handlers that print the vector and go on at %ebp; and where no way leads. */
	.macro vendor_handlers
on_1:
	movq %dr6, %rax
	outl %eax, $PORT_PRINT
	orq $0x10000, 16(%rsp) /* RF: past the breakpoint */
	iretq
on_6:
	movl $6, %eax
	outl %eax, $PORT_PRINT
	movq %rbp, (%rsp)
	iretq
on_13:
	movl $13, %eax
	outl %eax, $PORT_PRINT
	addq $8, %rsp
	movq %rbp, (%rsp)
	iretq
wrong:
	movl $0xbad, %eax
	outl %eax, $PORT_PRINT
	end
	.endm
