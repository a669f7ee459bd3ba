/*
 * Which registers of a vCPU gdb is told of, in the order of its numbers, and what each of them is.
 *
 * gdb's own features come first (org.gnu.gdb.i386.core, sse, segments, avx, avx512: those that the CPU
 * has), then one of ours with control and system registers. Outside 64-bit mode the instruction pointer
 * is shown as a linear address, as breakpoints are: `ip` is the offset in CS.
 */
#ifndef KVIK_MONITOR_GDB_LAYOUT_H
#define KVIK_MONITOR_GDB_LAYOUT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define GDB_REGISTERS_MAX      256
#define GDB_REGISTER_BYTES_MAX 32

enum gdb_architecture { GDB_X86_64, GDB_I386, GDB_I8086, GDB_ARCHITECTURES };

/* gdb's features, and ours. */
enum gdb_feature {
	GDB_CORE, GDB_SSE, GDB_SEGMENTS, GDB_AVX, GDB_AVX512, GDB_SYSTEM, GDB_FEATURES,
};

/* What a register's value is; most have an index besides. */
enum gdb_value {
	VALUE_GPR, VALUE_PC, VALUE_FLAGS, VALUE_SELECTOR, VALUE_ST, VALUE_X87, VALUE_XMM,
	VALUE_MXCSR, VALUE_SEGMENT_BASE, VALUE_YMM_HIGH, VALUE_OPMASK, VALUE_ZMM_HIGH,
	VALUE_ZMM16_LOW, VALUE_ZMM16_MIDDLE, VALUE_ZMM16_HIGH, VALUE_IP, VALUE_CR, VALUE_EFER,
	VALUE_KERNEL_GS_BASE, VALUE_XCR0, VALUE_APIC_BASE, VALUE_TABLE_BASE, VALUE_TABLE_LIMIT,
	VALUE_DR,
};

enum gdb_x87 { X87_FCTRL, X87_FSTAT, X87_FTAG, X87_FISEG, X87_FIOFF, X87_FOSEG, X87_FOOFF, X87_FOP };
enum gdb_segment {
	SEGMENT_CS, SEGMENT_SS, SEGMENT_DS, SEGMENT_ES, SEGMENT_FS, SEGMENT_GS, SEGMENT_TR, SEGMENT_LDT,
};
enum gdb_table { TABLE_GDT, TABLE_IDT };

struct gdb_register {
	char name[16];
	const char *type, *group; /* of the description; NULL: no group */
	uint8_t feature, value;   /* enum gdb_feature, enum gdb_value */
	uint8_t index;
	uint16_t bits;
};

/* What registers there are, in the order of gdb's numbers. */
struct gdb_layout {
	enum gdb_architecture architecture;
	unsigned count;
	struct gdb_register registers[GDB_REGISTERS_MAX];
	/* Where parts of the vector registers are in the XSAVE image (SDM vol. 1 §13.4.3); 0: nowhere. */
	uint32_t ymm_high, opmask, zmm_high, zmm16;
};

/* The architecture of that name ("i386:x86-64", "i386", "i8086"), or -1. */
int gdb_architecture_find(const char *name);
const char *gdb_architecture_name(enum gdb_architecture architecture);

/* What a CPU of this CPUID has; with NULL what all have. */
void gdb_layout_make(struct gdb_layout *layout, enum gdb_architecture architecture,
		     const struct kvm_cpuid2 *cpuid);
bool gdb_cpuid_has_long_mode(const struct kvm_cpuid2 *cpuid);

static inline unsigned gdb_register_bytes(const struct gdb_layout *layout, unsigned number)
{
	return layout->registers[number].bits / 8;
}

#endif
