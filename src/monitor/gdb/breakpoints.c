#include "monitor/gdb/breakpoints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/x86_registers.h"

#define BREAKPOINTS_MAX 4096u
#define REGISTERS	4
#define TYPE_EXECUTE	0u
#define TYPE_WRITE	1u
#define TYPE_ACCESS	3u

void gdb_breakpoints_free(struct gdb_breakpoints *breakpoints)
{
	free(breakpoints->list);
	breakpoints->list = NULL;
	breakpoints->count = breakpoints->room = breakpoints->registers_used = 0;
}

static struct gdb_breakpoint *find(const struct gdb_breakpoints *breakpoints,
				   enum gdb_break_kind kind, uint64_t address, uint64_t length)
{
	unsigned i;

	for (i = 0; i < breakpoints->count; i++) {
		struct gdb_breakpoint *found = &breakpoints->list[i];

		if (found->kind == kind && found->address == address &&
		    (kind <= GDB_BREAK_HARDWARE || found->length == length))
			return found;
	}
	return NULL;
}

static bool take_register(struct gdb_breakpoints *breakpoints, unsigned number, uint64_t address,
			  unsigned type, unsigned length)
{
	if (breakpoints->registers_used == REGISTERS)
		return false;
	breakpoints->registers[breakpoints->registers_used++] = (struct gdb_debug_register){
		.breakpoint = number, .address = address, .type = type, .length = length};
	return true;
}

/* The largest power of two up to 8 to which `address` is aligned and that `left` holds. */
static unsigned piece(uint64_t address, uint64_t left)
{
	unsigned size = 8;

	while (address % size || size > left)
		size /= 2;
	return size;
}

/* The debug registers that the list needs; false: there are not enough. */
static bool assign_registers(struct gdb_breakpoints *breakpoints)
{
	bool all = true;
	unsigned i, size;

	breakpoints->registers_used = 0;
	for (i = 0; i < breakpoints->count; i++) {
		const struct gdb_breakpoint *one = &breakpoints->list[i];
		uint64_t address = one->address, left = one->length;

		if (one->kind <= GDB_BREAK_HARDWARE) {
			if (!one->is_planted)
				all &= take_register(breakpoints, i, address, TYPE_EXECUTE, 1);
			continue;
		}
		for (; left && all; address += size, left -= size) {
			size = piece(address, left);
			all &= take_register(breakpoints, i, address,
					     one->kind == GDB_WATCH_WRITE ? TYPE_WRITE : TYPE_ACCESS,
					     size);
		}
	}
	return all;
}

/* Where a software breakpoint is now, as some vCPU sees it, `cpu` first. */
static void plant(struct gdb_breakpoints *breakpoints, struct gdb_breakpoint *one, unsigned cpu)
{
	struct gdb_memory *memory = breakpoints->memory;
	unsigned cpus = memory->target->cpus, i;

	for (i = 0; i < cpus && !one->is_planted; i++)
		one->is_planted =
			gdb_memory_translate(memory, (cpu + i) % cpus, one->address, &one->gpa) == 0 &&
			gdb_memory_plant(memory, one->gpa) == 0;
}

/* Another may have its INT3 at the same place. */
static void unplant(struct gdb_breakpoints *breakpoints, struct gdb_breakpoint *one)
{
	unsigned i, sharers = 0;

	if (!one->is_planted)
		return;
	one->is_planted = false;
	for (i = 0; i < breakpoints->count; i++)
		sharers += breakpoints->list[i].is_planted && breakpoints->list[i].gpa == one->gpa;
	if (!sharers)
		gdb_memory_unplant(breakpoints->memory, one->gpa);
}

static void drop(struct gdb_breakpoints *breakpoints, struct gdb_breakpoint *one)
{
	unplant(breakpoints, one);
	*one = breakpoints->list[--breakpoints->count];
	assign_registers(breakpoints);
}

int gdb_break_add(struct gdb_breakpoints *breakpoints, unsigned cpu, enum gdb_break_kind kind,
		  uint64_t address, uint64_t length)
{
	struct gdb_breakpoint *list = breakpoints->list;
	unsigned room;

	if (find(breakpoints, kind, address, length))
		return 0;
	if (kind > GDB_BREAK_HARDWARE && (!length || length > 8 * REGISTERS))
		return -ENOSPC;
	if (breakpoints->count == BREAKPOINTS_MAX)
		return -ENOSPC;
	if (breakpoints->count == breakpoints->room) {
		room = breakpoints->room ? 2 * breakpoints->room : 16;
		list = realloc(list, room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		breakpoints->list = list;
		breakpoints->room = room;
	}
	list += breakpoints->count++;
	*list = (struct gdb_breakpoint){.kind = kind, .address = address,
					.length = (unsigned)length};
	if (kind == GDB_BREAK_SOFTWARE)
		plant(breakpoints, list, cpu);
	if (assign_registers(breakpoints))
		return 0;
	drop(breakpoints, list);
	return -ENOSPC;
}

int gdb_break_remove(struct gdb_breakpoints *breakpoints, enum gdb_break_kind kind,
		     uint64_t address, uint64_t length)
{
	struct gdb_breakpoint *found = find(breakpoints, kind, address, length);

	if (!found)
		return -ENOENT;
	drop(breakpoints, found);
	return 0;
}

void gdb_breakpoints_refresh(struct gdb_breakpoints *breakpoints, unsigned cpu)
{
	unsigned i;

	for (i = 0; i < breakpoints->count; i++) {
		struct gdb_breakpoint *one = &breakpoints->list[i];

		if (one->kind != GDB_BREAK_SOFTWARE)
			continue;
		/* Overwritten, or hidden by a ROM. */
		if (one->is_planted && (gdb_memory_is_overgrown(breakpoints->memory, one->gpa) ||
					!gdb_memory_is_ram(breakpoints->memory, one->gpa)))
			unplant(breakpoints, one);
		plant(breakpoints, one, cpu);
	}
	/* Those without a place may be more than there are registers: they wait. */
	assign_registers(breakpoints);
}

void gdb_breakpoints_lift(struct gdb_breakpoints *breakpoints)
{
	unsigned i;

	for (i = 0; i < breakpoints->count; i++)
		unplant(breakpoints, &breakpoints->list[i]);
}

void gdb_breakpoints_debug(const struct gdb_breakpoints *breakpoints, struct kvm_guest_debug *debug)
{
	/* DR7's length fields (SDM vol. 3 §17.2.4), by bytes. */
	static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
	uint64_t dr7 = DR7_FIXED;
	unsigned i;

	memset(debug, 0, sizeof(*debug));
	if (!breakpoints->count)
		return;
	debug->control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	if (!breakpoints->registers_used)
		return;
	debug->control |= KVM_GUESTDBG_USE_HW_BP;
	for (i = 0; i < breakpoints->registers_used; i++) {
		const struct gdb_debug_register *one = &breakpoints->registers[i];

		debug->arch.debugreg[i] = one->address;
		dr7 |= 2ull << 2 * i | (uint64_t)one->type << (16 + 4 * i) |
		       (uint64_t)lengths[one->length] << (18 + 4 * i);
	}
	debug->arch.debugreg[7] = dr7;
}

const struct gdb_breakpoint *gdb_break_met(const struct gdb_breakpoints *breakpoints, uint64_t dr6)
{
	unsigned i;

	for (i = 0; i < breakpoints->registers_used; i++)
		if (dr6 >> i & 1)
			return &breakpoints->list[breakpoints->registers[i].breakpoint];
	return NULL;
}
