/*
 * Pages of 2 MiB of 64-bit user code, as a Linux program has them: data that is read, then written; code inside one,
 * executed, changed from beside and by itself, and data around it; INVLPG of one of them; one that becomes many
 * small ones. Direct execution maps them as they are where there is no code (docs/engine/direct.md).
 *
 * The kernel is entered by interrupt 80h: RDI is what to do with the page tables, RAX and RBX are shown.
 *
 * exits:
 *   hlt rax=0 rbx=a7
 *   hlt rax=1122 rbx=e7
 *   hlt rax=11 rbx=22
 *   hlt rax=5 rbx=5
 *   hlt rax=6 rbx=77
 *   hlt rax=9 rbx=88
 *   hlt rax=1 rbx=34
 *   hlt rax=1122 rbx=e7
 *   hlt rax=1122 rbx=99
 *   hlt rax=4 rbx=0
 *   hlt rax=600d
 *   end
 */
#include "guest.h"
#include "linux.h"
#define LEVEL1  (PAGES+0x3000)
#define LEVEL2  (PAGES+0x2000)
#define SMALL   0x50000    /* a table for the large page's pages */
#define USER    0x100000
#define DATA3_END 0x110f00
#define LARGE   0x200000   /* the large page, where it lies */
#define ALIAS   0x800000   /* ... read-only, and then other memory */
#define CODE3   0x240000   /* code in it */

	.macro call_kernel what
	movl $\what, %edi
	int $0x80
	.endm

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x80, on_80, 0xee
	gate64 14, on_page
	linux_null_selectors
	linux_features 0x40000         /* OSXSAVE */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $LARGE|0x87, LEVEL2+(LARGE>>21)*8
	movl $LARGE|0x85, LEVEL2+(ALIAS>>21)*8
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %eax, %eax
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

	/* 0: show the entry; 1: the alias is the first 2 MiB; 2: small pages; 3: the large one again; 4: the end. */
on_80:
	cmpl $4, %edi
	je 4f
	cmpl $1, %edi
	je 1f
	cmpl $2, %edi
	je 2f
	cmpl $3, %edi
	je 3f
	testl %edi, %edi
	jnz 9f
	movzbl LEVEL2+(LARGE>>21)*8, %ebx
9:	hlt
	iretq
1:	hlt
	movl $0x87, LEVEL2+(ALIAS>>21)*8
	movl $ALIAS+0x123456, %ecx
	invlpg (%rcx)
	iretq
2:	hlt
	movl $SMALL, %edx
	movl $LARGE|0x67, %eax
5:	movl %eax, (%rdx)
	addl $0x1000, %eax
	addl $8, %edx
	cmpl $SMALL+0x1000, %edx
	jne 5b
	/* One of them lies elsewhere. */
	movl $0x130067, SMALL+0x10*8
	movl $0x99, 0x130000
	movl $SMALL|7, LEVEL2+(LARGE>>21)*8
	movl $LARGE, %ecx
	invlpg (%rcx)
	iretq
3:	hlt
	movl $LARGE|0xe7, LEVEL2+(LARGE>>21)*8
	movl $LARGE+0x10000, %ecx
	invlpg (%rcx)
	iretq
4:	hlt
	end
on_page:
	movq %cr2, %rax
	movl $0xbad, %ebx
	hlt
	end

	.balign 64
user:
	/* Read, which sets A; then written, which sets D: far apart. */
	movl LARGE+0x1ffff8, %eax
	movl LARGE+0x10000, %ecx
	addl %ecx, %eax
	call_kernel 0
	movl $0x1122, LARGE+0x10000
	movl $0x3344, LARGE+0x1f0000
	movl ALIAS+0x10000, %eax
	call_kernel 0
	movl $0x11, LARGE
	movl $0x22, LARGE+0x1ffffc
	movl ALIAS, %eax
	movl ALIAS+0x1ffffc, %ebx
	call_kernel 9

	/* Code: MOV $n, %eax; RET. It is changed, and so is what lies around it. */
	movb $0xb8, CODE3
	movl $5, CODE3+1
	movb $0xc3, CODE3+5
	movl $CODE3, %edx
	call *%rdx
	movl %eax, %ebx
	call_kernel 9
	movl $0x77, CODE3+0x800
	movl $0x78, CODE3+0x1000
	movl $6, CODE3+1
	call *%rdx
	movl CODE3+0x800, %ebx
	call_kernel 9
	movl $0x88, LARGE+0x18
	movl $0, %ecx
	movl $3, %esi
1:	movl %esi, CODE3+1
	movl %esi, LARGE+0x20(,%rsi,8)
	movl %esi, CODE3+0x2000(,%rsi,8)
	call *%rdx
	addl %eax, %ecx
	movl CODE3+0x2000(,%rsi,8), %eax
	subl %esi, %eax
	addl %eax, %ecx
	decl %esi
	jnz 1b
	leal 3(%rcx), %eax
	movl LARGE+0x18, %ebx
	call_kernel 9

	/* The other memory shows at once, though only one address was invalidated. */
	movl $1, %eax
	movl $0x34, %ebx
	call_kernel 1
	movl ALIAS+0x10000, %eax   /* of the first 2 MiB: not what was there */
	cmpl $0x1122, %eax
	je 1f
	movl $0x56, ALIAS+0x10f800
	cmpl $0x56, 0x10f800
	jne 1f
	movl LARGE+0x10000, %eax
	call_kernel 0
1:
	/* Small pages, of which one is elsewhere; and large again. */
	movl $0x1122, %eax
	movl $0x99, %ebx
	call_kernel 2
	movl LARGE+0x10000, %ebx
	subl $0x99, %ebx
	movl LARGE+0x1f0000, %eax
	subl $0x3344, %eax
	orl %eax, %ebx
	movl $0x1234, LARGE+0x10004
	movl $4, %eax
	call_kernel 3
	subl $0x1122, LARGE+0x10000
	cmpl $0, LARGE+0x10000
	jne 1f
	cmpl $0, LARGE+0x10004
	jne 1f
	movl $0x600d, %eax
	call_kernel 4
1:	movl $0xbad, %eax
	call_kernel 4
user_end:
	define_gdt
