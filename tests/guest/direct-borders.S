/*
 * Instructions over the border of two pages that show the processor, RDTSCP and RDPID: cut off behind a prefix, behind 0F
 * and behind the opcode. What they tell is the guest's (IA32_TSC_AUX), also where the first page has been executed with
 * another second half before. RBX counts the answers, RAX those that are not the guest's.
 *
 * exits:
 *   hlt rax=0 rbx=5
 *   end
 */
#include "guest.h"
#include "linux.h"
#define USER	0x100000
#define STACK3	0x110f00
#define FIRST	0x120000   /* pairs of pages */
#define LEVEL1	(PAGES+0x3000)
#define ALIAS	0x140000   /* the second page of the last pair here as well */
#define AUX	0x12ab

	/* `before` at the end of a page, `behind` at the next one's begin: both sides lists of bytes. */
	.macro border pair, before, behind:vararg
	movl $FIRST+\pair*0x2000, %edi
	movl $0x90909090, %eax
	movl $0x800, %ecx
	rep stosl
	movl $9f, %esi
	movl $FIRST+\pair*0x2000+0x1000-\before, %edi
	movl $8f-9f, %ecx
	rep movsb
	jmp 8f
9:	.byte \behind
	ret
8:
	.endm
	.macro ask pair
	xorl %eax, %eax
	xorl %edx, %edx
	movl $FIRST+\pair*0x2000+0xfc0, %ebp
	call *%rbp
	incl %ebx
	.endm
	.macro expect register
	cmpl $AUX, \register
	je 9f
	incl %r12d
9:
	.endm

	enter_long
	load_tss64
	cld
	linux_gdt
	gate64 0x80, on_80, 0xee
	gate64 0x84, on_84, 0xee
	write_msr 0xc0000103, AUX
	linux_null_selectors
	linux_features 0x50000     /* OSXSAVE, FSGSBASE */
	border 0, 1, 0x0f, 0x01, 0xf9        /* RDTSCP */
	border 1, 2, 0x0f, 0x01, 0xf9
	border 2, 1, 0xf3, 0x0f, 0xc7, 0xf9  /* RDPID %rcx */
	border 3, 3, 0xf3, 0x0f, 0xc7, 0xf9
	border 4, 1, 0x0f, 0x1f, 0xc0        /* a NOP, to be RDTSCP */
	movl $user, %esi
	movl $USER, %edi
	movl $user_end-user, %ecx
	rep movsb
	movl $FIRST+0x9007, LEVEL1+(ALIAS>>12)*8
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
	iretq
on_84:
	end

	.balign 64
user:
	xorl %ebx, %ebx
	xorl %r12d, %r12d
	ask 0
	expect %ecx
	ask 1
	expect %ecx
	ask 2
	expect %ecx
	ask 3
	expect %ecx
	ask 4
	decl %ebx
	movw $0xf901, ALIAS
	ask 4
	expect %ecx
	movl %r12d, %eax
	xorl %edx, %edx
	xorl %ecx, %ecx
	int $0x80
	int $0x84
user_end:
	define_gdt
