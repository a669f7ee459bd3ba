/*
 * What small guests share: ways into the CPU's modes from real mode, where each guest starts, and
 * ports that the harness knows (guest.c).
 */
#define PORT_END    0xf0 /* ends the guest */
#define PORT_PRINT  0xf1 /* any value is noted */
#define PORT_INJECT 0xf2 /* injects the vector */

#define CODE32 0x08
#define DATA   0x10
#define CODE64 0x18
#define CODE16 0x20
#define USER_CODE32 0x28
#define USER_DATA   0x30
#define USER_CODE64 0x38
#define TSS         0x40
#define TSS2        0x50

/* Where guests put their tables. */
#define IDT         0x1000 /* 4 KiB */
#define TSS_ADDRESS 0x2000
#define TSS2_ADDRESS 0x2100
#define PAGES       0x3000 /* up to 0x7000 */
#define USER_STACK  0x7800
#define STACK       0x7ff0

	.macro end
	outb %al, $PORT_END
	.endm

/* A flat GDT; in the guest's own memory, so that it can be changed. */
	.macro define_gdt
	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00009b000000ffff
	.quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
	.quad 0x0000890020000067, 0 /* TSS at 0x2000; in long mode 16 bytes */
	.quad 0x0000890021000067, 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
idt_pointer:
	.word 0xfff
	.quad IDT
	.endm

/* From real mode to 32-bit protected mode with flat segments. */
	.macro enter_protected
	.code16
	cli
	lgdtl gdt_pointer
	lidtl idt_pointer
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $1f
	.code32
1:	movw $DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw %ax, %gs
	movl $STACK, %esp
	.endm

/* From real mode to 64-bit mode; the first 2 MiB are mapped one to one with 4 KiB pages (level 1 at
 * PAGES + 0x3000), for user code too. */
	.macro enter_long
	enter_protected
	movl $PAGES, %edi
	xorl %eax, %eax
	movl $0x1000, %ecx
	rep stosl
	movl $PAGES + 0x1007, PAGES
	movl $PAGES + 0x2007, PAGES + 0x1000
	movl $PAGES + 0x3007, PAGES + 0x2000
	movl $PAGES + 0x3000, %edi
	movl $7, %eax
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	cmpl $0x200007, %eax
	jne 1b
	movl %cr4, %eax
	orl $0x620, %eax
	movl %eax, %cr4
	movl $PAGES, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax /* LME, NXE, SCE */
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	ljmpl $CODE64, $1f
	.code64
1:
	.endm

/* In 64-bit mode: a TSS whose RSP0 is below STACK. */
	.macro load_tss64
	movl $0x68, gdt + TSS
	movl $0x00008900, gdt + TSS + 4
	movw $TSS_ADDRESS, gdt + TSS + 2
	movl $STACK - 0x100, TSS_ADDRESS + 4
	movl $0, TSS_ADDRESS + 8
	movw $0x68, TSS_ADDRESS + 0x66
	movl $TSS, %eax
	ltr %ax
	.endm

/* From 64-bit mode to 64-bit code in ring 3. */
	.macro enter_user64 rip, flags=$2, stack=$USER_STACK
	pushq $USER_DATA | 3
	pushq \stack
	pushq \flags
	pushq $USER_CODE64 | 3
	pushq \rip
	iretq
	.endm

/* A checksum in RSI: sum = (sum << 5 rotated) + value. */
	.macro mix value
	rolq $5, %rsi
	addq \value, %rsi
	.endm

/* The end of a loop that EBP counts. */
	.macro again label
	decl %ebp
	jnz \label
	.endm

/* SYSCALL goes to `handler`, with IF cleared. */
	.macro enable_syscall handler
	/* STAR: SYSCALL loads CS 18h and SS 20h; SYSRET adds 16 and 8 to 2bh: CS 3bh, SS 33h. */
	movl $0xc0000081, %ecx
	xorl %eax, %eax
	movl $0x002b0018, %edx
	wrmsr
	movl $0xc0000082, %ecx
	movl $\handler, %eax
	xorl %edx, %edx
	wrmsr
	movl $0xc0000084, %ecx
	movl $0x200, %eax
	wrmsr
	.endm

/* Run in the first TSS, with another task in the second, which has no EIP yet; %edi is its address. */
	.macro two_tasks
	movl $TSS, %eax
	ltr %ax
	movl $TSS2_ADDRESS, %edi
	movl $2, 0x24(%edi)
	movl $0x7000, 0x38(%edi)
	movl $DATA, 0x48(%edi)
	movl $CODE32, 0x4c(%edi)
	movl $DATA, 0x50(%edi)
	movl $DATA, 0x54(%edi)
	movl $0, 0x58(%edi)
	movl $0, 0x5c(%edi)
	movl $0, 0x60(%edi)
	movl $0x00680000, 0x64(%edi)
	movl $0x00680000, TSS_ADDRESS + 0x64
	.endm

/* Print DR6, and clear it; %rax is lost. */
	.macro print_dr6
	movq %dr6, %rax
	outl %eax, $PORT_PRINT
	movl $0xffff0ff0, %eax
	movq %rax, %dr6
	.endm

/* An interrupt or trap gate: in protected mode, in long mode. `flags`: 0x8e interrupt, 0x8f trap,
 * 0xee and 0xef the same for user code. */
	.macro gate32 vector, handler, flags=0x8e
	movl $\handler, %eax
	movw %ax, IDT + \vector * 8
	movw $CODE32, IDT + \vector * 8 + 2
	movw $\flags << 8, IDT + \vector * 8 + 4
	shrl $16, %eax
	movw %ax, IDT + \vector * 8 + 6
	.endm

	.macro gate64 vector, handler, flags=0x8e
	movl $\handler, %eax
	movw %ax, IDT + \vector * 16
	movw $CODE64, IDT + \vector * 16 + 2
	movw $\flags << 8, IDT + \vector * 16 + 4
	shrl $16, %eax
	movw %ax, IDT + \vector * 16 + 6
	movl $0, IDT + \vector * 16 + 8
	movl $0, IDT + \vector * 16 + 12
	.endm

/* Changes EAX, ECX and EDX. */
	.macro write_msr index, value
	movl $\index, %ecx
	movl $\value, %eax
	xorl %edx, %edx
	wrmsr
	.endm

/* Leave interrupts to the local APIC: the PIT's, say, come by way of the PICs. */
	.macro mask_pics
	movb $0xff, %al
	outb %al, $0x21
	outb %al, $0xa1
	.endm

/* The local APIC as x2APIC, enabled (Intel SDM vol. 3 §11.12). */
	.macro enter_x2apic
	movl $0x1b, %ecx
	rdmsr
	orl $0xc00, %eax
	wrmsr
	write_msr 0x80f, 0x1ff
	.endm

/* Its timer, divided by 1; `entry`: the mode and the vector (§11.5.4). */
	.macro x2apic_timer entry
	write_msr 0x83e, 0xb
	write_msr 0x832, \entry
	.endm

	.macro x2apic_eoi
	write_msr 0x80b, 0
	.endm
