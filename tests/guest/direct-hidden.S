/*
 * A program on a CPU whose CPUID hides what the host has: what it hides is undefined, wherever it is executed. RBX counts
 * #UD, RSI what was executed all the same.
 *
 * needs: less
 * exits:
 *   hlt rbx=14 rsi=0 rdi=0
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
	linux_features 0x50000         /* OSXSAVE, FSGSBASE */
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
	movl $4, %r12d             /* so that it is translated */
again:
	undefined pdepl %r12d, %r12d, %r14d
	undefined mulxl %r12d, %r15d, %r14d
	undefined aesenc %xmm0, %xmm1
	undefined sha1msg1 %xmm0, %xmm1
	undefined rdrand %r14d
	decl %r12d
	jnz again
	int $0x80
	int $0x84
user_end:
	define_gdt
