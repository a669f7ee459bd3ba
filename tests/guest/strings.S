/*
 * REP MOVS, REP STOS and repeated SCAS where pages end, to pages that do not follow one another in memory, of no
 * elements, downwards, onto themselves, into what may only be read, into a device, over code; with
 * flags live across them, and while a breakpoint watches another page.
 *
 * exits:
 *   out 0xf1 4: c65249eb
 *   out 0xf1 4: da9d9af6
 *   out 0xf1 4: 6ea41248
 *   out 0xf1 4: f44fed06
 *   out 0xf1 4: 08336d61
 *   out 0xf1 4: 2fcdc7f1
 *   out 0xf1 4: a7eef1c4
 *   out 0xf1 4: f9bb5d34
 *   out 0xf1 4: f1ebc74f
 *   out 0xf1 4: edfb4a5a
 *   out 0xf1 4: 45c4cfcc
 *   out 0xf1 4: c2c1ed9f
 *   out 0xf1 4: e0832da7
 *   out 0xf1 4: 8b5c3eca
 *   out 0xf1 4: e54639c9
 *   out 0xf1 4: e4d5d6e8
 *   out 0xf1 4: f9e98c36
 *   out 0xf1 4: c1896bc9
 *   out 0xf1 4: 87a7774a
 *   out 0xf1 4: 4485cb14
 *   out 0xf1 4: a4f8e225
 *   out 0xf1 4: 10d9b225
 *   out 0xf1 4: cc69f24c
 *   out 0xf1 4: 42c6f20a
 *   out 0xf1 4: f5e28290
 *   out 0xf1 4: 3465ad6e
 *   out 0xf1 4: 55eee850
 *   out 0xf1 4: 1ee5d75e
 *   out 0xf1 4: 2388f1f6
 *   out 0xf1 4: 4e011b60
 *   out 0xf1 4: fdee0d33
 *   out 0xf1 4: ccb7061c
 *   out 0xf1 4: c22f8389
 *   out 0xf1 4: c189da9f
 *   out 0xf1 4: 1cd3f412
 *   out 0xf1 4: 731a446d
 *   write 0xe00000: 0c
 *   write 0xe00000: 0b
 *   write 0xe00000: 0a
 *   write 0xe00000: 09
 *   write 0xe00000: 08
 *   write 0xe00000: 07
 *   write 0xe00000: 06
 *   write 0xe00000: 05
 *   write 0xe00000: 04
 *   write 0xe00000: 03
 *   write 0xe00000: 02
 *   write 0xe00000: 01
 *   out 0xf1 4: 7822cb5e
 *   out 0xf1 4: 2fd7184d
 *   out 0xf1 4: 37373734
 *   out 0xf1 4: 37373734
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define WATCHED 0xb0000
#define FROM   0x60000
#define TO     0x70000
#define DEVICE 0x80000 /* mapped to where no memory is */
#define TURNS  40
	.macro map page, frame, rights=7
	movl $\frame + \rights, LEVEL1 + (\page >> 12) * 8
	.endm
	.macro print reg
	movl \reg, %eax
	outl %eax, $PORT_PRINT
	.endm
	/* rbx += a sum of the two pages at TO. */
	.macro sum_up
	movl $TO, %eax
9:	rolq $7, %rbx
	addq (%rax), %rbx
	addl $8, %eax
	cmpl $TO + 0x2000, %eax
	jne 9b
	.endm
	/* An instruction with counts from TURNS down to 0, its ends near ends of pages. */
	.macro test_string instruction, from=0xfd0, to=0xfe0
	xorl %ebx, %ebx
	movl $TURNS, %ebp
1:	leal FROM + \from(%rbp), %esi
	leal TO + \to(,%rbp,2), %edi
	imulq $0x1234567, %rbp, %rax
	movl %ebp, %ecx
	cmpl $20, %ecx
	rep \instruction
	movl FROM, %edx
	adcl %edx, %ebx
	leal (%rsi,%rdi), %eax
	leal (%rax,%rcx), %eax
	addl %eax, %ebx
	decl %ebp
	jns 1b
	sum_up
	print %ebx
	.endm
	/* Scans with counts from TURNS down to 0, that find what is 24 bytes ahead, or do not. */
	.macro test_scan instruction, value=24, from=0xfd0
	xorl %ebx, %ebx
	movl $TURNS, %ebp
1:	leal FROM + \from(%rbp), %edi
	movq \value(%rdi), %rax
	movl %ebp, %ecx
	cmpl $20, %ecx
	\instruction
	pushfq
	popq %rdx
	andl $0x8d5, %edx
	imull $31, %ebx, %ebx
	addl %edx, %ebx
	leal (%rdi,%rcx,8), %edx
	addl %edx, %ebx
	decl %ebp
	jns 1b
	print %ebx
	.endm
	enter_long
	gate64 14, on_page_fault
	map FROM, 0x90000
	map (FROM + 0x1000), 0x93000
	map TO, 0xa0000
	map (TO + 0x1000), 0xa3000
	map (TO + 0x2000), 0xa5000
	map DEVICE, 0xe00000
	movq %cr3, %rax
	movq %rax, %cr3
	movl $FROM, %edi
	movl $0x2545f491, %eax
1:	movl %eax, (%rdi)
	imull $0x9e3779b1, %eax, %eax
	addl $12345, %eax
	addl $4, %edi
	cmpl $FROM + 0x2000, %edi
	jne 1b
	cld
	test_string movsb
	test_string movsw
	test_string movsl
	test_string movsq
	test_string stosb
	test_string stosw
	test_string stosl
	test_string stosq
	/* Without a page's end, and onto what was read. */
	test_string movsb, 0x100, 0x200
	test_string movsq, 0x100, 0x200
	test_string stosl, 0x100, 0x200
	.irp size, b, w, l, q
	test_scan "repne scas\size"
	test_scan "repne scas\size", 0x50, 0x100
	test_scan "repe scas\size", 0
	test_scan "scas\size", 0
	.endr
	std
	test_scan "repne scasw", -16, 0x800
	test_scan "repe scasq", 0, 0x800
	cld
	map TO, 0x90000
	map (TO + 0x1000), 0x93000
	movq %cr3, %rax
	movq %rax, %cr3
	test_string movsb, 0x100, 0x103
	test_string movsl, 0x107, 0x100
	std
	test_string movsw, 0x800, 0x803
	test_string stosq, 0x800, 0x803
	cld

	/* A page that may be read only, known to the TLB: faults once in each turn. */
	movq %cr0, %rax
	orl $0x10000, %eax
	movq %rax, %cr0
	xorl %ebx, %ebx
	movl $TURNS, %ebp
2:	map (TO + 0x1000), 0xa3000, 5
	invlpg TO + 0x1000
	movl TO + 0x1000, %eax
	movl $TO + 0x1010, %edi
	movl $FROM, %esi
	movl %ebp, %ecx
	rep movsq
	cmpl $TO + 0x1010, %edi
	adcl %ecx, %ebx
	decl %ebp
	jnz 2b
	sum_up
	print %ebx

	/* A whole page, and more than a page. */
	xorl %ebx, %ebx
	movl $TURNS, %ebp
3:	movl $FROM, %esi
	movl $TO, %edi
	movl $512, %ecx
	rep movsq
	movl $TO + 0x1000, %edi
	leal 4096(%rbp), %ecx
	movl %ebp, %eax
	rep stosb
	addl %edi, %ebx
	decl %ebp
	jnz 3b
	sum_up
	print %ebx

	/* Downwards and long: the handler is left before all is done, to look at requests. */
	xorl %ebx, %ebx
	movl $TURNS, %ebp
6:	std
	movl $TO + 0x1fff, %edi
	movl $6000, %ecx
	movl %ebp, %eax
	rep stosb
	cld
	imull $31, %ebx, %ebx
	addl %ecx, %ebx
	addl %edi, %ebx
	decl %ebp
	jnz 6b
	sum_up
	print %ebx

	/* A device. */
	movl $12, %ebp
4:	movl $DEVICE, %edi
	movl $1, %ecx
	movl %ebp, %eax
	rep stosb
	decl %ebp
	jnz 4b

	/* While a page somewhere else is watched for writes. */
	movl $WATCHED, %eax
	movq %rax, %dr0
	movl $0x10002, %eax
	movq %rax, %dr7
	xorl %ebx, %ebx
	movl $TURNS, %ebp
8:	movl $TO + 16, %edi
	movl %ebp, %ecx
	movl %ebp, %eax
	rep stosb
	leal (%rdi, %rbx, 2), %ebx
	movl $TO, %esi
	movl $200, %ecx
	rep movsb
	leal (%rdi, %rbx, 2), %ebx
	leal (%rsi, %rbx, 2), %ebx
	decl %ebp
	jnz 8b
	xorl %eax, %eax
	movq %rax, %dr7
	print %ebx
	sum_up
	print %ebx

	/* Code: what is stored behind it in its own block runs. */
	xorl %ebx, %ebx
	movl $TURNS, %ebp
5:	movl $patched + 1, %edi
	movl $4, %ecx
	movl %ebp, %eax
	rep stosb
patched:
	movl $0, %eax
	addl %eax, %ebx
	decl %ebp
	jnz 5b
	print %ebx

	/* And downwards. */
	xorl %ebx, %ebx
	movl $TURNS, %ebp
7:	movl $patched_down + 4, %edi
	movl $4, %ecx
	movl %ebp, %eax
	std
	rep stosb
	cld
patched_down:
	movl $0, %eax
	addl %eax, %ebx
	decl %ebp
	jnz 7b
	print %ebx
	end
on_page_fault:
	addl $0x10000, %ebx
	addq $8, %rsp
	movl $0xa3000 + 7, LEVEL1 + ((TO + 0x1000) >> 12) * 8
	iretq
	define_gdt
