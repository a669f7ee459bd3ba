/* The first task of a GNU Mach: it writes to memory that it is given as it touches it, adds up what is there, and calls
 * the kernel with the sum in EBX. Calls are far calls through a call gate with the trap's negative number in EAX
 * (gnumach: i386/include/mach/i386/syscall_sw.h). The kernel of Debian's package for amd64 has an UD2 behind that gate: it
 * stops, and shows the registers. */

#define MACH_TASK_SELF 28
#define WORDS (1 << 20)

	.globl _start
	.text
_start:
	/* 3 * i at the i-th word; the sum is 3 * n * (n - 1) / 2, in 32 bits ffe80000h. */
	xorl %ecx, %ecx
1:	leal (%ecx, %ecx, 2), %eax
	movl %eax, words(, %ecx, 4)
	incl %ecx
	cmpl $WORDS, %ecx
	jb 1b
	xorl %ebx, %ebx
2:	decl %ecx
	addl words(, %ecx, 4), %ebx
	testl %ecx, %ecx
	jnz 2b
	movl $-MACH_TASK_SELF, %eax
	lcall $7, $0
3:	jmp 3b

	.bss
	.balign 4096
words:
	.skip WORDS * 4

	.section .note.GNU-stack, "", @progbits
