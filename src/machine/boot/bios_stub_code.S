/*
 * BIOS interrupts for Linux's real-mode set-up code, which runs with CS = 0xfe00 and offsets from
 * bios_stub_start. INT 15h answers the memory questions (E820h of ACPI 6.4 §15.1, E801h, 88h);
 * INT 16h says that no key is waiting; all else fails with the carry flag, as "not supported".
 */
#define FLAGS_CARRY 0x01
#define FLAGS_ZERO  0x40
#define SMAP	    0x534d4150
#define ENTRY_BYTES 20

	.section .rodata
	.code16
	.globl bios_stub_start, bios_stub_end, bios_stub_fail, bios_stub_system
	.globl bios_stub_keyboard, bios_stub_map_count, bios_stub_map
	.globl bios_stub_extended_kib, bios_stub_above_16m

bios_stub_start:
bios_stub_fail:
	push %bp
	mov %sp, %bp
	orb $FLAGS_CARRY, 6(%bp)	/* over BP, IP and CS lie the caller's flags */
	pop %bp
	iret

bios_stub_keyboard:
	push %bp
	mov %sp, %bp
	orb $FLAGS_ZERO, 6(%bp)
	pop %bp
	iret

bios_stub_system:
	cmp $0xe820, %ax
	je system_e820
	cmp $0xe801, %ax
	je system_e801
	cmp $0x88, %ah
	jne bios_stub_fail
	mov %cs:(bios_stub_extended_kib - bios_stub_start), %ax
	jmp succeed

system_e801:	/* KiB from 1 to 16 MiB, and units of 64 KiB above */
	mov %cs:(bios_stub_extended_kib - bios_stub_start), %ax
	cmp $15360, %ax
	jbe 1f
	mov $15360, %ax
1:	mov %cs:(bios_stub_above_16m - bios_stub_start), %bx
	mov %ax, %cx
	mov %bx, %dx
	jmp succeed

system_e820:	/* EBX: which entry; ES:DI: where to */
	cmp $SMAP, %edx
	jne bios_stub_fail
	cmp %cs:(bios_stub_map_count - bios_stub_start), %bx
	jae bios_stub_fail
	push %ds
	push %si
	push %di
	push %cs
	pop %ds
	mov $ENTRY_BYTES, %ax
	push %dx
	mul %bx
	pop %dx
	add $(bios_stub_map - bios_stub_start), %ax
	mov %ax, %si
	mov $ENTRY_BYTES, %cx
	cld
	rep movsb
	pop %di
	pop %si
	pop %ds
	inc %bx
	cmp %cs:(bios_stub_map_count - bios_stub_start), %bx
	jb 1f
	xor %ebx, %ebx
1:	mov $SMAP, %eax
	mov $ENTRY_BYTES, %ecx

succeed:
	push %bp
	mov %sp, %bp
	andb $~FLAGS_CARRY, 6(%bp)
	pop %bp
	iret

	.balign 4
bios_stub_map_count:
	.word 0
bios_stub_extended_kib:
	.word 0
bios_stub_above_16m:
	.word 0
	.balign 4
bios_stub_map:
	.space 8 * ENTRY_BYTES
bios_stub_end:

	.section .note.GNU-stack, "", @progbits
