/*
 * Single-stepping by the monitor: one KVM_EXIT_DEBUG an instruction, a REP one iteration at a time.
 * needs: step
 *
 * exits:
 *   debug rip=8001
 *   debug rip=8004 rax=5
 *   debug rip=8005
 *   debug rip=8008 rcx=2
 *   debug rip=8008 rcx=1
 *   debug rip=800a rcx=0
 *   end
 */
#include "guest.h"
	.code16
	nop
	movw $5, %ax
	cld
	movw $2, %cx
	rep stosb
	end
