/*
 * A program that has memory mapped, one after the other, in each of the 512 GiB that a stub's own pages may be put into: they
 * have to give way, in the end to nowhere, and find a place again (docs/engine/direct.md). What it reads and writes
 * there is its own all the while.
 *
 * exits:
 *   hlt r15=83 rbx=1fe0 rsi=5f
 *   hlt r15=83 rbx=60 rsi=60
 *   hlt r15=83 rbx=32 rsi=1234
 *   end
 */
#include "guest.h"
#include "linux.h"
#define USER    0x100000
#define DATA3_END 0x110f00
#define SHARED  0x132000   /* what is mapped everywhere */
#define FIRST   0x48
#define SLOTS   0x60
#define TABLES  0x54000

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x82, on_82, 0xee
	gate64 0x83, on_83, 0xee
	gate64 0x84, on_84, 0xee
	gate64 0x85, on_85, 0xee
	linux_null_selectors
	linux_features 0x50000         /* OSXSAVE, FSGSBASE */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	/* Three levels of tables that map one page, wherever one looks. */
	movl $TABLES, %edi
	movl $TABLES+0x1007, %eax
	movl $512, %ecx
	rep stosq
	movl $TABLES+0x2007, %eax
	movl $512, %ecx
	rep stosq
	movl $SHARED+7, %eax
	movl $512, %ecx
	rep stosq
	movl $0x55, SHARED
	xorl %eax, %eax
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

	/* Map the slot in ECX. */
on_82:
	movl $TABLES+7, PAGES(,%rcx,8)
	iretq
on_83:
	movl $0x83, %r15d
	hlt
	iretq
	/* Unmap it. */
on_85:
	movl $0, PAGES(,%rcx,8)
	pushq %rax
	movq %cr3, %rax
	movq %rax, %cr3
	popq %rax
	iretq
on_84:
	end

user:
	movl $FIRST, %ecx
	xorl %ebx, %ebx
1:	int $0x82
	movq %rcx, %rdx
	shlq $39, %rdx
	addl (%rdx), %ebx
	movl %ecx, %esi
	subl $FIRST, %esi
	movl %esi, 0x5008(%rdx)
	movl 0x8(%rdx), %esi
	incl %ecx
	cmpl $FIRST+SLOTS, %ecx
	jne 1b
	int $0x83
	/* Three are free again, here and there; then one that the stub was in may be mapped. */
	movl $FIRST+7, %ecx
	int $0x85
	movl $FIRST+50, %ecx
	int $0x85
	movl $FIRST+90, %ecx
	int $0x85
	movl $0x60, %ebx
	movl $FIRST+3, %edx
	shlq $39, %rdx
	movl %ebx, 0x70(%rdx)
	movl 0x1070(%rdx), %esi
	int $0x83
	movl $FIRST+7, %ecx
	int $0x82
	movl $FIRST+90, %ecx
	int $0x82
	shlq $39, %rcx
	movl $0x1234, 0x88(%rcx)
	movl $FIRST+7, %edx
	shlq $39, %rdx
	movl 0x2088(%rdx), %esi
	movl $50, %ebx
	int $0x83
	int $0x84
user_end:
	define_gdt
