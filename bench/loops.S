/*
 * The guest of `make bench`: a multiboot kernel that switches to long mode and runs small loops.
 *
 * On COM1 it prints "> NAME OPERATIONS" before a loop and "<" after it, three rounds of all loops,
 * and "done". The host times these lines, so that the guest's own clock does not matter. An operation
 * is an instruction, except where the loop's comment says otherwise.
 * Multiboot Specification 0.6.96 §3.1; Intel SDM vol. 3 §9.8.5 (entering IA-32e mode).
 */
#define COM1     0x3f8
#define ROUNDS   3
#define ARRAY    0x1000000 /* 16 MiB: source; one MiB further: destination */
#define ARRAY2   0x1100000
#define MANY     0x2000000 /* 32 MiB: 64 MiB of pages */

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

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
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	/* The gate of INT 30h. */
	movl $on_interrupt, %eax
	movw %ax, idt + 0x300
	shrl $16, %eax
	movw %ax, idt + 0x306
	lidt idt_pointer

	movl $ROUNDS, %r15d
round:
	movl $table, %r14d
next:
	movl (%r14), %eax
	testl %eax, %eax
	jz 1f
	movl $'>', %eax
	call print_char
	movl $' ', %eax
	call print_char
	leaq 12(%r14), %rsi
	call print_string
	movl $' ', %eax
	call print_char
	movl 8(%r14), %eax
	mull 4(%r14)
	shlq $32, %rdx
	orq %rdx, %rax
	call print_decimal
	movl $'\n', %eax
	call print_char
	movl 4(%r14), %ecx
	movl (%r14), %eax
	call *%rax
	movl $'<', %eax
	call print_char
	movl $'\n', %eax
	call print_char
	addq $28, %r14
	jmp next
1:	decl %r15d
	jnz round
	movl $done, %esi
	call print_string
1:	cli
	hlt
	jmp 1b

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

/* Each loop runs ECX times. */
integer:
	addq %rbx, %rax
	xorq %rax, %rdx
	leaq 3(%rdx, %rbx), %rsi
	subq %rsi, %rdi
	shlq $3, %rdi
	andq $0x7fff, %rdi
	orq %rdi, %rbx
	movq %rbx, %r8
	decl %ecx
	jnz integer
	ret

memory:
	movl $ARRAY, %esi
	movl $ARRAY2, %edi
	xorl %eax, %eax
1:	movl (%rsi, %rax, 4), %edx
	addl %edx, %ebx
	movl %ebx, (%rdi, %rax, 4)
	incl %eax
	andl $8191, %eax
	decl %ecx
	jnz 1b
	ret

branches:
	movl $1, %eax
1:	imull $1664525, %eax, %eax
	addl $1013904223, %eax
	testl $0x10000000, %eax
	jz 2f
	incl %ebx
	jmp 3f
2:	decl %ebx
	nop
3:	decl %ecx
	jnz 1b
	ret

calls:
	call 1f
	decl %ecx
	jnz calls
	ret
1:	pushq %rbp
	movq %rsp, %rbp
	popq %rbp
	ret

/* An operation is a quadword copied. */
string:
	movl %ecx, %ebx
1:	movl $ARRAY, %esi
	movl $ARRAY2, %edi
	movl $512, %ecx
	rep movsq
	decl %ebx
	jnz 1b
	ret

sse:
	movaps ones, %xmm1
	movaps halves, %xmm2
	movaps %xmm1, %xmm0
1:	mulps %xmm2, %xmm0
	addps %xmm1, %xmm0
	pshufd $0x1b, %xmm0, %xmm3
	paddd %xmm3, %xmm4
	pxor %xmm4, %xmm5
	movaps %xmm5, vector
	movaps vector, %xmm6
	decl %ecx
	jnz 1b
	ret

double:
	movl $3, %eax
	cvtsi2sd %eax, %xmm1
	movapd %xmm1, %xmm0
1:	addsd %xmm1, %xmm0
	divsd %xmm1, %xmm0
	mulsd %xmm1, %xmm0
	subsd %xmm1, %xmm0
	cvttsd2si %xmm0, %edx
	ucomisd %xmm1, %xmm0
	decl %ecx
	jnz 1b
	ret

/* Pages that no TLB holds all of. */
pages:
	movl %ecx, %ebx
1:	movl $MANY, %esi
	movl $16384, %ecx
2:	movl (%rsi), %eax
	addq $4096, %rsi
	decl %ecx
	jnz 2b
	decl %ebx
	jnz 1b
	ret

/* An operation is an INT with its IRET. */
interrupts:
	int $0x30
	decl %ecx
	jnz interrupts
	ret
on_interrupt:
	iretq

/* An operation is an access to a port that the monitor answers. */
ports:
	outb %al, $0x80
	decl %ecx
	jnz ports
	ret

	.data
	/* Function, iterations, operations in an iteration, name. */
	.macro loop function, iterations, operations
	.long \function, \iterations, \operations
1:	.asciz "\function"
	.fill 16 - (. - 1b), 1, 0
	.endm
table:
	loop integer, 20000000, 10
	loop memory, 10000000, 7
	loop branches, 10000000, 8
	loop calls, 10000000, 7
	loop string, 50000, 512
	loop sse, 3000000, 9
	loop double, 3000000, 8
	loop pages, 200, 65536
	loop interrupts, 500000, 1
	loop ports, 50000, 1
	.long 0
done:
	.asciz "done\n"

	.align 16
ones:
	.float 1, 1, 1, 1
halves:
	.float 0.5, 0.5, 0.5, 0.5
gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt
idt_pointer:
	.word 0x30f
	.quad idt
	.align 16
idt:
	.fill 0x300, 1, 0
	.word 0, 8, 0x8e00, 0
	.quad 0

	.bss
	.align 4096
level4:	.skip 4096
level3:	.skip 4096
level2:	.skip 4096
vector:	.skip 16
	.skip 4080
stack_end:
