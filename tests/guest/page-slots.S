/*
 * Translated code remembers the pages of its accesses off RSP and below RBP. What changes a page or the
 * right to it must be seen by the next such access: INVLPG, CR3, PCIDs, INVPCID, rights, code,
 * data breakpoints, alignment checks, SMAP. And accesses at the borders of a remembered page.
 *
 * exits:
 *   hlt rsi=190 rdi=1b8 r8=190 r9=1b8
 *   hlt rsi=190 rdi=1b8
 *   hlt rsi=190 rdi=1b8
 *   hlt rsi=4b0 rdi=370
 *   hlt rsi=28 rdi=1
 *   hlt rsi=40 rdi=80
 *   hlt rsi=14 rdi=c8
 *   hlt rsi=28 rdi=28
 *   hlt rsi=14
 *   hlt rsi=28
 *   end
 */
#include "guest.h"
#define LEVEL1 PAGES + 0x3000
#define A      0x50000
#define B      0x60000
#define V      0x70000 /* is A or B */
#define PCID_PAGES 0x80000 /* the tables of PCID 2: V is B */
#define SPARE_STACK 0x41000
#define CODE   0x90000
	.macro map page, frame
	movl $\frame, LEVEL1 + (\page >> 12) * 8
	.endm
/* The first access may fill the TLB only. */
	.macro touch
	movl (%rsp), %eax
	movl (%rsp), %eax
	.endm
	.macro again_or_end label
	decl %r15d
	jnz \label
	movl $STACK, %esp
	hlt
	.endm
	enter_long
	gate64 1, on_debug
	gate64 14, on_page_fault
	gate64 17, on_alignment
	/* Faults on a stack of their own. */
	movb $1, IDT + 1 * 16 + 4
	movb $1, IDT + 14 * 16 + 4
	movb $1, IDT + 17 * 16 + 4
	movl $SPARE_STACK, TSS_ADDRESS + 36
	movl $SPARE_STACK, TSS_ADDRESS + 4
	gate64 0x80, on_user_end, 0xee
	movw $TSS, %ax
	ltr %ax
	cld
	movl $10, A
	movl $11, B
	movl $10, A + 0x800
	movl $11, B + 0x800

	/* 1. The page moves; INVLPG. Off RSP, off RBP with flags live. */
	call clear
	xorl %r8d, %r8d
	xorl %r9d, %r9d
1:	map V, A + 7
	invlpg V
	movl $V, %esp
	movl $V + 0x900, %ebp
	addl (%rsp), %esi
	stc
	movl -0x100(%rbp), %eax
	adcl $-1, %eax
	addl %eax, %r8d
	map V, B + 7
	invlpg V
	addl (%rsp), %edi
	stc
	movl -0x100(%rbp), %eax
	adcl $-1, %eax
	addl %eax, %r9d
	again_or_end 1b

	/* 2. The same by loading CR3, off the stack's page itself. */
	call clear
2:	map V, A + 7
	movq %cr3, %rax
	movq %rax, %cr3
	movl $V, %esp
	popq %rbx
	addl %ebx, %esi
	map V, B + 7
	movq %cr3, %rax
	movq %rax, %cr3
	movl $V, %esp
	popq %rbx
	addl %ebx, %edi
	again_or_end 2b

	/* 3. Two PCIDs, switched without a flush. */
	movl $PAGES, %esi
	movl $PCID_PAGES, %edi
	movl $0x4000, %ecx
	rep movsb
	movl $PCID_PAGES + 0x1007, PCID_PAGES
	movl $PCID_PAGES + 0x2007, PCID_PAGES + 0x1000
	movl $PCID_PAGES + 0x3007, PCID_PAGES + 0x2000
	movl $B + 7, PCID_PAGES + 0x3000 + (V >> 12) * 8
	map V, A + 7
	movq %cr4, %rax
	orl $1 << 17, %eax
	movq %rax, %cr4
	movabsq $1 << 63 | PAGES | 1, %r10
	movabsq $1 << 63 | PCID_PAGES | 2, %r11
	call clear
	movl $V, %esp
3:	movq %r10, %cr3
	addl (%rsp), %esi
	movq %r11, %cr3
	addl (%rsp), %edi
	again_or_end 3b

	/* 4. INVPCID, all types. */
	movq %r10, %cr3
	call clear
	movl $1, invpcid_operand
	movl $V, invpcid_operand + 8
4:	map V, A + 7
	xorl %ebx, %ebx
	invpcid invpcid_operand, %rbx
	movl $V, %esp
	touch
	addl (%rsp), %esi
	map V, B + 7
	invpcid invpcid_operand, %rbx
	touch
	addl (%rsp), %edi
	map V, A + 7
	movl $1, %ebx
	invpcid invpcid_operand, %rbx
	touch
	addl (%rsp), %esi
	map V, B + 7
	movl $2, %ebx
	invpcid invpcid_operand, %rbx
	touch
	addl (%rsp), %edi
	map V, A + 7
	movl $3, %ebx
	invpcid invpcid_operand, %rbx
	touch
	addl (%rsp), %esi
	again_or_end 4b

	/* 5. The right to write goes. */
	call clear
	movq %cr0, %rax
	orl $0x10000, %eax
	movq %rax, %cr0
5:	map V, A + 7
	invlpg V
	movl $V + 0x100, %esp
	pushq $1
	map V, A + 5
	invlpg V
	pushq $1                   /* faults */
	again_or_end 5b

	/* 6. The page gets code, which is then changed by what has written there before. */
	call clear
	movl $16, %r15d
	movl $0xb8, CODE           /* mov $0, %eax; ret */
	movl $0xc300, CODE + 4
	movl $CODE + 0x300, %ebp
6:	movl %r15d, -0x100(%rbp)
	movl $STACK, %esp
	movl $4, -0x2ff(%rbp)
	movl $0x9090c300, -0x2fc(%rbp)
	call CODE
	addl %eax, %esi
	movl $8, -0x2ff(%rbp)
	movl $0x9090c300, -0x2fc(%rbp)
	call CODE
	addl %eax, %edi
	again_or_end 6b

	/* 7. A data breakpoint is set on a page that is known. */
	call clear
	movl $20, %r15d
	map V, A + 7
	invlpg V
	movl $V, %esp
	movl $V, %eax
	movq %rax, %dr0
7:	movl (%rsp), %eax
	movl $0xf0403, %eax
	movq %rax, %dr7
	addl (%rsp), %edi
	xorl %eax, %eax
	movq %rax, %dr7
	again_or_end 7b

	/* 8. Both ends of an access: a page that follows, and one that precedes, the known one. */
	call clear
	map V, A + 7
	map (V + 0x1000), B + 7
	invlpg V
	invlpg V + 0x1000
	movl $0x01000000, A + 0xffc
	movl $0, B
	movl $0x02000000, A + 0x7fc
8:	movl $V, %esp
	movl 0x7fc(%rsp), %eax     /* V is known */
	movl 0xfff(%rsp), %eax     /* 01, and 0s of B */
	addl %eax, %esi
	movl 0x7fc(%rsp), %eax
	clc
	movl 0xfff(%rsp), %ebx
	adcl %ebx, %edi
	movl $V + 0x1000, %esp
	movl (%rsp), %eax          /* B is known */
	clc
	movl -1(%rsp), %ebx
	adcl $0, %ebx
	cmpl $1, %ebx
	jne wrong
	again_or_end 8b

	/* 9. Ring 3: an alignment check begins to hold for a page that is known. */
	call clear
	movq %cr0, %rax
	orl $1 << 18, %eax
	movq %rax, %cr0
	movl $20, %r15d
	enter_user64 $user, stack=$V+0x801
on_user_end:
	movl $STACK, %esp
	hlt

	/* 10. SMAP: a user page that is known while RFLAGS.AC is set. */
	call clear
	movl $STACK, %esp
	/* All but V belongs to the supervisor. */
	movl $LEVEL1, %ebx
10:	andl $~4, (%rbx)
	addl $8, %ebx
	cmpl $LEVEL1 + 0x1000, %ebx
	jne 10b
	map V, A + 7
	movq %cr4, %rax
	orl $1 << 21, %eax
	movq %rax, %cr4
	movl $V, %esp
10:	stac
	movl (%rsp), %eax
	clac
	movl (%rsp), %eax          /* faults, and goes on with AC set */
	again_or_end 10b
	end

user:
	pushfq
	popq %rbx
1:	movl (%rsp), %eax
	orl $1 << 18, %ebx
	movl $V + 0x808, %esp
	pushq %rbx
	popfq
	movl $V + 0x801, %esp
	movl (%rsp), %eax          /* #AC clears AC */
	decl %r15d
	jnz 1b
	int $0x80

clear:
	xorl %esi, %esi
	xorl %edi, %edi
	movl $40, %r15d
	ret
on_page_fault:
	incl %esi
	movl $1, %edi
	movl $A + 7, LEVEL1 + (V >> 12) * 8
	addq $8, %rsp
	orl $1 << 18, 16(%rsp)
	iretq
on_debug:
	incl %esi
	iretq
on_alignment:
	incl %esi
	addq $8, %rsp
	andl $~(1 << 18), 16(%rsp)
	iretq
wrong:
	hlt
	end
	.balign 16
invpcid_operand:
	.quad 0, 0
	define_gdt
