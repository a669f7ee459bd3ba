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
