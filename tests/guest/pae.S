/*
 * PAE paging: 2 MiB pages above 4 GiB of virtual nothing, NX, page faults from an instruction fetch.
 *
 * exits:
 *   hlt rax=600d rcx=0
 *   out 0xf1 4: 00000011
 *   out 0xf1 4: 00201000
 *   hlt rbx=1
 *   end
 */
#include "guest.h"
	enter_protected
	gate32 14, on_page_fault
	movl $PAGES, %edi
	xorl %eax, %eax
	movl $0xc00, %ecx
	cld
	rep stosl
	movl $PAGES + 0x1001, PAGES              /* 0-1 GiB */
	movl $0x083, PAGES + 0x1000              /* 0-2 MiB one to one */
	movl $PAGES + 0x2003, PAGES + 0x1008     /* 2-4 MiB: a table */
	movl $0x009003, PAGES + 0x2000           /* 2 MiB: the frame at 0x9000 */
	movl $0x009003, PAGES + 0x2008           /* the same, not executable */
	movl $0x80000000, PAGES + 0x200c
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $PAGES, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x800, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	jmp 1f
1:	movl $0x600d, 0x200800
	xorl %ecx, %ecx
	movl 0x9800, %eax
	hlt
	movb $0xc3, 0x9000 /* ret */
	xorl %ebx, %ebx
	movl $0x200000, %eax
	call *%eax
	incl %ebx
	movl $0x201000, %eax
	movl $1f, %ebp
	call *%eax
	incl %ebx
1:	hlt
	end
on_page_fault:
	popl %eax
	outl %eax, $PORT_PRINT
	movl %cr2, %eax
	outl %eax, $PORT_PRINT
	movl %ebp, (%esp)
	iretl
	define_gdt
