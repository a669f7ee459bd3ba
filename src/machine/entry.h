/*
 * The state in which a boot protocol hands over the boot CPU: a mode and the registers it asks for.
 * The boot loaders say it in these terms; entry_apply puts it into the vCPU.
 */
#ifndef KVIK_MACHINE_ENTRY_H
#define KVIK_MACHINE_ENTRY_H

#include "device/guest_memory.h"
#include "kvm/kvm.h"

enum entry_mode {
	ENTRY_REAL,	 /* 16 bit; segments as given */
	ENTRY_PROTECTED, /* 32 bit, flat segments, no paging */
	ENTRY_LONG,	 /* 64 bit, the first 4 GiB mapped one to one */
};

struct entry {
	enum entry_mode mode;
	uint64_t rip, rsp;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
	uint16_t cs, data_segment; /* real mode: the selectors of CS, and of DS, ES, SS, FS, GS */
	/* Where the tables that the modes need are written. 0: at the addresses below. */
	uint64_t gdt_gpa, page_table_gpa;
	/* Selectors of the flat segments; the Linux boot protocol names 0x10 and 0x18. 0: those. */
	uint16_t flat_code, flat_data;
};

/* The tables' usual places: above the BIOS data area, below the EBDA. */
#define ENTRY_GDT_GPA	       0x500
#define ENTRY_GDT_BYTES	       40
#define ENTRY_PAGE_TABLE_GPA   0x9000
#define ENTRY_PAGE_TABLE_BYTES 0x6000

/* Write the tables that `entry`'s mode needs into RAM and set registers and segments of `vcpu`,
 * which is in its power-on state otherwise. 0 or -errno. */
int entry_apply(const struct entry *entry, const struct guest_memory *memory,
		const struct kvm_vcpu *vcpu, struct error *error);

#endif
