/*
 * SYSCALL and SYSRET again and again, which the translator does itself: with flags of all kinds before and behind
 * them, and with what they go by changed in between: FMASK, STAR, LSTAR, EFER, FS; with pages that are the kernel's
 * alone, an interrupt that waits for ring 3, alignment that is checked there, and SYSCALL at the end of a page.
 * needs: irqchip
 *
 * exits:
 *   out 0xf1 4: 6f477d61
 *   out 0xf1 4: 0ad24189
 *   out 0xf1 4: b815f076
 *   out 0xf1 4: 1be30d89
 *   out 0xf1 4: 93172116
 *   out 0xf1 4: e84c42f7
 *   out 0xf1 4: ec4b69e0
 *   out 0xf1 4: 90b7f8a0
 *   out 0xf1 4: 19792fa9
 *   out 0xf1 4: 43fd3701
 *   end
 */
#include "guest.h"
#define TURNS    48
#define SELF_IPI 0x83f
#define SECRET   0x60000 /* a page of the kernel's */
#define OPEN     0x61000 /* anybody's */
#define EDGE     0x63000 /* SYSCALL is right before it */
#define FMASK_FEW   0x40200  /* AC, IF */
#define FMASK_LINUX 0x257fd5 /* nearly all */
#define FMASK_NO_AC 0x700
/* RFLAGS but RF, which is how it came to be. */
	.macro mix_flags
	pushfq
	popq %rax
	andl $0x3efed5, %eax
	mix %rax
	.endm
	.macro mix_selector register
	movw \register, %ax
	movzwl %ax, %eax
	mix %rax
	.endm
	.macro begin
	xorl %esi, %esi
	xorl %edi, %edi
	movl $TURNS, %ebp
	.endm
/* From ring 3: have the kernel do what is at `label`. */
	.macro call_kernel label
	movl $\label, %r10d
	syscall
	.endm
	.macro print
	call_kernel print_mix
	.endm
	enter_long
	load_tss64
	gate64 6, on_undefined
	gate64 14, on_page_fault
	gate64 17, on_alignment
	gate64 0x40, on_interrupt
	mask_pics
	enter_x2apic
	movq %cr0, %rax
	orl $0x40000, %eax /* AM */
	movq %rax, %cr0
	/* The secret page loses U. */
	andl $~4, PAGES + 0x3000 + SECRET / 0x1000 * 8
	movq %cr3, %rax
	movq %rax, %cr3
	enable_syscall on_syscall
	write_msr 0xc0000084, FMASK_FEW
	/* syscall; jmp *%r9 */
	movl $0x0f, EDGE - 2
	movb $0x05, EDGE - 1
	movl $0xe1ff41, EDGE
	enter_user64 $user

	/* RCX and R11 are SYSCALL's; RAX is free. */
on_syscall:
	jmp *%r10
print_mix:
	movl %esi, %eax
	outl %eax, $PORT_PRINT
	sysretq
	/* What SYSCALL has left, and other flags for ring 3. */
note:
	mix_flags
	mix %rcx
	mix %r11
	mix_selector %cs
	mix_selector %ss
	movl %esi, %eax
	andl $0xcd5, %eax
	xorl %eax, %r11d
	sysretq
	/* Ring 3 is to have AC, or not. */
toggle_ac:
	mix_flags
	xorl $0x40000, %r11d
	sysretq
next_fmask:
	mix %r11
	mix_flags
	movq %rcx, %r8
	movl %ebp, %eax
	andl $3, %eax
	movl fmasks(, %rax, 4), %eax
	xorl %edx, %edx
	movl $0xc0000084, %ecx
	wrmsr
	movq %r8, %rcx
	sysretq
next_star:
	mix_selector %cs
	movq %rcx, %r8
	movl %ebp, %edx
	andl $1, %edx
	imull $0x00100040, %edx, %edx
	addl $0x002b0018, %edx
	xorl %eax, %eax
	movl $0xc0000081, %ecx
	wrmsr
	movq %r8, %rcx
	sysretq
first_star:
	movq %rcx, %r8
	movl $0x002b0018, %edx
	xorl %eax, %eax
	movl $0xc0000081, %ecx
	wrmsr
	movq %r8, %rcx
	sysretq
other_lstar:
	movq %rcx, %r8
	movl $0xc0000082, %ecx
	rdmsr
	cmpl $on_syscall, %eax
	movl $on_syscall, %eax
	jne 1f
	movl $on_other_syscall, %eax
1:	wrmsr
	movq %r8, %rcx
	sysretq
on_other_syscall:
	mix $0x77
	jmp *%r10
no_sce:
	movq %rcx, %r8
	movl $0xc0000080, %ecx
	rdmsr
	andl $~1, %eax
	wrmsr
	orl $1, %eax
	testl $4, %ebp
	jz 1f
	wrmsr
	/* SYSRET would be #UD, too. */
1:	movq %r8, %rcx
	enter_user64 %rcx
other_fs:
	movq %rcx, %r8
	movl %ebp, %eax
	shrl $2, %eax
	xorl %edx, %edx
	movl $0xc0000100, %ecx
	wrmsr
	movq %r8, %rcx
	sysretq
read_secret:
	addl $3, SECRET + 8
	movl SECRET + 8, %eax
	mix %rax
	addl %eax, OPEN + 8
	sysretq
send:
	movq %rcx, %r8
	write_msr SELF_IPI, 0x40
	movq %r8, %rcx
	orl $0x200, %r11d
	sysretq
finish:
	end

user:
	/* 1. Flags. */
	begin
1:	addl $0x7fffff35, %edi
	call_kernel note
	mix_flags
	cmpl %edi, %esi
	call_kernel note
	mix_flags
	std
	subl $0x12345, %edi
	call_kernel note
	mix_flags
	cld
	again 1b
	print
	/* 2. FMASK. */
	begin
1:	addl $0x7fffff35, %edi
	call_kernel next_fmask
	mix_flags
	again 1b
	print
	/* 3. AC, and what is not aligned. */
	begin
1:	call_kernel toggle_ac
	mix_flags
	movl OPEN + 1, %eax
	mix %rax
	again 1b
	call_kernel note
	print
	/* 4. STAR; then as it was. */
	begin
1:	call_kernel next_star
	mix_selector %cs
	mix_selector %ss
	again 1b
	call_kernel first_star
	print
	/* 5. LSTAR. */
	begin
1:	call_kernel note
	testl $3, %ebp
	jnz 2f
	call_kernel other_lstar
2:	again 1b
	print
	/* 6. A page that ring 3 may not read, beside one that it may. */
	begin
1:	call_kernel read_secret
	movl OPEN + 8, %eax
	mix %rax
	testl $7, %ebp
	jnz 2f
	movl SECRET + 8, %eax /* #PF */
2:	again 1b
	print
	/* 7. FS. */
	begin
1:	call_kernel other_fs
	movl %fs:OPEN, %eax
	mix %rax
	again 1b
	print
	/* 8. An interrupt that is waiting when SYSRET sets IF. */
	begin
1:	testl $3, %ebp
	jnz 2f
	call_kernel send
2:	call_kernel note
	mix_flags
	again 1b
	print
	/* 9. SYSCALL at the end of its page. */
	begin
1:	movl $note, %r10d
	movl $2f, %r9d
	movl $EDGE - 2, %eax
	jmp *%rax
2:	mix_flags
	again 1b
	print
	/* 10. Without SYSCALL. */
	begin
1:	call_kernel no_sce
	call_kernel note
	again 1b
	print
	call_kernel finish

	/* SYSCALL without SCE: with it again, once more. */
on_undefined:
	mix (%rsp)
	movl $0xc0000080, %ecx
	rdmsr
	orl $1, %eax
	wrmsr
	iretq
on_page_fault:
	mix (%rsp) /* the error code */
	movq %cr2, %rax
	mix %rax
	addq $8, %rsp
	addq $7, (%rsp)
	iretq
on_alignment:
	mix 8(%rsp)
	addq $8, %rsp
	andl $~0x40000, 16(%rsp)
	iretq
on_interrupt:
	mix (%rsp)
	mix 16(%rsp)
	pushq %rcx
	x2apic_eoi
	popq %rcx
	iretq
	.balign 4
fmasks:
	.long FMASK_FEW, FMASK_LINUX, FMASK_NO_AC, FMASK_LINUX
	define_gdt
