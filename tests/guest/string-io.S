/*
 * String port I/O: every size, forward and backward, REP with a count of zero.
 *
 * exits:
 *   out 0xf1 1: 11
 *   out 0xf1 1: 22
 *   out 0xf1 1: 33
 *   out 0xf1 1: 44
 *   out 0xf1 2: 2211
 *   out 0xf1 2: 4433
 *   out 0xf1 4: 44332211
 *   out 0xf1 1: 44
 *   out 0xf1 1: 33
 *   in 0x60 1
 *   in 0x60 1
 *   in 0x60 1
 *   in 0x60 1
 *   in 0x60 2
 *   in 0x60 2
 *   out 0xf1 4: a3a2a1a0
 *   out 0xf1 4: a7a6a5a4
 *   hlt rcx=0 rsi=4
 *   end
 */
#include "guest.h"
	.code16
	cld
	movw $PORT_PRINT, %dx
	movw $data, %si
	movw $4, %cx
	rep outsb
	movw $data, %si
	movw $2, %cx
	rep outsw
	movw $data, %si
	movw $1, %cx
	rep outsl
	std
	movw $data + 3, %si
	outsb
	outsb
	cld
	movw $0x60, %dx
	movw $input, %di
	movw $4, %cx
	rep insb
	movw $2, %cx
	rep insw
	xorw %cx, %cx
	rep insb
	movw $PORT_PRINT, %dx
	movl input, %eax
	outl %eax, %dx
	movl input + 4, %eax
	outl %eax, %dx
	subw $input, %di
	movzwl %di, %esi
	shrl $1, %esi
	hlt
	end
data:
	.byte 0x11, 0x22, 0x33, 0x44
input:
	.fill 16, 1, 0
