/*
 * A CPU with the features of the first 64-bit ones on a host with more: newer instructions are
 * undefined, or what they were then; new bits of CR4 and EFER are reserved and new MSRs absent. All of it
 * ten times, so that it is translated.
 *
 * needs: old
 * exits:
 *   hlt rax=0 rbx=a0 rcx=46 rdx=1e rsi=9 rdi=3
 *   end
 */
#include "guest.h"
	.macro undefined text:vararg
	leaq 991f(%rip), %rbp
	\text
	incl %eax /* it was executed */
991:
	.endm
	enter_long
	gate64 6, on_6
	gate64 13, on_13
	movl $STACK, %esp
	xorl %r8d, %r8d /* #UD */
	xorl %r9d, %r9d /* #GP */
	movl $10, %r10d
	xorl %r11d, %r11d
again:
	xorl %eax, %eax
	movl $0x208, %r12d
	undefined popcnt %r12d, %r13d
	undefined crc32l %r12d, %r13d
	undefined movbel area, %r13d
	undefined andnl %r12d, %r12d, %r13d
	undefined mulxl %r12d, %r13d, %r14d
	undefined pshufb %xmm1, %xmm2
	undefined pmulld %xmm1, %xmm2
	undefined aesenc %xmm1, %xmm2
	undefined vaddps %xmm1, %xmm2, %xmm3
	undefined vpaddd %ymm1, %ymm2, %ymm3
	undefined rdrand %r13d
	undefined xgetbv
	undefined rdtscp
	undefined rdfsbase %r13
	undefined stac
	undefined lahf
	/* LZCNT and TZCNT are BSR and BSF. */
	lzcnt %r12d, %esi
	tzcnt %r12d, %edi
	/* These are NOPs. */
	prefetchw area
	endbr64
	nopl area
	/* SSE2 and SSE3 are there. */
	paddd %xmm1, %xmm2
	haddps %xmm1, %xmm2
	/* CR4.SMEP; TSC_AUX; TSC_ADJUST. */
	movl %eax, %r15d
	leaq 1f(%rip), %rbp
	movq %cr4, %rax
	orl $0x100000, %eax
	movq %rax, %cr4
	incl %r15d
1:	leaq 1f(%rip), %rbp
	movl $0xc0000103, %ecx
	rdmsr
	incl %r15d
1:	leaq 1f(%rip), %rbp
	movl $0x3b, %ecx
	rdmsr
	incl %r15d
1:	addl %r15d, %r11d
	decl %r10d
	jnz again
	movl %r11d, %eax
	movl %r8d, %ebx
	movl %r9d, %edx
	movl $0x46, %ecx
	hlt
	end
on_6:
	incl %r8d
	movq %rbp, (%rsp)
	iretq
on_13:
	incl %r9d
	addq $8, %rsp
	movq %rbp, (%rsp)
	iretq
area:
	.long 0
	define_gdt
