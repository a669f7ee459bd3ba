/*
 * A vCPU's registers as gdb wants them: which there are, how they are called and described (target
 * descriptions, gdb's manual, appendix G), and how each is read from and written to the vCPU's state.
 *
 * gdb's own features come first (org.gnu.gdb.i386.core, sse, segments, avx, avx512: those that the CPU
 * has), then one of ours with control and system registers. Outside 64-bit mode the instruction pointer
 * is shown as a linear address, as breakpoints are: `ip` is the offset in CS.
 */
#ifndef KVIK_MONITOR_GDB_REGISTERS_H
#define KVIK_MONITOR_GDB_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/kvm.h"

#define GDB_REGISTERS_MAX      256
#define GDB_REGISTER_BYTES_MAX 32

enum gdb_architecture { GDB_X86_64, GDB_I386, GDB_I8086, GDB_ARCHITECTURES };

struct gdb_register {
	char name[16];
	const char *type, *group; /* of the description; NULL: no group */
	uint8_t feature, value;   /* registers.c */
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

/* The description in XML, cut off after `size` bytes; how many there are of it. */
size_t gdb_layout_describe(const struct gdb_layout *layout, char *text, size_t size);

/* A vCPU's state, loaded to be looked at and perhaps stored again. */
struct gdb_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_xsave xsave;
	uint64_t kernel_gs_base, xcr0;
	bool regs_changed, sregs_changed, debugregs_changed, xsave_changed, msr_changed;
};

int gdb_state_load(struct gdb_state *state, const struct kvm_vcpu *vcpu); /* 0 or -errno */
int gdb_state_store(const struct gdb_state *state, const struct kvm_vcpu *vcpu);

static inline unsigned gdb_register_bytes(const struct gdb_layout *layout, unsigned number)
{
	return layout->registers[number].bits / 8;
}

/* Register `number` < layout->count, in the bytes that it has, little-endian. */
void gdb_register_get(const struct gdb_layout *layout, const struct gdb_state *state,
		      unsigned number, uint8_t *bytes);
/* 0, or -EINVAL: it cannot be written, or not so. What was there before is no change. */
int gdb_register_set(const struct gdb_layout *layout, struct gdb_state *state, unsigned number,
		     const uint8_t *bytes);


#endif
