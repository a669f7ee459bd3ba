/*
 * The code in a stub's first page: all that runs there besides the guest's.
 *
 * Guest code can jump to any instruction of it, with registers of its choice. What it gains is decided
 * by the filter (stub_filter.c) and by this: between a stop and the return to guest code, nothing here
 * depends on a register or on memory that is not written by the monitor in that stop; and commands leave
 * neither secret behind, in memory nor in registers. Whoever came by a jump may be open to signals: one that comes
 * while commands are obeyed, whose secret it may have saved, finds their count, which is 0 only when the secret is
 * gone. The return's secret is in RDI for two instructions, and gone with it. Either signal leads to the monitor, and is
 * the stub's end.
 */
#include <stddef.h>

#include "engine/run/direct/layout.h"

_Static_assert(offsetof(struct direct_control, count) == 0, "known below");
_Static_assert(offsetof(struct direct_control, fs_base) == 8, "known below");
_Static_assert(offsetof(struct direct_control, gs_base) == 16, "known below");
_Static_assert(offsetof(struct direct_control, context) == 24, "known below");
_Static_assert(offsetof(struct direct_control, info) == 32, "known below");
_Static_assert(offsetof(struct direct_control, frame) == 40, "known below");
_Static_assert(offsetof(struct direct_control, failure) == 48, "known below");
_Static_assert(offsetof(struct direct_control, flags) == 56, "known below");
_Static_assert(offsetof(struct direct_control, pass) == 64, "known below");
_Static_assert(offsetof(struct direct_control, selectors) == 72, "known below");
_Static_assert(offsetof(struct direct_control, wanted) == 80, "known below");
_Static_assert(offsetof(struct direct_control, loads) == 88, "known below");
_Static_assert(offsetof(struct direct_control, commands) == 128, "known below");
_Static_assert(sizeof(struct direct_command) == 64, "known below");
_Static_assert(DIRECT_CONTROL == 0x1000, "known below");
_Static_assert(DIRECT_STOP_CALL == 110 && SYS_rt_sigreturn == 15, "known below");

__asm__(".pushsection .rodata\n"
	".balign 64\n"
	".globl direct_code, direct_code_handler, direct_code_stop, direct_code_map\n"
	".globl direct_code_leave, direct_code_return, direct_code_end\n"
	".globl direct_code_bases_out, direct_code_bases_seen, direct_code_bases_in, direct_code_bases_set\n"
	".hidden direct_code_bases_out, direct_code_bases_seen, direct_code_bases_in, direct_code_bases_set\n"
	".hidden direct_code, direct_code_handler, direct_code_stop, direct_code_map\n"
	".hidden direct_code_leave, direct_code_return, direct_code_end\n"
	"direct_code:\n"
	/* The first signal: the monitor sees by it what the kernel's frames look like. */
	"	ud2\n"
	"direct_code_handler:\n"
	"	leaq direct_code+0x1000(%rip), %rbx\n"
	"	movq %rdx, 24(%rbx)\n"
	"	movq %rsi, 32(%rbx)\n"
	"	movw %ds, 72(%rbx)\n"
	"	movw %es, 74(%rbx)\n"
	"	movw %fs, 76(%rbx)\n"
	"	movw %gs, 78(%rbx)\n"
	/* Where the host has no FSGSBASE, jumps lead over these (start): commands set the bases, and nothing of the
	 * guest's is let change them (sensitive.c). */
	"direct_code_bases_out:\n"
	"	rdfsbase %rax\n"
	"	movq %rax, 8(%rbx)\n"
	"	rdgsbase %rax\n"
	"	movq %rax, 16(%rbx)\n"
	"direct_code_bases_seen:\n"
	"	movl $110, %eax\n"
	"	syscall\n"
	"direct_code_stop:\n"
	"	leaq direct_code+0x1000(%rip), %rbx\n"
	/* A null selector is #GP for 32-bit code that uses it; and to load FS or GS takes its base. */
	"	cmpq $0, 88(%rbx)\n"
	"	je 5f\n"
	"	movw 80(%rbx), %ds\n"
	"	movw 82(%rbx), %es\n"
	"	movw 84(%rbx), %fs\n"
	"	movw 86(%rbx), %gs\n"
	"5:	movq (%rbx), %r12\n"
	"	testq %r12, %r12\n"
	"	jz 3f\n"
	"	leaq 128(%rbx), %r13\n"
	"1:	movq (%r13), %rax\n"
	"	movq 8(%r13), %rdi\n"
	"	movq 16(%r13), %rsi\n"
	"	movq 24(%r13), %rdx\n"
	"	movq 32(%r13), %r10\n"
	"	movq 40(%r13), %r8\n"
	"	movq 48(%r13), %r9\n"
	"	movq $0, 32(%r13)\n"
	"	movq $0, 40(%r13)\n"
	"	syscall\n"
	"direct_code_map:\n"
	"	cmpq $-4095, %rax\n"
	"	jb 2f\n"
	"	movq %rax, 48(%rbx)\n"
	"2:	addq $64, %r13\n"
	"	decq %r12\n"
	"	jnz 1b\n"
	"	xorl %r8d, %r8d\n"
	"	xorl %r10d, %r10d\n"
	"	movq $0, (%rbx)\n"
	"3:\n"
	"direct_code_bases_in:\n"
	"	movq 8(%rbx), %rax\n"
	"	wrfsbase %rax\n"
	"	movq 16(%rbx), %rax\n"
	"	wrgsbase %rax\n"
	"direct_code_bases_set:\n"
	/* rt_sigreturn(2) leaves ID as it is. What is pushed over is the frame's return address, which nobody
	 * uses. */
	"	movq 40(%rbx), %rsp\n"
	"	pushq 56(%rbx)\n"
	"	popfq\n"
	"	movl $15, %eax\n"
	/* From here on signals find the pass in a register: process_wait. */
	"direct_code_leave:\n"
	"	movq 64(%rbx), %rdi\n"
	"	movq $0, 64(%rbx)\n"
	"	syscall\n"
	"direct_code_return:\n"
	"	ud2\n"
	"direct_code_end:\n"
	".popsection\n");
