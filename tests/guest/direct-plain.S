/*
 * A program under a kernel that leaves CR4.FSGSBASE 0, as older ones do: it runs directly, and RDFSBASE and its kin are
 * undefined all the same, as often as they come. RBX counts #UD, RSI what was executed.
 *
 * exits:
 *   hlt rbx=10 rsi=0 rdi=0
 *   hlt rbx=11 rsi=1 rdi=0
 *   end
 */
#include "guest.h"
#include "linux.h"
#define USER    0x100000   /* the program */
#define DATA3_END 0x110f00

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 6, on_undefined
	gate64 13, on_protection
	gate64 0x80, on_80, 0xee
	gate64 0x84, on_84, 0xee
	linux_null_selectors
	linux_features 0x40000         /* OSXSAVE, no FSGSBASE */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %ebx, %ebx
	xorl %edi, %edi
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

on_undefined:
	incl %ebx
	movq %r13, (%rsp)
	iretq
on_protection:
	incl %edi
	addq $8, %rsp
	movq %r13, (%rsp)
	iretq
on_80:
	hlt
	iretq
on_84:
	end

	.macro undefined text:vararg
	leaq 991f(%rip), %r13
	\text
	incl %esi
991:
	.endm

	.balign 64
user:
	xorl %esi, %esi
	movl $0x110000, %ebp
	movl $4, %r12d
again:
	undefined rdfsbase %r14
	undefined wrfsbase %rbp
	undefined rdgsbase %r8
	undefined wrgsbase %ebp
	decl %r12d
	jnz again
	int $0x80
	/* What looks like them and is there: a fence. */
	mfence
	leaq 9f(%rip), %r13
	ud2
9:	incl %esi
	int $0x80
	int $0x84
user_end:
	define_gdt
