/* The modes that fuzz targets start a CPU in, and where its tables are then. */
#ifndef KVIK_TESTS_FUZZ_MODES_H
#define KVIK_TESTS_FUZZ_MODES_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define IDT_GPA	  0x1000u
#define GDT_GPA	  0x1800u
#define TSS_GPA	  0x1c00u
#define PAGES_GPA 0x2000u /* what CR3 names */

/* How the CPU starts. */
enum start {
	START_REAL,
	START_PROTECTED16,
	START_PROTECTED32,
	START_PAGING32,
	START_PAE,
	START_LONG,
	START_COMPATIBILITY,
	START_VM86,
	START_USER32,
	START_USER64,
	START_RAW, /* sregs as the input has them */
	STARTS,
	START_COMPATIBILITY_USER = STARTS, /* not of those that execute.c takes from its input */
};

/* Flat segments: 64-bit code, 32-bit code, data, 16-bit code; ring 3 likewise; TSS. */
static const uint64_t fuzz_gdt[] = {
	0,
	0x00af9b000000ffff, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x000f9b000000ffff,
	0x00affb000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff,
	0x00008b0000000067 | (uint64_t)TSS_GPA << 16, 0,
};

static inline struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t dpl, bool is_32,
				  bool is_64)
{
	return (struct kvm_segment){
		.base = 0, .limit = 0xffffffff, .selector = selector, .type = type, .present = 1,
		.dpl = dpl, .db = is_32, .s = 1, .l = is_64, .g = 1,
	};
}

/* Not for START_RAW. */
static inline void enter_mode(struct kvm_sregs *sregs, enum start start)
{
	bool is_user = start == START_USER32 || start == START_USER64 || start == START_VM86 ||
		       start == START_COMPATIBILITY_USER;
	bool is_64 = start == START_LONG || start == START_USER64;
	bool is_16 = start == START_PROTECTED16;
	uint8_t dpl = is_user ? 3 : 0;
	unsigned code = is_64 ? 1 : is_16 ? 4 : 2;
	struct kvm_segment data;

	sregs->gdt = (struct kvm_dtable){.base = GDT_GPA, .limit = 0x4f};
	sregs->idt = (struct kvm_dtable){.base = IDT_GPA, .limit = 0x1ff};
	if (start == START_REAL) {
		sregs->idt = (struct kvm_dtable){.base = 0, .limit = 0x3ff};
		sregs->cs.selector = 0;
		sregs->cs.base = 0;
		return;
	}
	sregs->cr0 |= 1;
	sregs->tr = (struct kvm_segment){.base = TSS_GPA, .limit = 0x67, .selector = 0x40,
					 .type = 11, .present = 1};
	if (start == START_VM86) {
		/* SDM vol. 3 §26.3.1.2: base = selector << 4, limit FFFFH, access byte F3H. */
		data = (struct kvm_segment){.limit = 0xffff, .type = 3, .present = 1, .dpl = 3,
					    .s = 1};
		sregs->cs = sregs->ds = sregs->es = sregs->ss = sregs->fs = sregs->gs = data;
		return;
	}
	sregs->cs = segment((is_user ? code + 4 : code) << 3 | dpl, 11, dpl, !is_64 && !is_16,
			    is_64);
	data = segment((is_user ? 7 : 3) << 3 | dpl, 3, dpl, !is_16, false);
	sregs->ds = sregs->es = sregs->ss = sregs->fs = sregs->gs = data;
	sregs->cr3 = PAGES_GPA;
	switch (start) {
	case START_PAGING32:
		sregs->cr4 |= 1 << 4;
		sregs->cr0 |= 1u << 31;
		break;
	case START_PAE:
		sregs->cr4 |= 1 << 5;
		sregs->cr0 |= 1u << 31;
		break;
	case START_LONG:
	case START_COMPATIBILITY:
	case START_COMPATIBILITY_USER:
	case START_USER64:
		sregs->cr4 |= 1 << 5 | 1 << 9 | 1 << 10;
		sregs->efer |= 1 << 0 | 1 << 8 | 1 << 10 | 1 << 11;
		sregs->cr0 |= 1u << 31;
		break;
	default: break;
	}
}

#endif
