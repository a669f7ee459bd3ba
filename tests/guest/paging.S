/*
 * 32-bit paging: page faults with CR2 and error codes, accessed and dirty bits, WP, 4 MiB pages, a
 * stale translation until INVLPG.
 *
 * exits:
 *   out 0xf1 4: 00000000
 *   out 0xf1 4: 00400123
 *   out 0xf1 4: 00000002
 *   out 0xf1 4: 00400abc
 *   out 0xf1 4: 00000003
 *   out 0xf1 4: 00401004
 *   hlt rax=9007 rbx=9027 rcx=9067
 *   hlt rax=55 rbx=77
 *   hlt rax=0800e7
 *   end
 */
#include "guest.h"
	enter_protected
	gate32 14, on_page_fault
	/* Directory at PAGES: 0-4 MiB one to one as a large page; 4-8 MiB by the table at +0x1000. */
	movl $PAGES, %edi
	xorl %eax, %eax
	movl $0x800, %ecx
	cld
	rep stosl
	movl $0x087, PAGES
	movl $PAGES + 0x1007, PAGES + 4
	movl %cr4, %eax
	orl $0x10, %eax
	movl %eax, %cr4
	movl $PAGES, %eax
	movl %eax, %cr3
	movl %cr0, %eax
	orl $0x80010000, %eax /* PG, WP */
	movl %eax, %cr0
	jmp 1f
1:
	/* Read and write of a page that is not present. */
	movl $1f, %ebp
	movl 0x400123, %eax
1:	movl $1f, %ebp
	movl %eax, 0x400abc
1:	/* A write to a read-only page, by the supervisor with WP. */
	movl $0xa005, PAGES + 0x1004
	movl $1f, %ebp
	movl %eax, 0x401004
1:	/* Accessed and dirty bits. */
	movl $0x9007, PAGES + 0x1000
	movl $0x400000, %esi
	invlpg (%esi)
	movl PAGES + 0x1000, %eax
	movl (%esi), %edx
	movl PAGES + 0x1000, %ebx
	movl %edx, (%esi)
	movl PAGES + 0x1000, %ecx
	hlt
	/* The page moves; INVLPG makes it so. */
	movl $0x55, 0x9010
	movl $0x77, 0xa010
	movl 0x10(%esi), %eax
	movl $0xa007, PAGES + 0x1000
	invlpg (%esi)
	movl 0x10(%esi), %ebx
	hlt
	/* A large page's dirty bit; its frame is at 512 KiB of nothing that matters. */
	movl PAGES, %eax
	andl $0xff, %eax
	orl $0x080000, %eax
	hlt
	end
on_page_fault:
	popl %eax
	outl %eax, $PORT_PRINT
	movl %cr2, %eax
	outl %eax, $PORT_PRINT
	movl %ebp, (%esp)
	iretl
	define_gdt
