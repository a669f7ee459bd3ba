/*
 * Loops that go between 64-bit and compatibility mode: the same bytes mean different things, registers
 * have halves that only one side sees, stacks fault in between.
 *
 * exits:
 *   hlt rax=28 rbx=50
 *   hlt rax=50 r8=1111111122222222 r12=3333333344444444 r13=5555555566666666 r15=7777777788888888
 *   hlt rax=28 rbx=28 rcx=0 rdx=28 rsi=28 rdi=78 rsp=7ff0
 *   hlt rax=28 rbx=3c rbp=0
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define AWAY   0x50000 /* a page that is there only after a fault */
#define FAULT_STACK 0x41000
	.macro away
	movl $0, LEVEL1 + (AWAY >> 12) * 8
	invlpg AWAY
	.endm
	.macro to_32
	ljmpl *.Lpointer\@
	.balign 4
.Lpointer\@:
	.long .Lthere\@
	.word CODE32
	.code32
.Lthere\@:
	.endm
	.macro to_64
	ljmpl $CODE64, $.Lthere\@
	.code64
.Lthere\@:
	.endm
	enter_long
	gate64 14, on_page_fault
	movb $1, IDT + 14 * 16 + 4
	movl $FAULT_STACK, TSS_ADDRESS + 36
	movw $TSS, %ax
	ltr %ax
	xorl %eax, %eax
	xorl %ebx, %ebx
	movl $STACK, %esp

	/* 1. One function for both: INC RAX, or DEC EAX and INC EAX; calls by address and direct ones. */
	movl $40, %ebp
	movl $both, %esi
1:	call *%rsi
	to_32
	call *%esi
	call both
	incl %ebx
	to_64
	call both
	subl $1, %eax
	addl $1, %ebx
	decl %ebp
	jnz 1b
	hlt

	/* 2. Compatibility mode leaves R8 to R15 alone. */
	movabsq $0x1111111122222222, %r8
	movabsq $0x3333333344444444, %r12
	movabsq $0x5555555566666666, %r13
	movabsq $0x7777777788888888, %r15
	xorl %eax, %eax
	movl $40, %ebp
2:	to_32
	movl $2, %ecx
3:	.byte 0x40
	decl %ecx
	jnz 3b
	to_64
	decl %ebp
	jnz 2b
	hlt

	/* 3. Upper halves from 64-bit mode: in addresses, jumps, the stack pointer, results. */
	xorl %edx, %edx
	xorl %edi, %edi
	movl $0, 0x30000
	movl $0, 0x30008
	movl $40, %r9d
3:	movabsq $0x1234500030000, %rbx
	movabsq $0x6789a00008000, %rsi
	addl $5f - 0x8000, %esi
	movabsq $0x6789a00000000, %rax
	leaq 5f(%rax), %rsi
	movabsq $0x100007f00, %rsp
	movabsq $0xabcd00000004, %rcx
	movabsq $0xfffffffe00007efc, %rbp
	to_32
	incl (%ebx)
	incl (%ebx,%ecx,2)
	pushl %ebx
	popl 0x30010
	jmp *%esi
	ud2
5:	call 6f
	leave
	cmpl $0x7f00, %esp
	jne 7f
	incl %edx
7:	leal (%ebx,%ecx), %ecx
	to_64
	xorl %eax, %eax
	shrq $32, %rcx             /* LEA has cleared it */
	addl %ecx, %edx
	movq %rsp, %rcx
	shrq $32, %rcx
	addl %ecx, %edx
	movabsq $0x100007f00, %rsp
	to_32
	pushl %ecx
	popl %ecx
	to_64
	movq %rsp, %rcx
	shrq $32, %rcx
	addl %ecx, %edx
	addl $3, %edi
	decl %r9d
	jnz 3b
	movl $STACK, %esp
	movl 0x30000, %eax
	movl 0x30008, %ebx
	movl %eax, %esi
	hlt
	jmp 4f
	.code32
6:	ret
	.code64
4:
	/* 4. The stack at a page's border: PUSH, POP, CALL, RET and LEAVE fault and start again. */
	movl $0, faults
	xorl %eax, %eax
	movl $10, %r9d
4:	movl $AWAY + 0x1000, %esp
	away
	to_32
	pushl $0x55
	to_64
	away
	to_32
	stc
	popl %ecx
	adcl $0, %eax
	to_64
	away
	to_32
	call away_and_return
	movl $AWAY + 0x100, %ebp
	to_64
	away
	to_32
	stc
	leave
	adcl $0, %eax
	movl $AWAY + 0x1000, %esp
	movl $nothing32, 0x30020
	to_64
	movl $0, LEVEL1 + ((AWAY >> 12) - 1) * 8
	invlpg AWAY - 0x1000
	movl $AWAY, %esp
	to_32
	stc
	call *0x30020
	adcl $0, %eax
	pushl 0x30020
	call *(%esp)
	stc
	popl %ebp
	adcl $0, %eax
	to_64
	xorl %ebp, %ebp
	decl %r9d
	jnz 4b
	movl faults, %ebx
	movl $STACK, %esp
	hlt
	end

both:
	.byte 0x48, 0xff, 0xc0
	ret
	.code32
nothing32:
	ret
away_and_return:
	movl $0, LEVEL1 + (AWAY >> 12) * 8
	invlpg AWAY
	ret
	.code64
on_page_fault:
	pushq %rax
	incl faults
	movq %cr2, %rax
	andl $0xff000, %eax
	pushq %rbx
	movl %eax, %ebx
	shrl $9, %ebx
	orl $7, %eax
	movl %eax, LEVEL1(%rbx)
	popq %rbx
	popq %rax
	addq $8, %rsp
	iretq
	.balign 4
faults:
	.long 0
	define_gdt
