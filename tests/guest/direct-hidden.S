/*
 * A program on a CPU whose CPUID hides what the host has: what it hides is undefined, wherever it is executed. RBX counts
 * #UD, RSI what was executed all the same.
 *
 * needs: less
 * exits:
 *   hlt rbx=14 rsi=0 rdi=0
 *   end
 */
#define USER    0x100000   /* the program */
#define DATA3_END 0x110f00
#include "guest.h"
#include "linux.h"

	linux_counts_undefined 0x50000 /* OSXSAVE, FSGSBASE */

	.balign 64
user:
	xorl %esi, %esi
	movl $4, %r12d             /* so that it is translated */
again:
	undefined pdepl %r12d, %r12d, %r14d
	undefined mulxl %r12d, %r15d, %r14d
	undefined aesenc %xmm0, %xmm1
	undefined sha1msg1 %xmm0, %xmm1
	undefined rdrand %r14d
	decl %r12d
	jnz again
	int $0x80
	int $0x84
user_end:
	define_gdt
