/*
 * All ways from 64-bit user code to its kernel and back, and what user code can see meanwhile, as a Linux program
 * has them: its selectors, interrupts on, all of XCR0. So direct execution runs it (docs/engine/direct.md).
 *
 * R15 says how the kernel was entered: the vector, 100h for SYSCALL. R12 is the RIP that was pushed, R11 the
 * flags, R14 the error code. The kernel goes on at R13.
 *
 * exits:
 *   hlt r15=100
 *   hlt r15=80
 *   hlt r15=3
 *   hlt r15=6
 *   hlt r15=0
 *   hlt r15=e r14=4 cr2=112000
 *   hlt r15=e r14=7 cr2=111000
 *   hlt r15=e r14=15 cr2=113000
 *   hlt r15=d r14=0
 *   hlt r15=d r14=0
 *   hlt r15=d r14=0
 *   hlt r15=100 r11=2042d7
 *   hlt r15=100 rbx=2042d7
 *   hlt r15=100 rbx=202
 *   out 0xf1 4: ffff4ff0
 *   hlt r15=1
 *   hlt r15=81
 *   out 0xf1 4: ffff0ff1
 *   hlt r15=1
 *   hlt r15=100 rbx=77 rsi=110000
 *   hlt r15=100 rbx=0
 *   hlt r15=100 rbx=0
 *   hlt r15=100 rbx=1 rdx=0
 *   hlt r15=100 rbx=4e
 *   hlt r15=100 rbx=11 rsi=22
 *   hlt r15=100 rbx=33 rsi=44
 *   hlt r15=83 rax=111025 rbx=118007 rcx=117007
 *   hlt r15=83 rax=111025 rbx=118027 rcx=117007
 *   hlt r15=83 rax=111025 rbx=118067 rcx=117007
 *   hlt r15=82
 *   hlt r15=100 rbx=1122334455667788 rsi=1f80 rdi=27f
 *   hlt r15=100 rbx=55 rsi=99
 *   end
 */
#include "guest.h"
#include "linux.h"
#define LEVEL1  (PAGES+0x3000)
#define USER    0x100000   /* the program */
#define DATA3   0x110000   /* and its stack, below DATA3_END */
#define DATA3_END 0x110f00
#define FIXED   0x111000   /* read-only */
#define ABSENT  0x112000
#define NOT_X   0x113000
#define XSAVED  0x140000   /* 32 KiB */
#define CODE3   0x120000   /* code that changes ... */
#define ALIAS   0x121000   /* ... here */
#define OWN     0x122000   /* code that changes itself */
#define HOST3   0x123000   /* what asks for the host */
#define UNTOUCHED 0x117000
#define TOUCHED 0x118000
#define KNOWN   0x119000   /* what CPUID says in ring 0 */
#define TOP     0x7ffffffff000
#define STUB    0x6aaa00000000

	.macro crosses insn:vararg
	leaq 9f(%rip), %r13
	\insn
9:
	.endm
	/* A handler; `code`: it has an error code. */
	.macro handler name, vector, code=0
\name:
	.if \code
	popq %r14
	.endif
	movl $\vector, %r15d
	movq (%rsp), %r12
	movq 16(%rsp), %r11
	.endm
	.macro go_on
	hlt
	movq %r13, (%rsp)
	iretq
	.endm

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0, on_divide
	gate64 1, on_debug
	gate64 3, on_breakpoint, 0xee
	gate64 6, on_undefined
	gate64 13, on_protection
	gate64 14, on_page
	gate64 0x80, on_80, 0xee
	gate64 0x81, on_81, 0xee
	gate64 0x82, on_82, 0xee
	gate64 0x83, on_83, 0xee
	gate64 0x84, on_84, 0xee
	enable_syscall on_syscall
	write_msr 0xc0000084, 0x47700
	movl $0xc0000081, %ecx
	xorl %eax, %eax
	movl $0x00230018, %edx
	wrmsr
	linux_null_selectors
	linux_features 0x50000         /* OSXSAVE, FSGSBASE */
	movl $0xd, %eax
	xorl %ecx, %ecx
	cpuid
	movl %ebx, %ebp            /* bytes of XSAVE's area */
	movl $1, %eax
	xorl %ecx, %ecx
	cpuid
	addl %ebx, %eax
	addl %ecx, %eax
	addl %edx, %eax
	movl %eax, KNOWN
	xorl %ecx, %ecx
	xgetbv
	movl %eax, KNOWN+4
	movl %edx, KNOWN+8

	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $changing, %esi
	movl $CODE3, %edi
	movl $changing_end-changing, %ecx
	rep movsb
	movl $telling, %esi
	movl $HOST3, %edi
	movl $telling_end-telling, %ecx
	rep movsb
	movl $0x5a5a5a5a, %eax
	movl $XSAVED, %edi
	movl $0x2000, %ecx
	rep stosl
	movl $FIXED|5, LEVEL1+(FIXED>>12)*8
	movl $0, LEVEL1+(ABSENT>>12)*8
	movl $0x80000000, LEVEL1+(NOT_X>>12)*8+4
	movl $CODE3|7, LEVEL1+(ALIAS>>12)*8
	/* The two pages at the end of user addresses. */
	movl $0x51007, PAGES+255*8
	movl $0x52007, 0x51000+511*8
	movl $0x53007, 0x52000+511*8
	movl $0x130007, 0x53000+510*8
	movl $0x131007, 0x53000+511*8
	movl $0x11, 0x130000
	movl $0x22, 0x131000
	/* Where the stub has its own: for later. */
	movl $0x55007, 0x54000+168*8
	movl $0x56007, 0x55000
	movl $0x132007, 0x56000
	movl $0x55, 0x132000
	movq %cr3, %rax
	movq %rax, %cr3
	xorl %eax, %eax
	pushq $SS3
	pushq $DATA3_END
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

	handler on_divide, 0
	go_on
	handler on_breakpoint, 3
	go_on
	handler on_undefined, 6
	go_on
	handler on_protection, 13, 1
	go_on
	handler on_page, 14, 1
	go_on
	handler on_80, 0x80
	go_on
	handler on_debug, 1
	print_dr6
	xorl %eax, %eax
	movq %rax, %dr7
	andl $~0x100, 16(%rsp)
	andl $~0x8d5, %r11d        /* which may be dead there */
	go_on
	/* Watch stores of four bytes. */
	handler on_81, 0x81
	movl $DATA3+8, %eax
	movq %rax, %dr0
	movl $0xd0002, %eax
	movq %rax, %dr7
	go_on
	handler on_82, 0x82
	movl $0x54007, PAGES+213*8
	go_on
	handler on_83, 0x83
	movq LEVEL1+(FIXED>>12)*8, %rax
	movq LEVEL1+(TOUCHED>>12)*8, %rbx
	movq LEVEL1+(UNTOUCHED>>12)*8, %rcx
	go_on
on_84:
	end
on_syscall:
	movl $0x100, %r15d
	movq %rcx, %r12
	movq %rsp, %r14
	hlt
	movq %r13, %rcx
	sysretq

	/* The code that is changed: what this returns is 1. */
changing:
	xorl %eax, %eax
	xorl %ebx, %ebx
	xorl %edx, %edx
	movl $1, %eax
	xorl %ecx, %ecx
	.byte 0x0f, 0x1f, 0x00     /* NOP, to become CPUID and another NOP */
	ret
changing_end:

	/* Instructions that tell of the CPU, in a page of their own: EBX is 0 when they tell of the guest's. */
telling:
	movl $1, %eax
	xorl %ecx, %ecx
	cpuid
	addl %ebx, %eax
	addl %ecx, %eax
	addl %edx, %eax
	xorl %ebx, %ebx
	subl KNOWN, %eax
	orl %eax, %ebx
	xorl %ecx, %ecx
	xgetbv
	subl KNOWN+4, %eax
	orl %eax, %ebx
	subl KNOWN+8, %edx
	orl %edx, %ebx
	ret
saving:
	movl $-1, %eax
	movl $-1, %edx
	xsave XSAVED
	/* What is in use is the processor's to say (SDM vol. 1 13.6). */
	movb $0, XSAVED+512
	ret
telling_end:

	.balign 64
user:
	crosses syscall
	crosses int $0x80
	crosses int3
	crosses ud2
	xorl %ecx, %ecx
	crosses divl %ecx
	crosses movl ABSENT, %eax
	movl FIXED, %eax
	crosses movl %eax, FIXED
	movl $NOT_X, %eax
	crosses jmp *%rax
	crosses hlt
	crosses cli
	movabsq $0x800000000000, %rax
	crosses movl (%rax), %ecx
	pushfq                     /* so that what the fault pushed was not dead */
	popq %rcx

	/* Flags: CF, PF, AF, ZF, SF, NT, ID. Then nothing of it. */
	pushq $0x2040d7
	popfq
	crosses syscall
	pushfq
	popq %rbx
	crosses syscall
	pushq $2
	popfq
	pushfq
	popq %rbx
	crosses syscall

	/* A single step, a watched store. */
	xorl %eax, %eax
	leaq 1f(%rip), %r13
	pushfq
	orl $0x100, (%rsp)
	popfq
	nop
1:	crosses int $0x81
	movl $0x77, %ecx
	leaq 1f(%rip), %r13
	movl %ecx, DATA3+8
	movl DATA3+8, %ebx
	nop
	nop
1:	movl DATA3+8, %ebx

	/* Segments' bases. */
	movl $DATA3, %eax
	wrfsbase %rax
	movl $DATA3+4, %eax
	wrgsbase %rax
	movl %fs:8, %ebx
	addl %gs:4, %ebx
	shrl $1, %ebx
	rdfsbase %rsi
	crosses syscall

	/* XSAVE of everything writes what the kernel says it does, and no more. */
	call user+(HOST3-USER)+(saving-telling)
	xorl %ebx, %ebx
	movl %ebp, %ecx
1:	cmpb $0x5a, XSAVED(%rcx)
	je 2f
	incl %ebx
2:	incl %ecx
	cmpl $0x8000, %ecx
	jne 1b
	crosses syscall

	/* CPUID and XGETBV are the guest's. */
	call user+(HOST3-USER)
	crosses syscall

	/* Code that is changed elsewhere, into a CPUID. */
	call user+(CODE3-USER)
	movl %eax, %esi
	movw $0xa20f, ALIAS+(changing_end-changing)-4
	movb $0x90, ALIAS+(changing_end-changing)-2
	call user+(CODE3-USER)
	addl %ebx, %eax
	addl %ecx, %eax
	addl %edx, %eax
	subl KNOWN, %eax
	movl %eax, %edx
	movl %esi, %ebx
	crosses syscall

	/* Code that changes where it is, until it is left both writable and executable: MOV $n, %eax; RET. */
	xorl %ebx, %ebx
	movl $12, %ecx
1:	movb $0xb8, OWN
	movl %ecx, OWN+1
	movb $0xc3, OWN+5
	call user+(OWN-USER)
	addl %eax, %ebx
	decl %ecx
	jnz 1b
	crosses syscall

	/* The last two pages, read and written; and one below where Linux maps anything. */
	movabsq $TOP-0x1000, %rax
	movl (%rax), %ebx
	movl 0x1000(%rax), %esi
	crosses syscall
	movabsq $TOP-0x1000, %rax
	movl $0x33, 0x10(%rax)
	movl $0x44, 0x1010(%rax)
	movl 0x10(%rax), %ebx
	movl %ebx, 0x7000
	movl 0x7000, %ebx
	movl 0x1010(%rax), %esi
	crosses syscall

	/* Accessed and dirty bits: those of what was touched. */
	crosses int $0x83
	movl TOUCHED, %eax
	crosses int $0x83
	movl %eax, TOUCHED
	crosses int $0x83

	/* What the kernel leaves alone of vectors and x87. */
	movabsq $0x1122334455667788, %rbx
	movq %rbx, %xmm9
	vinsertf128 $1, %xmm9, %ymm9, %ymm9
	movl $0x1f80, DATA3
	ldmxcsr DATA3
	movw $0x27f, DATA3+4
	fldcw DATA3+4
	crosses int $0x82
	xorl %edi, %edi
	xorl %ebx, %ebx
	vextractf128 $1, %ymm9, %xmm1
	movq %xmm1, %rbx
	stmxcsr DATA3
	movl DATA3, %esi
	fnstcw DATA3+4
	movzwl DATA3+4, %edi
	crosses syscall

	/* The place of the stub. */
	movabsq $STUB, %rax
	movl (%rax), %ebx
	movl $0x99, (%rax)
	movl (%rax), %esi
	crosses syscall
	crosses int $0x84
user_end:
	define_gdt
