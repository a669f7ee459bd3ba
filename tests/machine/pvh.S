/*
 * The way of guests in C with nothing below them into a machine that boots kernels: an entry by PVH (Xen's
 * docs/misc/pvh.pandoc), in 32-bit mode without paging, from which it goes to 64-bit mode with 4 GiB mapped one to
 * one, as they have it when kvik loads them flat.
 */
#define NOTE_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PRESENT	   3 /* and writable */
#define LARGE	   0x80
#define EFER	   0xc0000080
#define EFER_LME   0x100
#define CR4_PAE	   0x20
#define CR0_PG	   0x80000000

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, NOTE_ENTRY
	.asciz "Xen"
	.long pvh_entry

	.text
	.code32
pvh_entry:
	cli
	movl $(directory_pointers + PRESENT), top
	movl $(directories + PRESENT), %eax
	movl $directory_pointers, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 1b
	movl $(PRESENT | LARGE), %eax
	movl $directories, %edi
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $top, %eax
	movl %eax, %cr3
	movl $EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	lgdt descriptors_place
	ljmp $8, $long_mode

	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	jmp guest_start

	.data
	.balign 8
segments:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
descriptors_place:
	.short 23
	.long segments

	.bss
	.balign 4096
top:
	.skip 4096
directory_pointers:
	.skip 4096
directories:
	.skip 4 * 4096

	.section .note.GNU-stack, "", @progbits
