/*
 * Two address spaces with PCIDs (Intel SDM vol. 3 §4.10). Warm code in a page that both have leads to a
 * page that each has for itself, where another number is added to RAX; that page is another one each time,
 * with each invalidation that makes it seen: a load of CR3 without bit 63, INVPCID of each type, INVLPG;
 * it goes, loses its right, is global. One's page overwrites the flags of the common code, the other's reads them.
 * Then a page that user code has warmed up, which the kernel must not
 * run. R10, RDX, RSI: how many faults there were, and the last one's CR2 and error code.
 *
 * exits:
 *   hlt rax=2424
 *   hlt rax=24
 *   hlt rax=242424
 *   hlt rax=242424
 *   hlt rax=242424
 *   hlt rax=242424
 *   hlt rax=242424
 *   hlt rax=240024 r10=24 rdx=101000 rsi=10
 *   hlt rax=240024 r10=24 rdx=101000 rsi=11
 *   hlt rax=48000000
 *   hlt rax=4800
 *   hlt rax=24 r10=24 rdx=102000 rsi=11
 *   end
 */
#include "guest.h"
#define LEVEL1   (PAGES + 0x3000)
#define LEVEL3_B 0x50000
#define LEVEL4_B 0x51000
#define LEVEL2_B 0x52000
#define LEVEL1_B 0x53000
#define COMMON  0x30000
#define ONE     0x31000 /* adds 1 */
#define TWO     0x32000 /* 100h */
#define THREE   0x33000 /* 10000h */
#define FOUR    0x34000 /* 1000000h */
#define USER    0x35000
#define HERE    0x100000 /* the common page */
#define NEXT    0x101000 /* each one's own */
#define HIGH    0x102000 /* the user's */
#define ROUNDS  36
#define NX      (1 << 63)

	.macro load_cr3 root
	movq $\root, %rdi
	movq %rdi, %cr3
	.endm
	.macro space_a
	load_cr3 (PAGES|1|NX)      /* bit 63: keep what is cached */
	.endm
	.macro space_b
	load_cr3 (LEVEL4_B|2|NX)
	.endm
	/* In memory alone; in the second space, and in both. */
	.macro set_next entry
	movq $\entry, %rdi
	movq %rdi, LEVEL1_B+(NEXT>>12)*8
	.endm
	.macro set_both entry
	set_next \entry
	movq %rdi, LEVEL1+(NEXT>>12)*8
	.endm
	.macro copy from, to, size=0x1000
	movl $\from, %esi
	movl $\to, %edi
	movl $\size, %ecx
	rep movsb
	.endm
	.macro begin
	xorl %eax, %eax
	xorl %r10d, %r10d
	movl $ROUNDS, %ebp
	.endm
	/* The first space's page, and two of the second's, which INVPCID announces. */
	.macro invpcid_rounds type
	begin
9:	space_a
	call HERE
	set_next (TWO|7)
	movl $\type, %edi
	invpcid descriptor, %rdi
	space_b
	call HERE
	space_a
	set_next (THREE|7)
	movl $\type, %edi
	invpcid descriptor, %rdi
	space_b
	call HERE
	decl %ebp
	jnz 9b
	hlt
	.endm

	enter_long
	load_tss64
	cld
	gate64 14, page_fault
	gate64 0x80, from_user, 0xee
	copy common, COMMON, 16
	copy one, ONE, 16
	copy two, TWO, 16
	copy three, THREE, 16
	copy four, FOUR, 16
	copy with_flags, COMMON+16, 16
	copy overwrites, ONE+16, 16
	copy reads, TWO+16, 16
	copy user_code, USER, 16
	movl $COMMON|7, LEVEL1+(HERE>>12)*8
	movl $ONE|7, LEVEL1+(NEXT>>12)*8
	movl $USER|7, LEVEL1+(HIGH>>12)*8
	copy PAGES, LEVEL4_B
	copy PAGES+0x1000, LEVEL3_B
	copy PAGES+0x2000, LEVEL2_B
	copy LEVEL1, LEVEL1_B
	movl $LEVEL3_B|7, LEVEL4_B
	movl $LEVEL2_B|7, LEVEL3_B
	movl $LEVEL1_B|7, LEVEL2_B
	set_next (TWO|7)
	load_cr3 PAGES
	movq %cr4, %rax
	orl $0x20080, %eax         /* PCIDE, PGE */
	movq %rax, %cr4

	/* 1. Each keeps its own. */
	begin
1:	space_a
	call HERE
	space_b
	call HERE
	decl %ebp
	jnz 1b
	hlt

	/* With flags that the first one's page has no use for. */
	begin
12:	space_a
	call HERE+16
	space_b
	call HERE+16
	decl %ebp
	jnz 12b
	hlt

	/* 2. A load of CR3 that keeps nothing. */
	begin
2:	space_a
	call HERE
	set_next (TWO|7)
	load_cr3 (LEVEL4_B|2)
	call HERE
	set_next (THREE|7)
	load_cr3 (LEVEL4_B|2)
	call HERE
	decl %ebp
	jnz 2b
	hlt

	/* 3. INVPCID, from the first space. */
	invpcid_rounds 0
	invpcid_rounds 1
	invpcid_rounds 2
	invpcid_rounds 3

	/* 4. The page is away, and is back by the handler. */
	begin
4:	space_a
	call HERE
	set_next 0
	space_b
	invlpg NEXT
	call HERE
	decl %ebp
	jnz 4b
	hlt

	/* 5. It is there, but not to be executed. */
	begin
5:	space_a
	call HERE
	set_next (THREE|7|NX)
	space_b
	invlpg NEXT
	call HERE
	decl %ebp
	jnz 5b
	hlt

	/* 6. The same global page in both, whichever CR3 is loaded; then another, by INVLPG. */
	set_both (FOUR|0x107)
	load_cr3 (LEVEL4_B|2)
	load_cr3 (PAGES|1)
	begin
6:	load_cr3 (PAGES|1)
	call HERE
	load_cr3 (LEVEL4_B|2)
	call HERE
	decl %ebp
	jnz 6b
	hlt
	set_both (TWO|0x107)
	invlpg NEXT
	begin
7:	load_cr3 (PAGES|1)
	call HERE
	load_cr3 (LEVEL4_B|2)
	call HERE
	decl %ebp
	jnz 7b
	hlt

	/* 7. With SMEP, what user code runs: all other pages but its stack are the kernel's now. */
	load_cr3 (PAGES|1)
	movl $LEVEL1, %edi
8:	andl $~4, (%edi)
	addl $8, %edi
	cmpl $LEVEL1+0x1000, %edi
	jne 8b
	orl $4, LEVEL1+(HIGH>>12)*8
	orl $4, LEVEL1+(USER_STACK>>12)*8
	movq %cr4, %rax
	orl $0x100000, %eax        /* SMEP */
	movq %rax, %cr4
	begin
10:	pushq $USER_DATA|3
	pushq $USER_STACK
	pushq $2
	pushq $USER_CODE64|3
	pushq $HIGH
	iretq
from_user:
	addq $40, %rsp
	movl $HIGH, %ebx
	call *%rbx
	decl %ebp
	jnz 10b
	hlt
	end

page_fault:
	movq %cr2, %rdx
	popq %rsi
	incl %r10d
	cmpl $HIGH, %edx
	je 11f
	set_next (THREE|7)
	invlpg NEXT
	iretq
	/* Back behind the call. */
11:	movq 24(%rsp), %rcx
	movq (%rcx), %rcx
	movq %rcx, (%rsp)
	addq $8, 24(%rsp)
	iretq

	.balign 16
common:
	jmp common+(NEXT-HERE)
	.balign 16
one:	incl %eax
	ret
	.balign 16
two:	addl $0x100, %eax
	ret
	.balign 16
three:	addl $0x10000, %eax
	ret
	.balign 16
four:	addl $0x1000000, %eax
	ret
	.balign 16
with_flags:
	clc
	jmp with_flags+(NEXT-HERE)
	.balign 16
overwrites:
	xorl %ecx, %ecx
	ret
	.balign 16
reads:	setnc %cl
	movzbl %cl, %ecx
	addl %ecx, %eax
	ret
	.balign 16
user_code:
	incl %eax
	int $0x80
	.balign 16
descriptor:
	.quad 2, NEXT
	define_gdt
