/*
 * Ways out of the canonical addresses (Intel SDM vol. 1 §3.3.7.1, vol. 2 JMP, CALL, Jcc, RET): a branch
 * there is #GP(0) of its own, before it pushes or pops; who runs on to there faults with the fetch, at
 * RIP 800000000000. In turn with the same code at an address where all this is allowed. RBX counts
 * faults that were as expected, RDX the times that the code came back without.
 *
 * exits:
 *   hlt rbx=28 rdx=28
 *   hlt rbx=28 rdx=28
 *   hlt rbx=28 rdx=28
 *   hlt rbx=0 rdx=28
 *   hlt rbx=28 rdx=28
 *   hlt rbx=28 rdx=28
 *   hlt rbx=28 rdx=0
 *   hlt rbx=28 rdx=0
 *   hlt rbx=28 rdx=0
 *   hlt rbx=28 rdx=0
 *   hlt rbx=28 rdx=28
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define EDGE   0x10000        /* tables of the lower half's last pages, from level 3 on */
#define HERE   0x30000        /* the last page of the lower half, and itself */
#define LOW    0x7ffffffff000 /* the same page */
#define HIGH   0xffff800000000000 /* the same as 0 */
#define HIGH_HERE 0xffff800000030000
#define TOP    0x90000
#define ROUNDS 40

	/* Go to `offset` of the page at `address`, where the instruction at `at` faults. */
	.macro expect_fault address, offset, at
	movabsq $\address + \offset, %rax
	movabsq $\at, %r9
	call attempt
	.endm

	enter_long
	cld
	lidt idt_pointer
	gate64 13, on_gp
	movl $EDGE, %edi
	xorl %eax, %eax
	movl $0x3000 / 4, %ecx
	rep stosl
	movl $EDGE + 7, PAGES + 255 * 8
	movl $PAGES + 0x1007, PAGES + 256 * 8
	movl $EDGE + 0x1007, EDGE + 511 * 8
	movl $EDGE + 0x2007, EDGE + 0x1000 + 511 * 8
	movl $HERE + 7, EDGE + 0x2000 + 511 * 8
	movl $HERE - 0x1000 + 7, EDGE + 0x2000 + 510 * 8
	movq %cr3, %rax
	movq %rax, %cr3
	movl $TOP, %esp
	movl $code, %esi
	movl $HERE, %edi
	movl $code_end - code, %ecx
	rep movsb
	/* At the end of the page: NOPs, and at its start a return for who runs on or jumps there. */
	movl $0x90909090, %eax
	movl $HERE + 0xfe0, %edi
	movl $8, %ecx
	rep stosl
	movb $0xc3, HERE + 0x1000
	movb $0xc3, HERE + 0x1040
	movb $0xc3, HERE - 0x1000

	/* 1. JMP, CALL, Jcc. The last one's condition is false at first. */
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, (code_jmp - code), (LOW + code_jmp - code)
	expect_fault HERE, (code_jmp - code), 0
	decl %ebp
	jnz 1b
	hlt
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, (code_call - code), (LOW + code_call - code)
	expect_fault HERE, (code_call - code), 0
	decl %ebp
	jnz 1b
	hlt
	movl $ROUNDS, %ebp
	call clear
	movl $1, %esi
1:	expect_fault LOW, (code_jcc - code), (LOW + code_jcc_itself - code)
	expect_fault HERE, (code_jcc - code), 0
	decl %ebp
	jnz 1b
	hlt
	movl $ROUNDS, %ebp
	call clear
	xorl %esi, %esi
1:	expect_fault LOW, (code_jcc - code), 0
	decl %ebp
	jnz 1b
	hlt

	/* 2. Running on. */
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, 0xff0, (LOW + 0x1000)
	expect_fault HERE, 0xff0, 0
	decl %ebp
	jnz 1b
	hlt

	/* 3. An instruction of which a part is beyond: its fetch faults. */
	movw $0x00b8, HERE + 0xffe
	movb $0xc3, HERE + 0x1003 /* mov $..., %eax; ret, where there is more of it */
	movl $0, HERE + 0x1000 - 1
	movb $0xc3, HERE + 0x1003
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, 0xff0, (LOW + 0xffe)
	expect_fault HERE, 0xff0, 0
	decl %ebp
	jnz 1b
	hlt
	movl $0x90909090, HERE + 0xffc

	/* 4. Through a register, and by RET. */
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault HERE, (code_indirect - code), (HERE + code_indirect_itself - code)
	decl %ebp
	jnz 1b
	hlt
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault HERE, (code_ret - code), (HERE + code_ret_itself - code)
	decl %ebp
	jnz 1b
	hlt

	/* 5. A call as the last instruction: its return address is beyond, so the callee faults. */
	movb $0xe8, HERE + 0xffb
	movl $-0x2000, HERE + 0xffc
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, 0xff0, (LOW - 0x1000)
	decl %ebp
	jnz 1b
	hlt

	/* 6. From the upper half downwards; where the page is at home, to the jump's own page. */
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault (HIGH_HERE), (code_down - code), (HIGH_HERE + code_down - code)
	decl %ebp
	jnz 1b
	hlt

	/* 7. The last page of the lower half and others behind the same jump: no link stays. */
	movl $ROUNDS, %ebp
	call clear
1:	expect_fault LOW, (code_jmp - code), (LOW + code_jmp - code)
	expect_fault (LOW - 0x1000), 0, 0
	decl %ebp
	jnz 1b
	hlt
	end

clear:	xorl %ebx, %ebx
	xorl %edx, %edx
	ret

	/* The stack must be as it was at the fault: RSP, and what is below it. */
attempt:
	movabsq $0x1122334455667788, %rcx
	leaq -8(%rsp), %r10
	call 2f
	incl %edx
	ret
2:	movq %rcx, -8(%rsp)
	testl %esi, %esi
	jmp *%rax

on_gp:	cmpq $0, (%rsp)
	jne 3f
	cmpq %r9, 8(%rsp)
	jne 3f
	incl %ebx
3:	leaq 8(%r10), %rsp
	ret

	.balign 16
code:
code_jmp:
	.byte 0xe9
	.long 0x1040 - (. + 4 - code)
code_call:
	.byte 0xe8
	.long 0x1040 - (. + 4 - code)
	ret
code_jcc:
	testl %esi, %esi
code_jcc_itself:
	.byte 0x0f, 0x85
	.long 0x1040 - (. + 4 - code)
	ret
code_indirect:
	movabsq $0x800000000000, %rcx
code_indirect_itself:
	jmp *%rcx
code_ret:
	movabsq $0xffff7fffffffffff, %rcx
	pushq %rcx
code_ret_itself:
	ret
code_down:
	.byte 0xe9
	.long -HERE - 0x1000 - (. + 4 - code)
code_end:

	define_gdt
