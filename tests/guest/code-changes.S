/*
 * Code that changes after it has run often: by stores from elsewhere, from inside the same block,
 * by a string instruction, through another address of its page, in the second half of an instruction
 * that crosses pages; data next to code; other code at the same address, by INVLPG and by CR3.
 *
 * exits:
 *   hlt rax=1014
 *   hlt rdx=1ef
 *   hlt rax=334
 *   hlt rax=3e8
 *   hlt rax=3c
 *   hlt rax=42
 *   hlt rax=30c
 *   hlt rax=30c
 *   hlt rax=393
 *   hlt rdx=1
 *   hlt rax=21
 *   hlt rax=d2
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define HERE  0x30000 /* code that is written */
#define ALIAS 0x1f0000 /* the same page */
#define DATA_PAGE 0x40000
	enter_long
	cld

	/* 1. A function whose constant another piece of code changes: 20 times 1, then 1000h. */
	xorl %eax, %eax
	movl $20, %ecx
1:	call add_constant
	decl %ecx
	jnz 1b
	movw $0x1000, add_constant + 2
	call add_constant
	hlt

	/* 2. A store to the next instruction, in the same block, each time round: 2+...+31. */
	movl $30, %ecx
	xorl %edx, %edx
2:	leal 1(%rcx), %ebx
	movb %bl, 3f + 1
3:	movl $0x11, %eax
	addl %eax, %edx
	decl %ecx
	jnz 2b
	hlt

	/* 3. A counter in the middle of its loop's code. */
	movl $0x333, %ecx
4:	incl counter
	jmp 5f
counter: .long 0
5:	loop 4b
	incl counter
	movl counter, %eax
	hlt

	/* 4. A function copied over another with MOVSB, turn about, 40 times 1 or 31h. */
	xorl %eax, %eax
	movl $20, %ebx
6:	movl $body_a, %esi
	call copy_body
	movl $HERE, %edx
	call *%rdx
	movl $body_b, %esi
	call copy_body
	call *%rdx
	decl %ebx
	jnz 6b
	hlt

	/* 5. The same page at two addresses, changed through a third way. */
	movl $HERE | 7, LEVEL1 + (ALIAS >> 12) * 8
	movl $ALIAS, %ebp
	invlpg (%rbp)
	movl $body_a, %esi
	call copy_body
	xorl %eax, %eax
	movl $30, %ebx
7:	movl $HERE, %edx
	call *%rdx
	movl $ALIAS, %edx
	call *%rdx
	decl %ebx
	jnz 7b
	hlt
	movb $3, 2 + ALIAS         /* add $3 */
	call *%rdx
	movl $HERE, %edx
	call *%rdx
	hlt

	/* 6. One address, two pages behind it in turn: INVLPG. */
	movl $body_b, %esi
	movl $HERE + 0x1000, %edi
	call copy_to
	xorl %eax, %eax
	movl $15, %ebx
	movl $ALIAS, %edx
8:	movl $HERE | 7, LEVEL1 + (ALIAS >> 12) * 8
	invlpg (%rdx)
	call *%rdx
	movl $(HERE + 0x1000) | 7, LEVEL1 + (ALIAS >> 12) * 8
	invlpg (%rdx)
	call *%rdx
	decl %ebx
	jnz 8b
	hlt
	/* The same with CR3. */
	xorl %eax, %eax
	movl $15, %ebx
9:	movl $HERE | 7, LEVEL1 + (ALIAS >> 12) * 8
	movq %cr3, %rsi
	movq %rsi, %cr3
	call *%rdx
	movl $(HERE + 0x1000) | 7, LEVEL1 + (ALIAS >> 12) * 8
	movq %cr3, %rsi
	movq %rsi, %cr3
	call *%rdx
	decl %ebx
	jnz 9b
	hlt

	/* Another page goes first, and this one is fetched from meanwhile without a walk. */
	xorl %eax, %eax
	movl $15, %ebx
	movl $ALIAS - 0x1000, %ebp
13:	movl $HERE | 7, LEVEL1 + (ALIAS >> 12) * 8
	movl $HERE | 7, LEVEL1 + ((ALIAS - 0x1000) >> 12) * 8
	invlpg (%rdx)
	invlpg (%rbp)
	call *%rdx
	call *%rbp
	invlpg (%rbp)
	call *%rdx
	call *%rbp
	movl $(HERE + 0x1000) | 7, LEVEL1 + (ALIAS >> 12) * 8
	invlpg (%rdx)
	call *%rdx
	decl %ebx
	jnz 13b
	hlt

	/* 7. Code behind a jump whose flags nobody reads, until it is changed: SETZ then sees those
	 * from before the jump. */
	movl $30, %ecx
10:	call set_flags
	decl %ecx
	jnz 10b
	movl $0x90c2940f, flags_target /* setz %dl; nop */
	xorl %edx, %edx
	call set_flags
	hlt

	/* 8. An instruction that crosses pages, changed in its second half. */
	movb $0xb8, HERE + 0xffd   /* mov $imm32, %eax; ret */
	movl $0, HERE + 0xffe
	movb $0xc3, HERE + 0x1002
	movl $20, %ecx
	xorl %ebp, %ebp
11:	movl %ecx, %ebx
	movb $0x21, HERE + 0xffe
	movb %bl, HERE + 0x1000
	movl $HERE + 0xffd, %edx
	call *%rdx
	shrl $16, %eax
	cmpl %ebx, %eax
	je 12f
	incl %ebp
12:	decl %ecx
	jnz 11b
	testl %ebp, %ebp
	jnz 14f
	call *%rdx
	movzbl %al, %eax
14:	hlt

	/* 9. Code that begins a granule of 64 bytes, changed by stores that begin in the one before. */
	movb $0xb8, HERE + 0x2040  /* mov $imm32, %eax; ret */
	movl $0, HERE + 0x2041
	movb $0xc3, HERE + 0x2045
	movl $HERE + 0x2040, %edx
	movl $20, %ecx
	xorl %ebp, %ebp
15:	movl %ecx, %ebx
	shlq $8, %rbx
	movb $0xb8, %bl
	shlq $32, %rbx
	movq %rbx, HERE + 0x203c
	call *%rdx
	addl %eax, %ebp
	decl %ecx
	jnz 15b
	movl %ebp, %eax
	hlt
	end

add_constant:
	.byte 0x66, 0x05           /* add $1, %ax */
	.word 1
	ret
copy_body:
	movl $HERE, %edi
copy_to:
	movl $body_b - body_a, %ecx
	rep movsb
	ret
body_a:
	addl $1, %eax
	ret
body_b:
	addl $0x31, %eax
	ret
body_end:
set_flags:
	cmpl %ecx, %ecx            /* ZF */
	movl %ebx, DATA_PAGE       /* an access between */
	jmp flags_target
flags_target:
	testl %esp, %esp           /* flags die; patched */
	nop
	nop
	ret
	define_gdt
