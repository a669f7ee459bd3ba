/*
 * 64-bit user code, as a Linux program has it, that writes all the time, in pages of 4 KiB and in one of 2 MiB: for who copies
 * its memory meanwhile, by what the dirty log says (copier.h).
 *
 * needs: steady
 * exits:
 *   hlt rax=6a5a2920 rbx=3f733757
 *   end
 */
#include "guest.h"
#include "linux.h"
#define LEVEL2 (PAGES+0x2000)
#define USER   0x100000
#define STACK3 0x110f00
#define SMALL  0x140000 /* 64 pages */
#define LARGE  0x200000
#define TIMES  1000000

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x80, on_80, 0xee
	linux_null_selectors
	linux_features 0x40000         /* OSXSAVE */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $LARGE|0x87, LEVEL2+(LARGE>>21)*8
	movq %cr3, %rax
	movq %rax, %cr3
	pushq $SS3
	pushq $STACK3
	pushq $0x202
	pushq $CS3
	pushq $USER
	iretq

on_80:
	hlt
	end

	.balign 64
user:
	movl $1, %eax
	movl $TIMES, %ecx
1:	imull $1103515245, %eax, %eax
	addl $12345, %eax
	movl %eax, %edx
	shrl $4, %edx
	andl $0xffc, %edx
	movl %eax, %ebx
	shrl $16, %ebx
	andl $63, %ebx
	shll $12, %ebx
	addl %ecx, SMALL(%rbx,%rdx)
	testl $0xf<<22, %eax
	jnz 2f
	movl %eax, %ebx
	shrl $13, %ebx
	andl $511, %ebx
	shll $12, %ebx
	addl %ecx, LARGE(%rbx,%rdx)
2:	decl %ecx
	jnz 1b
	/* What it comes to. */
	xorl %eax, %eax
	xorl %ebx, %ebx
	movl $SMALL, %esi
3:	movl (%rsi), %edx
	addl %edx, %eax
	addl $4, %esi
	cmpl $SMALL+64*4096, %esi
	jne 3b
	movl $LARGE, %esi
4:	movl (%rsi), %edx
	addl %edx, %ebx
	addl $4, %esi
	cmpl $LARGE+0x200000, %esi
	jne 4b
	int $0x80
user_end:

	define_gdt
