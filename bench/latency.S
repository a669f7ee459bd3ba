/*
 * The guest of `bench/run --only latency`: how long a timer interrupt waits while the CPU does what
 * keeps it busiest.
 *
 * On COM1 it prints "ticks N", TSC ticks in 50 ms, then for each load "> NAME" and SAMPLES lines "= N",
 * the ticks from the moment that the local APIC's timer was set to until the handler ran, and "done".
 * The timer is in TSC-deadline mode, or in one-shot mode where that is all there is (QEMU TCG); then
 * the moment is computed from the count, which is one of nanoseconds on both (Intel SDM vol. 3
 * §11.5.4).
 */
#include "start.S"

#define SAMPLES 500
#define WARM_UP 30
#define VECTOR  0x40
#define NODES   (1 << 20) /* 64 bytes apart, from MANY */

#define LAPIC_EOI     0xb0
#define LAPIC_SVR     0xf0
#define LAPIC_TIMER   0x320
#define LAPIC_INITIAL 0x380
#define LAPIC_CURRENT 0x390
#define LAPIC_DIVIDE  0x3e0

#define TSC_DEADLINE (1 << 18) /* in the LVT entry */

	/* EDX:EAX to RAX */
	.macro read_tsc
	rdtsc
	shlq $32, %rdx
	orq %rdx, %rax
	.endm

	/* A write to the local APIC; its addresses are no displacements. */
	.macro lapic register, value
	movl $LAPIC + \register, %r10d
	movl $\value, (%r10)
	.endm

	.text
main:
	gate VECTOR, on_timer
	lapic LAPIC_SVR, 0x1ff
	lapic LAPIC_DIVIDE, 0xb /* by 1 */
	lapic LAPIC_TIMER, 0x10000 /* masked, one-shot */
	call measure_tsc
	movl $1, %eax
	cpuid
	btl $24, %ecx
	jnc 1f
	movl $TSC_DEADLINE, has_deadline
	lapic LAPIC_TIMER, (TSC_DEADLINE | VECTOR)
	jmp 2f
1:	lapic LAPIC_TIMER, VECTOR
2:	call make_chain
	fninit
	movsd three, %xmm0
	movsd %xmm0, ARRAY + 8

	movl $table, %r14d
next:
	movl (%r14), %eax
	testl %eax, %eax
	jz 1f
	movl $header, %esi
	call print_string
	leaq 4(%r14), %rsi
	call print_string
	movl $'\n', %eax
	call print_char
	movl $-WARM_UP, %r15d
sample:
	call wait_under_load
	movl %r15d, %eax
	testl %eax, %eax
	js 2f
	movq latency, %rcx
	movq %rcx, samples(, %rax, 8)
2:	incl %r15d
	cmpl $SAMPLES, %r15d
	jne sample
	movl $samples, %r12d
2:	movl $'=', %eax
	call print_char
	movl $' ', %eax
	call print_char
	movq (%r12), %rax
	call print_signed
	movl $'\n', %eax
	call print_char
	addq $8, %r12
	cmpq $samples + SAMPLES * 8, %r12
	jne 2b
	addq $16, %r14
	jmp next
1:	movl $done, %esi
	call print_string
	movw $0x604, %dx /* power off: for `kvik run --stats` */
	movw $0x3400, %ax
	outw %ax, %dx
1:	cli
	hlt
	jmp 1b

print_signed:
	testq %rax, %rax
	jns print_decimal
	pushq %rax
	movl $'-', %eax
	call print_char
	popq %rax
	negq %rax
	jmp print_decimal

/* Ticks of the TSC in 50 ms of the local APIC's timer. */
measure_tsc:
	read_tsc
	movq %rax, %r8
	lapic LAPIC_INITIAL, 50000000
	movl $LAPIC + LAPIC_CURRENT, %r10d
1:	pause
	cmpl $0, (%r10)
	jne 1b
	read_tsc
	subq %r8, %rax
	movq %rax, ticks
	movl $ticks_header, %esi
	pushq %rax
	call print_string
	popq %rax
	call print_decimal
	movl $'\n', %eax
	jmp print_char

/* Nodes that point to one another in one circle without a pattern: x -> x * a + c has the full
 * period. */
make_chain:
	xorl %ecx, %ecx
1:	imull $1664525, %ecx, %edx
	addl $1013904223, %edx
	andl $NODES - 1, %edx
	shll $6, %edx
	addl $MANY, %edx
	movl %ecx, %eax
	shll $6, %eax
	movq %rdx, MANY(%rax)
	incl %ecx
	cmpl $NODES, %ecx
	jne 1b
	movq $MANY, node
	ret

/* Set the timer to 50 to 250 us from now and run the load until it has rung. */
wait_under_load:
	movl $0, taken
	imull $1664525, random, %ecx
	addl $1013904223, %ecx
	movl %ecx, random
	shrl $8, %ecx
	movl %ecx, %eax
	xorl %edx, %edx
	movl $200000, %ecx
	divl %ecx
	leal 50000(%rdx), %ecx /* ns */
	movq ticks, %rax
	mulq %rcx
	movl $50000000, %r8d
	divq %r8
	movq %rax, %r8 /* ticks */
	read_tsc
	addq %r8, %rax
	movq %rax, deadline
	cmpl $0, has_deadline
	je 1f
	movl %ecx, %r9d
	movl $0x6e0, %ecx
	movq %rax, %rdx
	shrq $32, %rdx
	wrmsr
	jmp 2f
1:	movl $LAPIC + LAPIC_INITIAL, %r10d
	movl %ecx, (%r10)
2:	movl $1, %ebx
	sti
3:	movl (%r14), %eax
	call *%rax
	cmpl $0, taken
	je 3b
	cli
	ret

on_timer:
	pushq %rax
	pushq %rdx
	read_tsc
	subq deadline, %rax
	movq %rax, latency
	movl $1, taken
	pushq %r10
	lapic LAPIC_EOI, 0
	popq %r10
	popq %rdx
	popq %rax
	iretq

/* -- loads -- */

/* HLT only when the interrupt has not come yet: STI delays it until behind HLT. */
idle:
	cli
	cmpl $0, taken
	jne 1f
	sti
	hlt
1:	sti
	ret

/* A short loop over memory. */
sum:
	movl $ARRAY, %esi
	movl $131072, %ecx
1:	addq (%rsi), %rax
	addq $8, %rsi
	subl $1, %ecx
	jnz 1b
	ret

/* A long loop of slow instructions on memory that stays the same. */
slow_loop:
	movl $ARRAY, %esi
	movl $1024, %ecx
1:	.rept 26
	divsd 8(%rsi), %xmm0
	sqrtsd %xmm0, %xmm0
	.endr
	subl $1, %ecx
	jnz 1b
	ret

/* A loop half of whose loads wait for memory. */
misses:
	movl $ARRAY, %esi
	movq node, %rdi
	movl $1024, %ecx
1:	.rept 8
	movq (%rsi), %rax
	movq 8(%rsi), %rdx
	movq (%rdi), %rdi
	.endr
	subl $1, %ecx
	jnz 1b
	movq %rdi, node
	ret

/* Slow instructions without memory: no loop that lookups are hoisted from. */
divide:
	movl $8192, %ecx
1:	.rept 8
	xorl %edx, %edx
	movq %rsp, %rax
	divq %rbx
	.endr
	subl $1, %ecx
	jnz 1b
	ret

/* x87's slowest. */
x87:
	movl $4096, %ecx
1:	.rept 8
	fldpi
	fsin
	fstps number
	.endr
	subl $1, %ecx
	jnz 1b
	ret

/* 4 MiB each. */
stos:
	movl $MANY + NODES * 64, %edi
	movl $0x80000, %ecx
	rep stosq
	ret

movs:
	movl $MANY, %esi
	movl $MANY + NODES * 64, %edi
	movl $0x400000, %ecx
	rep movsb
	ret

scas:
	movl $MANY + NODES * 64, %edi
	movl $0x400000, %ecx
	movb $1, %al
	repne scasb
	ret

/* 512 KiB of code without a jump; none of it crosses pages. */
	.balign 4
straight:
	.rept 0x20000
	sqrtsd %xmm0, %xmm0
	.endr
	ret

/* Code that is always new. */
fresh:
	movl fresh_at, %edi
	movl $copied, %esi
	movl $copied_end - copied, %ecx
	rep movsb
	movl fresh_at, %eax
	movl $100, %ecx
1:	call *%rax
	decl %ecx
	jnz 1b
	addl $1024, fresh_at
	andl $~0x800000, fresh_at
	ret
copied:
	.rept 60
	addq %rax, %rbx
	movq node, %rdx
	.endr
	ret
copied_end:

/* Exits to user space. */
ports:
	outb %al, $0x80
	ret

	.data
	/* Function, name. */
	.macro load function
	.long \function
1:	.asciz "\function"
	.fill 12 - (. - 1b), 1, 0
	.endm
table:
	load idle
	load sum
	load slow_loop
	load misses
	load divide
	load x87
	load stos
	load movs
	load scas
	load straight
	load fresh
	load ports
	.long 0
header: .asciz "> "
ticks_header: .asciz "ticks "
done:	.asciz "done\n"
	.align 8
three:	.double 3
node:	.quad 0
ticks:	.quad 0
deadline: .quad 0
latency: .quad 0
random:	.long 1
taken:	.long 0
has_deadline: .long 0
number:	.long 0
fresh_at: .long 0x7000000

	.bss
	.align 8
samples: .skip SAMPLES * 8
