/*
 * A vCPU's registers as gdb wants them: how each is read from the vCPU's state, and written to it.
 */
#ifndef KVIK_MONITOR_GDB_REGISTERS_H
#define KVIK_MONITOR_GDB_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "kvm/kvm.h"
#include "monitor/gdb/layout.h"

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

/* Register `number` < layout->count, in the bytes that it has, little-endian. */
void gdb_register_get(const struct gdb_layout *layout, const struct gdb_state *state,
		      unsigned number, uint8_t *bytes);
/* 0, or -EINVAL: it cannot be written, or not so. What was there before is no change. */
int gdb_register_set(const struct gdb_layout *layout, struct gdb_state *state, unsigned number,
		     const uint8_t *bytes);

#endif
