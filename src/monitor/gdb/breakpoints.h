/*
 * A session's breakpoints and watchpoints, and what the vCPUs are told of them.
 *
 * A software breakpoint is an INT3 in the guest's memory; where its address leads nowhere yet, as a
 * kernel's before it has unpacked itself, or to ROM, one of the CPU's four debug registers stands in for it.
 * Hardware breakpoints and watchpoints are these registers: an area that isn't 1, 2, 4 or 8 aligned bytes
 * takes several.
 */
#ifndef KVIK_MONITOR_GDB_BREAKPOINTS_H
#define KVIK_MONITOR_GDB_BREAKPOINTS_H

#include "monitor/gdb/memory.h"

/* As gdb's Z packets number them; reads alone cannot be watched. */
enum gdb_break_kind { GDB_BREAK_SOFTWARE, GDB_BREAK_HARDWARE, GDB_WATCH_WRITE, GDB_WATCH_READ,
		      GDB_WATCH_ACCESS };

struct gdb_breakpoint {
	enum gdb_break_kind kind;
	uint64_t address;
	unsigned length; /* of what is watched */
	bool is_planted; /* at gpa */
	uint64_t gpa;
};

struct gdb_debug_register {
	unsigned breakpoint; /* which of the list it is for */
	uint64_t address;
	unsigned type, length; /* as DR7 has them: R/W, and bytes */
};

struct gdb_breakpoints {
	struct gdb_memory *memory;
	struct gdb_breakpoint *list; /* owned */
	unsigned count, room;
	struct gdb_debug_register registers[4];
	unsigned registers_used;
};

void gdb_breakpoints_free(struct gdb_breakpoints *breakpoints); /* nothing is planted any more */

/* Add one, or take it away; one that is there is there once. 0 or -errno: -ENOSPC without a register. */
int gdb_break_add(struct gdb_breakpoints *breakpoints, unsigned cpu, enum gdb_break_kind kind,
		  uint64_t address, uint64_t length);
int gdb_break_remove(struct gdb_breakpoints *breakpoints, enum gdb_break_kind kind,
		     uint64_t address, uint64_t length);

/* Before the guest goes on: plant again what it has overwritten, and what has a place now. */
void gdb_breakpoints_refresh(struct gdb_breakpoints *breakpoints, unsigned cpu);
/* The memory is as the guest knows it, until refreshed. */
void gdb_breakpoints_lift(struct gdb_breakpoints *breakpoints);

/* What KVM_SET_GUEST_DEBUG takes for them. */
void gdb_breakpoints_debug(const struct gdb_breakpoints *breakpoints,
			   struct kvm_guest_debug *debug);

/* What DR6 says was met, or NULL. While the guest runs, too. */
const struct gdb_breakpoint *gdb_break_met(const struct gdb_breakpoints *breakpoints, uint64_t dr6);

#endif
