/*
 * Every way in which a guest closes the vector registers to itself, with code that is translated
 * already: MOV CR0, LMSW, CR4, and hardware tasks, which set CR0.TS (Intel SDM vol. 3 §7.3), by a far
 * jump, a far call, an interrupt, and IRET. Each round runs an SSE instruction with them open and one
 * with them closed: RAX counts #NM, RBX #UD.
 *
 * exits:
 *   hlt rax=28 rbx=0
 *   hlt rax=28 rbx=0
 *   hlt rax=28 rbx=0
 *   hlt rax=0 rbx=28
 *   hlt rax=50 rbx=0
 *   hlt rax=50 rbx=0
 *   hlt rax=50 rbx=0
 *   end
 */
#include "guest.h"
#define ROUNDS   40
#define TASKGATE 0x20
	enter_protected
	gate32 7, on_nm
	gate32 6, on_ud
	movw $TSS2, IDT + TASKGATE * 8 + 2
	movw $0x8500, IDT + TASKGATE * 8 + 4
	two_tasks
	movl %cr4, %eax
	orl $0x600, %eax
	movl %eax, %cr4
	movl %cr0, %eax
	andl $~0xc, %eax
	orl $0x22, %eax
	movl %eax, %cr0

	/* `close` in each round, between instructions that must run and fault. */
	.macro rounds close:vararg
	movl $0, nm
	movl $0, ud
	movl $ROUNDS, %ebp
1:	clts
	movaps %xmm1, %xmm2
	addl $1, %esi
	\close
	movaps %xmm2, %xmm3
	decl %ebp
	jnz 1b
	movl nm, %eax
	movl ud, %ebx
	hlt
	.endm

	.macro set_ts
	movl %cr0, %eax
	orl $8, %eax
	movl %eax, %cr0
	.endm
	rounds set_ts

	.macro lmsw_ts
	smsw %eax
	orl $8, %eax
	lmsw %ax
	.endm
	rounds lmsw_ts

	/* The same in code of its own, that jumps back. */
	.macro set_ts_elsewhere
	call set_ts_function
	.endm
	rounds set_ts_elsewhere

	.macro clear_osfxsr
	movl %cr4, %eax
	andl $~0x200, %eax
	movl %eax, %cr4
	.endm
	.macro rounds_cr4
	movl $0, nm
	movl $0, ud
	movl $ROUNDS, %ebp
1:	movl %cr4, %eax
	orl $0x200, %eax
	movl %eax, %cr4
	movaps %xmm1, %xmm2
	clear_osfxsr
	movaps %xmm2, %xmm3
	decl %ebp
	jnz 1b
	movl nm, %eax
	movl ud, %ebx
	hlt
	.endm
	rounds_cr4
	movl %cr4, %eax
	orl $0x200, %eax
	movl %eax, %cr4

	/* Tasks: the other one finds TS set as well as this one on the way back. */
	movl $jumped_to, TSS2_ADDRESS + 0x20
	rounds ljmpl $TSS2, $0
	movl $called, TSS2_ADDRESS + 0x20
	movl $2, TSS2_ADDRESS + 0x24
	rounds lcall $TSS2, $0
	movl $called, TSS2_ADDRESS + 0x20
	movl $2, TSS2_ADDRESS + 0x24
	rounds int $TASKGATE
	end

set_ts_function:
	set_ts
	ret

jumped_to:
	movaps %xmm0, %xmm2
	ljmpl $TSS, $0
	jmp jumped_to

called:	movaps %xmm0, %xmm2
	iretl
	jmp called

on_nm:	clts
	incl nm
	iretl
on_ud:	incl ud
	addl $3, (%esp) /* MOVAPS has three bytes */
	iretl
	.balign 4
nm:	.long 0
ud:	.long 0
	define_gdt
