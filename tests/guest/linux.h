/*
 * What a Linux kernel has set up before a 64-bit program of its runs, for guests whose programs are to be
 * executed directly (docs/engine/direct.md): selectors where Linux has them, all of XCR0.
 */
#define CS3     0x33
#define SS3     0x2b

	.macro linux_gdt
	movabsq $0x00cff3000000ffff, %rax
	movq %rax, gdt+SS3-3
	movabsq $0x00affb000000ffff, %rax
	movq %rax, gdt+CS3-3
	.endm

	.macro linux_null_selectors
	xorl %eax, %eax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	.endm

	/* These bits of CR4 (OSXSAVE, 40000h, among them), and all of XCR0 that CPUID has. */
	.macro linux_features cr4
	movq %cr4, %rax
	orl $\cr4, %eax
	movq %rax, %cr4
	movl $0xd, %eax
	xorl %ecx, %ecx
	cpuid
	xorl %ecx, %ecx
	xsetbv
	.endm

/* A kernel whose program, from `user` to `user_end`, at USER and with a stack that ends at DATA3_END, executes what is undefined
 * (`undefined`): RBX counts #UD, RDI #GP, RSI what was executed all the same. `cr4`: as linux_features has it. */
	.macro linux_counts_undefined cr4
	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 6, on_undefined
	gate64 13, on_protection
	gate64 0x80, on_80, 0xee
	gate64 0x84, on_84, 0xee
	linux_null_selectors
	linux_features \cr4
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
	.endm

	.macro undefined text:vararg
	leaq 991f(%rip), %r13
	\text
	incl %esi
991:
	.endm

