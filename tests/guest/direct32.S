/*
 * 32-bit user code of a 64-bit kernel, and the ways between it and 64-bit code, as Linux programs have them: flat segments,
 * Linux's selectors, thread's storage by GS. Direct execution runs it (docs/engine/direct.md).
 *
 * The kernel is entered by INT 80h to 83h and by exceptions: R15 is the vector, R14 the error code. It goes on behind
 * the instruction, or where EDI says after an exception.
 *
 * needs: code32
 * exits:
 *   hlt r15=80 rax=5 rbx=10 rcx=20
 *   hlt r15=80 rax=77 rbx=2b rcx=2b
 *   hlt r15=80 rax=1234 rbx=77
 *   hlt r15=e r14=6 cr2=118000
 *   hlt r15=0
 *   hlt r15=6
 *   hlt r15=d r14=0
 *   hlt r15=d r14=0
 *   hlt r15=4
 *   hlt r15=5
 *   hlt r15=3
 *   hlt r15=d
 *   hlt r15=80 rax=fffffffe rbx=1
 *   hlt r15=80 rax=40490fda rbx=3
 *   hlt r15=80 rax=2b rbx=63 rcx=1234
 *   hlt r15=80 rax=5678
 *   hlt r15=80 rax=0 rbx=0
 *   hlt r15=81 rax=aabbccdd11223344 rbx=33
 *   hlt r15=80 rax=11223345 rbx=23
 *   hlt r15=81 rax=2b rbx=5678
 *   hlt r15=80 rax=5678 rbx=63
 *   hlt r15=80 rax=1f4 rbx=2b
 *   end
 */
#include "guest.h"
#include "linux.h"
#define LEVEL1  (PAGES+0x3000)
#define CS3_32  0x23
#define TLS     0x63
#define OTHER   0x6b       /* another thread's */
#define USER    0x100000   /* the program: 32-bit code */
#define USER64  0x101000   /* 64-bit code */
#define LOADS   0x102000   /* code that loads and tells GS */
#define DATA3   0x110000   /* data, and the stack below DATA3_END */
#define DATA3_END 0x110f00
#define ABSENT  0x118000
#define TABLE   0x130000   /* the GDT, as its entries are beyond define_gdt's */
#define KNOWN   0x119000   /* what CPUID says in ring 0 */

	.macro handler name, vector, code=0
\name:
	.if \code
	popq %r14
	.endif
	movl $\vector, %r15d
	.endm
	/* A fault, where flags may be dead: on at EDI. */
	.macro go_to
	cmpl %edi, %edi
	hlt
	movl %edi, %ebp
	movq %rbp, (%rsp)
	iretq
	.endm
	.macro go_on
	hlt
	iretq
	.endm
	.macro faults insn:vararg
	movl $USER+(9f-user), %edi
	\insn
9:
	.endm
	.macro copy from, to, end
	movl $\from, %esi
	movl $\to, %edi
	movl $\end-\from, %ecx
	rep movsb
	.endm

	enter_long
	load_tss64
	cld
	copy gdt, TABLE, gdt_end
	/* The entries of the small GDT that are in Linux's places go further up, and the TSS stays where TR has it. */
	movabsq $0x00cffb000000ffff, %rax
	movq %rax, TABLE+CS3_32-3
	movabsq $0x00cff3000000ffff, %rax
	movq %rax, TABLE+SS3-3
	movabsq $0x00affb000000ffff, %rax
	movq %rax, TABLE+CS3-3
	movabsq $0x00cff3110100ffff, %rax  /* base 110100h */
	movq %rax, TABLE+TLS-3
	movabsq $0x00cff3110200ffff, %rax
	movq %rax, TABLE+OTHER-3
	lgdt table_pointer
	gate64 0, on_divide
	gate64 3, on_breakpoint, 0xee
	gate64 4, on_overflow, 0xee
	gate64 5, on_bounds
	gate64 6, on_undefined
	gate64 13, on_protection
	gate64 14, on_page
	gate64 0x80, on_80, 0xee
	gate64 0x81, on_81, 0xee
	gate64 0x84, on_84, 0xee
	xorl %eax, %eax
	movw %ax, %fs
	movw %ax, %gs
	linux_features 0x50000         /* OSXSAVE, FSGSBASE */
	movl $1, %eax
	xorl %ecx, %ecx
	cpuid
	movl %eax, KNOWN
	copy user, USER, user_end
	copy wide, USER64, wide_end
	copy loads, LOADS, loads_end
	movl $0x1234, DATA3+0x100
	movl $0x5678, DATA3+0x200
	movl $0, LEVEL1+(ABSENT>>12)*8
	movq %cr3, %rax
	movq %rax, %cr3
	movl $SS3, %eax
	movw %ax, %ds
	movw %ax, %es
	xorl %eax, %eax
	xorl %r8d, %r8d
	xorl %r9d, %r9d
	xorl %r10d, %r10d
	xorl %r11d, %r11d
	xorl %r12d, %r12d
	xorl %r13d, %r13d
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3_32
	pushq $USER
	iretq

	handler on_divide, 0
	go_to
	handler on_undefined, 6
	go_to
	handler on_protection, 13, 1
	go_to
	handler on_page, 14, 1
	go_to
	handler on_bounds, 5
	go_to
	handler on_overflow, 4
	go_on
	handler on_breakpoint, 3
	go_on
	handler on_80, 0x80
	go_on
	handler on_81, 0x81
	go_on
on_84:
	end

	.code32
	/* Where EAX comes to GS, and back, and what the CPU is: a page of its own. */
loads:
	movw %ax, %gs
	ret
tells:
	movw %gs, %bx
	movzwl %bx, %ebx
	ret
asks:
	movl $1, %eax
	xorl %ecx, %ecx
	cpuid
	subl KNOWN, %eax
	ret
loads_end:

user:
	movl $5, %eax
	movl $0x10, %ebx
	movl $0x20, %ecx
	int $0x80
	/* INC has one byte here, and addresses wrap. */
	movl $0x76, %eax
	.byte 0x40
	movl %ds, %ebx
	movl %es, %ecx
	movl $0xffffffff, %edx
	movl %eax, DATA3
	addl DATA3+1(%edx), %edx
	int $0x80
	/* A thread's storage. */
	movl $TLS, %eax
	call user+(LOADS-USER)
	movl %gs:0, %eax
	movl $0x77, %ebx
	movl %ebx, %gs:4
	movl DATA3+0x104, %ebx
	int $0x80
	/* Exceptions. */
	faults movl %eax, ABSENT
	xorl %ecx, %ecx
	faults divl %ecx
	faults ud2
	faults hlt
	faults movl %fs:0, %eax    /* FS is null */
	movl $0x7fffffff, %ecx
	incl %ecx
	into
	movl $0, DATA3+16
	movl $3, DATA3+20
	movl $4, %ecx
	faults bound %ecx, DATA3+16
	int3
	faults ljmpl $CODE64, $0x1000
	/* Flags, strings, BCD. */
	movl $0xffffffff, %eax
	addl %eax, %eax
	setc %bl
	movzbl %bl, %ebx
	int $0x80
	/* x87, SSE. */
	fldpi
	fstps DATA3+32
	movl DATA3+32, %eax
	movl $1, %ecx
	cvtsi2sdl %ecx, %xmm1
	addsd %xmm1, %xmm1
	movl $1, %ecx
	cvtsi2sdl %ecx, %xmm2
	addsd %xmm1, %xmm2
	cvttsd2si %xmm2, %ebx
	decl %eax
	int $0x80
	/* What is told of selectors; the storage of another. */
	call user+(LOADS-USER)+(tells-loads)
	movl %ss, %eax
	movl %gs:0, %ecx
	int $0x80
	movl $OTHER, %eax
	call user+(LOADS-USER)
	movl %gs:0, %eax
	int $0x80
	movl $TLS, %eax
	call user+(LOADS-USER)
	/* CPUID is the guest's. */
	call user+(LOADS-USER)+(asks-loads)
	xorl %ebx, %ebx
	int $0x80
	/* 64-bit code, and back, twice: by far jumps, by far returns. */
	ljmpl $CS3, $USER64
back:
	movl %cs, %ebx
	incl %eax
	int $0x80
	pushl $CS3
	pushl $USER64+(second-wide)
	lretl
again:
	call user+(LOADS-USER)+(tells-loads)
	movl %gs:0x100, %eax
	int $0x80
	/* ES and DS, which are what they were. */
	pushl %ds
	popl %es
	movl $DATA3+64, %edi
	movl $500, %eax
	stosl
	movl DATA3+64, %eax
	movl %es, %ebx
	int $0x80
	int $0x84
user_end:

	.code64
wide:
	movabsq $0xaabbccdd11223344, %rax
	movl %cs, %ebx
	int $0x81
	ljmpl *target-wide+USER64
second:
	movl %ds, %eax
	movl %gs:0x100, %ebx
	int $0x81
	pushq $CS3_32
	pushq $USER+(again-user)
	lretq
	.balign 8
target:
	.long USER+(back-user)
	.word CS3_32
wide_end:

	define_gdt
table_pointer:
	.word TLS+0x20
	.quad TABLE
