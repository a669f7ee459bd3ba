/*
 * What the guests of `make bench` share: a multiboot kernel that switches to long mode, maps the first
 * GiB and the local APIC, masks the PICs, and jumps to `main`; and printing on COM1. Included first.
 * Multiboot Specification 0.6.96 §3.1; Intel SDM vol. 3 §9.8.5 (entering IA-32e mode).
 */
#define COM1   0x3f8
#define ARRAY  0x1000000 /* 16 MiB: source; one MiB further: destination */
#define ARRAY2 0x1100000
#define MANY   0x2000000 /* 32 MiB: 64 MiB of pages */
#define LAPIC  0xfee00000

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

/* An interrupt gate; changes EAX. */
	.macro gate vector, handler
	movl $\handler, %eax
	movw %ax, idt + \vector * 16
	movw $8, idt + \vector * 16 + 2
	movw $0x8e00, idt + \vector * 16 + 4
	shrl $16, %eax
	movw %ax, idt + \vector * 16 + 6
	.endm

	.text
	.code32
	.globl _start
_start:
	cld
	movl $stack_end, %esp
	/* Identity map of the first GiB with 2 MiB pages. */
	movl $level3, %eax
	orl $3, %eax
	movl %eax, level4
	movl $level2, %eax
	orl $3, %eax
	movl %eax, level3
	xorl %ecx, %ecx
	movl $0x83, %eax
1:	movl %eax, level2(,%ecx,8)
	addl $0x200000, %eax
	incl %ecx
	cmpl $512, %ecx
	jne 1b
	movl $level2_top, %eax
	orl $3, %eax
	movl %eax, level3 + 3 * 8
	movl $LAPIC + 0x93, level2_top + (LAPIC >> 21 & 511) * 8 /* not cached */
	movl %cr4, %eax
	orl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $level4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	andl $~4, %eax
	orl $0x80000003, %eax
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode

	.code64
long_mode:
	movb $0xff, %al
	outb %al, $0x21
	outb %al, $0xa1
	lidt idt_pointer
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	jmp main

/* Print the character in AL; changes RDX. */
print_char:
	movb %al, %ah
	movw $COM1 + 5, %dx
1:	inb %dx, %al
	testb $0x20, %al
	jz 1b
	movb %ah, %al
	movw $COM1, %dx
	outb %al, %dx
	ret

print_string:
	movzbl (%rsi), %eax
	testl %eax, %eax
	jz 1f
	call print_char
	incq %rsi
	jmp print_string
1:	ret

print_decimal:
	movl $10, %ebx
	xorl %edi, %edi
1:	xorl %edx, %edx
	divq %rbx
	addl $'0', %edx
	pushq %rdx
	incl %edi
	testq %rax, %rax
	jnz 1b
2:	popq %rax
	call print_char
	decl %edi
	jnz 2b
	ret

	.data
	.align 16
gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt
idt_pointer:
	.word 0xfff
	.quad idt

	.bss
	.align 4096
level4:	.skip 4096
level3:	.skip 4096
level2:	.skip 4096
level2_top: .skip 4096
idt:	.skip 4096
	.skip 4096
stack_end:
