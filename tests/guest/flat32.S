/*
 * Loops of 32-bit code in flat segments, run often enough to be translated: what differs from 64-bit
 * code, what FS and GS may be, data segments that are not flat after all, and the ends of 4 GiB.
 *
 * exits:
 *   hlt rax=28 rbx=28 rcx=0 rdx=ffffffd8 rsi=28 rdi=3e8
 *   hlt rax=12345678 rbx=0 rcx=0 rdx=0 rsi=5 rdi=6 rsp=7ff0 rbp=7
 *   hlt rax=28 rbx=28 rdx=28
 *   hlt rax=28 rbx=78 rdx=50
 *   hlt rax=3c rbx=14 rsi=14
 *   hlt rax=50 rbx=50
 *   hlt rax=28 rbx=0 rsp=7ff0
 *   hlt rax=28 rbx=28 rcx=0 rdx=28
 *   hlt rax=50 rcx=78
 *   hlt rax=28 rbx=1e rdx=0
 *   hlt rax=28 rbx=28 rcx=0
 *   hlt rax=28 rdx=50
 *   end
 */
#include "guest.h"
#define AWAY     0x50000 /* a page that is there only after a fault */
#define TABLE    0x40000 /* level 1, of the first 4 MiB */
#define TOP      0x3ff000 /* where the last page below 4 GiB is */
#define FS_FLAT  0x40    /* 4 GiB from FS_BASE on */
#define FS_SMALL 0x48    /* 16 bytes of it */
#define FS_READ  0x50    /* 4 GiB, not writable */
#define FS_BASE  0x20000
/* The page is not there any more. */
	.macro away
	movl $0, TABLE + (AWAY >> 12) * 4
	invlpg AWAY
	.endm
	.macro load segment, selector
	movw $\selector, %ax
	movw %ax, %\segment
	.endm
	enter_protected
	gate32 13, on_protection
	gate32 14, on_page_fault
	movl $0x0000ffff, gdt + FS_FLAT
	movl $0x00cf9302, gdt + FS_FLAT + 4
	movl $0x0000000f, gdt + FS_SMALL
	movl $0x00409302, gdt + FS_SMALL + 4
	movl $0x0000ffff, gdt + FS_READ
	movl $0x00cf9102, gdt + FS_READ + 4
	/* The first 4 MiB twice: one to one, and below 4 GiB. */
	movl $PAGES, %edi
	xorl %eax, %eax
	movl $0x400, %ecx
	cld
	rep stosl
	movl $TABLE, %edi
	movl $7, %eax
	movl $0x400, %ecx
1:	stosl
	addl $0x1000, %eax
	loop 1b
	movl $TABLE + 7, PAGES
	movl $TABLE + 7, PAGES + 0xffc
	movl $PAGES, %eax
	movl %eax, %cr3
	movl %cr0, %eax
	orl $0x80010000, %eax /* PG, WP */
	movl %eax, %cr0

	/* 1. INC and DEC of one byte, plain addresses, 82h, LOOP, JECXZ, 16-bit operands. */
	xorl %eax, %eax
	xorl %ebx, %ebx
	xorl %edx, %edx
	xorl %esi, %esi
	xorl %edi, %edi
	movl %eax, 0x30000
	movl $40, %ecx
1:	.byte 0x43                              /* inc ebx */
	.byte 0x4a                              /* dec edx */
	.byte 0xa1; .long 0x30000               /* mov eax, [30000h] */
	.byte 0x40
	.byte 0xa3; .long 0x30000
	.byte 0xa0; .long 0x30000               /* mov al, [30000h] */
	.byte 0xa2; .long 0x30004
	.byte 0x82, 0xc0, 0x80                  /* add al, 80h */
	.byte 0x66, 0xa1; .long 0x30000
	.byte 0x66, 0x46                        /* inc si */
	addl $25, %edi
	jecxz 2f
	loop 1b
2:	hlt

	/* 2. PUSHA, POPA, ENTER, LEAVE, CALL, RET with arguments. */
	movl $40, %edx
	movl $0, 0x30000
	movl $0x12345678, %eax
	xorl %ebx, %ebx
	xorl %ecx, %ecx
	movl $5, %esi
	movl $6, %edi
	movl $7, %ebp
1:	pushal
	incl %eax
	movl $-1, %edi
	popal
	pushl $1
	pushl $0x7fffffff
	pushl 0x30000
	call *3f
	pushw $0x1234
	popw 0x30010
	decl %edx
	jnz 1b
	subl 0x30000, %edx
	addl $40, %edx
	hlt
	jmp 4f
2:	enter $16, $0
	movl 16(%ebp), %ebx /* what was pushed first */
	addl %ebx, 0x30000
	xorl %ebx, %ebx
	leave
	ret $12
	.balign 4
3:	.long 2b
4:
	/* 3. FS with a base, its offsets around 0: they wrap. */
	load fs, FS_FLAT
	movl $40, %ecx
	movl $0, FS_BASE - 8
	movl $0, FS_BASE + 0x10
	movl $-16, %esi
	xorl %edx, %edx
1:	incl %fs:-8
	movl %fs:0xfffffff8, %eax
	incl %fs:32(%esi)
	movl %fs:-16(,%esi,2), %ebx
	movl %fs:0x10, %ebx
	addl %fs:8(%esi), %edx
	subl %eax, %edx
	incl %edx
	decl %ecx
	jnz 1b
	hlt

	/* 4. The same code with 4 GiB, while FS is null, and small: two of three calls fault and skip
	 * the access. */
	xorl %edx, %edx
	movl $40, %ecx
	movl $0, FS_BASE + 0x20
1:	load fs, FS_FLAT
	call use_fs
	load fs, 0
	call use_fs
	load fs, FS_SMALL
	call use_fs
	load fs, FS_FLAT
	decl %ecx
	jnz 1b
	movl FS_BASE + 0x20, %eax
	movl %edx, %ebx
	movl faults, %edx
	movl $0, faults
	hlt

	/* 5. A load of FS between two accesses of one block; read-only FS. */
	xorl %ebx, %ebx
	xorl %esi, %esi
	movl $0, FS_BASE + 0x20
	movl $20, %ecx
1:	movl $FS_FLAT, %eax
	movw %ax, %fs
	incl %fs:0x20
	movl $FS_READ, %eax
	movw %ax, %fs
	addl %fs:0x20, %ebx
	subl %fs:0x20, %ebx
	incl %ebx
	incl %fs:0x20              /* skipped */
	movl $FS_FLAT, %eax
	movw %ax, %fs
	incl %fs:0x20
	movw %cx, %fs:0x24
	pushl %fs
	popl %fs
	incl %fs:0x20
	decl %ecx
	jnz 1b
	movl FS_BASE + 0x20, %eax
	movl faults, %esi
	movl $0, faults
	hlt

	/* 6. DS with a base, and flat again; a store through CS. */
	xorl %ebx, %ebx
	movl $40, %ecx
	movl $0, 0x20020
	movl $0, 0x20
1:	load ds, FS_FLAT
	call use_ds
	load ds, DATA
	call use_ds
	movl %ebx, %cs:0x30000     /* skipped */
	decl %ecx
	jnz 1b
	movl 0x20020, %eax
	addl 0x20, %eax
	movl faults, %ebx
	shll %ebx
	movl $0, faults
	hlt

	/* 7. A stack that goes below 0 and comes back. */
	xorl %ebx, %ebx
	movl %esp, %ebp
	movl $40, %ecx
	xorl %eax, %eax
1:	movl $4, %esp
	pushl $1
	pushl $2                   /* at fffffffch */
	pushl $3
	popl %edx
	addl %edx, %ebx
	popl %edx
	subl %edx, %ebx
	popl %edx
	subl %edx, %ebx
	xorl %edi, %edi
	movl $0, %esp
	call nothing
	testl %esp, %esp
	jnz 2f
	incl %eax
2:	decl %ecx
	jnz 1b
	movl %ebp, %esp
	hlt

	/* 8. Addresses that wrap; code that runs over the end of 4 GiB and comes back. */
	movl $0x04eb4090, TOP + 0xffc /* nop; inc eax; jmp +4 */
	movb $0xc3, 4                 /* ret */
	movl $0xfffffffc, %esi
	xorl %eax, %eax
	xorl %ebx, %ebx
	xorl %edx, %edx
	movl $0, 0x1c
	movl $0xfffffff0, %edi
	movl $40, %ecx
1:	incl 0x20(%esi)
	movl 0x1c, %ebx
	movl 0x2c(%edi), %ebx
	leal 4(%esi), %ebp
	addl %ebp, %edx
	leal (%esi,%esi), %ebp
	addl $9, %ebp
	addl %ebp, %edx
	call *%esi
	decl %ecx
	jnz 1b
	hlt
	movl $0x90409090, TOP + 0xffc /* nop; nop; inc eax; nop, and on at 0 */
	movb $0xc3, 0
	movl $40, %ebp
2:	call *%esi
	addl $3, %ecx
	decl %ebp
	jnz 2b
	hlt

	/* 9. Flags live across a store that faults each time; pointers that do. */
	xorl %eax, %eax
	movl %esp, %edx
	movl $40, %ebp
1:	away
	stc
	movl %ebp, AWAY
	adcl $0, %eax
	decl %ebp
	jnz 1b
	movl $0, faults
	movl $nothing, AWAY
	movl $10, %ecx
2:	away
	pushl AWAY
	popl %esi
	away
	call *AWAY
	movl $AWAY + 0x100, %ebp
	away
	leave
	movl %edx, %esp
	decl %ecx
	jnz 2b
	movl faults, %ebx
	xorl %edx, %edx
	hlt

	/* 10. x87 and SSE; a vector load that faults. */
	movl %cr4, %eax
	orl $0x600, %eax
	movl %eax, %cr4
	fninit
	fldz
	xorps %xmm0, %xmm0
	movl $1, %eax
	cvtsi2ssl %eax, %xmm1
	movl $0, faults
	movl $40, %ecx
1:	away
	fld1
	faddp
	addss %xmm1, %xmm0
	fnop
	movups AWAY, %xmm3
	pushl %ecx
	fildl (%esp)
	fistpl (%esp)
	popl %ecx
	decl %ecx
	jnz 1b
	fistpl 0x30000
	movl 0x30000, %eax
	cvttss2si %xmm0, %ebx
	hlt

	/* 11. Code that changes itself in the loop. */
	xorl %eax, %eax
	xorl %edx, %edx
	movl $40, %ecx
1:	.byte 0x40
patched:
	.byte 0x42                 /* inc edx, or nop */
	addl $1, %edx
	xorb $0x42 ^ 0x90, patched
	xorb $0x42 ^ 0x90, patched
	decl %ecx
	jnz 1b
	hlt
	end

use_fs:
	incl %fs:0x20
	incl %edx
	ret
use_ds:
	incl 0x20
	ret
nothing:
	ret
/* Skip the access: each that faults has 7 bytes. */
on_protection:
	incl %ss:faults
	addl $4, %esp
	addl $7, (%esp)
	iretl
on_page_fault:
	incl %ss:faults
	movl $AWAY + 7, %ss:TABLE + (AWAY >> 12) * 4
	addl $4, %esp
	iretl
	.balign 4
faults:
	.long 0
	define_gdt
