/*
 * A program under a kernel that leaves CR4.FSGSBASE 0, as older ones do: it runs directly, and RDFSBASE and its kin are
 * undefined all the same, as often as they come. RBX counts #UD, RSI what was executed.
 *
 * exits:
 *   hlt rbx=10 rsi=0 rdi=0
 *   hlt rbx=11 rsi=1 rdi=0
 *   end
 */
#define USER    0x100000   /* the program */
#define DATA3_END 0x110f00
#include "guest.h"
#include "linux.h"

	linux_counts_undefined 0x40000 /* OSXSAVE, no FSGSBASE */

	.balign 64
user:
	xorl %esi, %esi
	movl $0x110000, %ebp
	movl $4, %r12d
again:
	undefined rdfsbase %r14
	undefined wrfsbase %rbp
	undefined rdgsbase %r8
	undefined wrgsbase %ebp
	decl %r12d
	jnz again
	int $0x80
	/* What looks like them and is there: a fence. */
	mfence
	leaq 9f(%rip), %r13
	ud2
9:	incl %esi
	int $0x80
	int $0x84
user_end:
	define_gdt
