/*
 * A page of 64-bit user code with instructions that show the processor, amid others that do not: what they tell is the
 * guest's, also single-stepped, behind a jump into the middle of one, at a breakpoint in place of one, and after the
 * page was rewritten from wherever. Direct execution runs a copy in which they are traps (docs/engine/direct.md); what
 * the page holds for its kernel, and to be read, is what it held, but for the traps' single bytes.
 *
 * The kernel is entered by interrupt 80h: RDI is what to do with the page.
 *
 * needs: traps
 *
 * exits:
 *   hlt rax=0 rbx=1
 *   hlt rax=1234 rbx=2
 *   hlt rax=12ab rbx=3
 *   hlt rax=12ab rbx=4
 *   hlt rax=0 rbx=5
 *   hlt rax=f rbx=6
 *   hlt rax=5 rbx=7
 *   hlt r15=d r14=0 rbx=8
 *   hlt rax=607 rbx=9
 *   hlt rax=0 rbx=a
 *   hlt rax=7 rbx=b
 *   hlt r15=3 rbx=c
 *   hlt rax=0 rbx=c
 *   hlt rax=7 rbx=d
 *   hlt rax=0 rbx=e
 *   hlt rax=600d
 *   end
 */
#include "guest.h"
#include "linux.h"
#define LEVEL1  (PAGES+0x3000)
#define USER    0x100000
#define DATA3_END 0x110f00
#define CODE3   0x120000   /* the page */
#define ALIAS   0x121000   /* here as well */
#define KNOWN   0x118000   /* XCR0 */
#define STEPS   0x118010
#define AUX     0x12ab     /* IA32_TSC_AUX */

#define AT(label) (CODE3+(label-traps))

	.macro call_kernel what
	movl $\what, %edi
	int $0x80
	.endm
	.macro show what
	movl $\what, %ebx
	call_kernel 0
	.endm

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x80, on_80, 0xee
	gate64 1, on_debug
	gate64 3, on_breakpoint, 0xee
	gate64 13, on_protection
	write_msr 0xc0000103, AUX
	linux_null_selectors
	linux_features 0x40000         /* OSXSAVE */
	xgetbv
	movl %eax, KNOWN
	movl %edx, KNOWN+4
	movl $0, STEPS
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	movl %ecx, %r12d           /* bit 22: RDPID */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $traps, %esi
	movl $CODE3, %edi
	movl $0x1000, %ecx
	rep movsb
	movl $CODE3|7, LEVEL1+(ALIAS>>12)*8
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %eax, %eax
	xorl %edx, %edx
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

	/* 0: show; 1: the byte of a trap; 2: MOV $7, %al; NOP in place of XGETBV; 3: that again; 4: INT3; 5: the end. */
on_80:
	cmpl $1, %edi
	je 1f
	cmpl $2, %edi
	je 2f
	cmpl $3, %edi
	je 3f
	cmpl $4, %edi
	je 4f
	cmpl $5, %edi
	je 5f
	hlt
	iretq
1:	movzbl AT(xgetbv_at), %eax
	iretq
2:	movl $0x9007b0, %eax
6:	movw %ax, AT(xgetbv_at)
	shrl $16, %eax
	movb %al, AT(xgetbv_at)+2
	xorl %eax, %eax
	iretq
3:	movl $0xd0010f, %eax
	jmp 6b
4:	movb $0xcc, AT(xgetbv_at)
	iretq
5:	hlt
	end
on_breakpoint:
	movl $3, %r15d
	hlt
	xorl %r15d, %r15d
	movb $0x0f, AT(xgetbv_at)
	decq (%rsp)
	iretq
on_debug:
	incl STEPS
	cmpl $6, STEPS
	jne 1f
	andl $~0x100, 16(%rsp)
1:	pushq %rax
	xorl %eax, %eax
	movq %rax, %dr6
	popq %rax
	iretq
on_protection:
	popq %r14
	movl $13, %r15d
	hlt
	xorl %r15d, %r15d
	addq $3, (%rsp)
	iretq

	.balign 64
user:
	movl $AT(t_xcr), %ebp
	call *%rbp
	show 1
	movl $AT(t_lsl), %ebp
	call *%rbp
	show 2
	movl $AT(t_aux), %ebp
	call *%rbp
	movl %esi, %eax
	show 3
	movl $AUX, %eax
	btl $22, %r12d
	jnc 1f
	movl $AT(t_pid), %ebp
	call *%rbp
1:	show 4

	/* What is there to be read: it differs from what was put there in traps at most. */
	xorl %eax, %eax
	xorl %ecx, %ecx
1:	movb CODE3(%rcx), %dl
	cmpb traps(%rcx), %dl
	je 2f
	cmpl $xgetbv_at-traps, %ecx
	je 3f
	cmpl $lsl_at-traps, %ecx
	je 3f
	cmpl $rdtscp_at-traps, %ecx
	je 3f
	cmpl $rdpid_at-traps, %ecx
	je 3f
4:	incl %eax
	jmp 2f
3:	cmpb $0xf4, %dl
	jne 4b
2:	incl %ecx
	cmpl $0x1000, %ecx
	jne 1b
	xorl %edx, %edx
	show 5
	call_kernel 1
	show 6

	/* Behind the first byte of RDTSCP there is ADD %edi, %ecx. */
	movl $2, %ecx
	movl $3, %edi
	xorl %eax, %eax
	xorl %edx, %edx
	movl $AT(rdtscp_at)+1, %ebp
	call *%rbp
	movl %esi, %eax
	show 7
	/* No such register: #GP. */
	movl $8, %ebx
	movl $7, %ecx
	xorl %eax, %eax
	xorl %edx, %edx
	movl $AT(xgetbv_at), %ebp
	call *%rbp

	/* Single steps: CALL, XOR, PUSH, POP, XGETBV, and the one behind POPF. */
	movl $AT(t_step), %ebp
	pushfq
	orl $0x100, (%rsp)
	popfq
	call *%rbp
	subl KNOWN, %eax
	xorl %edx, %edx
	movl STEPS, %ecx
	shll $8, %ecx
	leal 7(%rax,%rcx), %eax
	show 9

	/* Rewritten by the kernel, from beside, and where it is. */
	call_kernel 2
	call_kernel 3
	movl $AT(t_xcr), %ebp
	call *%rbp
	show 0xa
	call_kernel 2
	movl $AT(t_raw), %ebp
	call *%rbp
	movzbl %al, %eax
	show 0xb
	call_kernel 3
	movl $AT(t_xcr), %ebp
	call *%rbp
	call_kernel 4
	movl $0xc, %ebx
	call *%rbp
	show 0xc
	movl $ALIAS+(xgetbv_at-traps), %ecx
	movw $0x07b0, (%rcx)
	movb $0x90, 2(%rcx)
	movl $AT(t_raw), %ebp
	call *%rbp
	movzbl %al, %eax
	show 0xd
	movl $AT(xgetbv_at), %ecx
	movw $0x010f, (%rcx)
	movb $0xd0, 2(%rcx)
	movl $AT(t_xcr), %ebp
	call *%rbp
	show 0xe
	movl $0x600d, %eax
	call_kernel 5
user_end:

	/* The page. What is called leaves nothing of the counter behind. */
	.balign 64
traps:
	.fill 16, 1, 0x90
t_xcr:                             /* EAX is 0 when XGETBV tells XCR0 */
	call t_raw
	subl KNOWN, %eax
	subl KNOWN+4, %edx
	orl %edx, %eax
	xorl %edx, %edx
	ret
t_step:
	xorl %ecx, %ecx
	pushq %rcx
	popq %rcx
	jmp xgetbv_at
t_raw:
	xorl %edx, %edx
	xorl %ecx, %ecx
xgetbv_at:
	xgetbv
	ret
t_lsl:                             /* as it was: the table has no such descriptor */
	movl $0x1234, %eax
	movl $0x7b, %ecx
lsl_at:
	lsl %ecx, %eax
	jnz 1f
	xorl %eax, %eax
1:	ret
t_aux:
rdtscp_at:
	rdtscp
	movl %ecx, %esi
	shlq $0x20, %rdx
	xorl %eax, %eax
	xorl %edx, %edx
	xorl %ecx, %ecx
	ret
t_pid:
	movl $0x7b, %eax
	.byte 0xf3
rdpid_at:
	.byte 0x0f, 0xc7, 0xf8     /* rdpid %rax */
	ret
	.balign 16
	.fill 0x1000-(.-traps), 1, 0xcc
	define_gdt
