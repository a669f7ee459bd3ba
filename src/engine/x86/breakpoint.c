/* Breakpoints, as the debug registers hold them: see breakpoint.h. */
#include "engine/x86/breakpoint.h"

#include "engine/x86/system.h"

enum breakpoint_kind { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static bool user_owns_breakpoints(const struct cpu *cpu)
{
	return cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP;
}

uint64_t breakpoint_dr7(const struct cpu *cpu)
{
	return user_owns_breakpoints(cpu) ? cpu->guest_debug_dr[7] : cpu->dr7;
}

static uint64_t active_address(const struct cpu *cpu, unsigned n)
{
	return user_owns_breakpoints(cpu) ? cpu->guest_debug_dr[n] : cpu->dr[n];
}

static bool is_enabled(uint64_t dr7, unsigned n)
{
	return dr7 >> 2 * n & 3;
}

static enum breakpoint_kind breakpoint_type(uint64_t dr7, unsigned n)
{
	return dr7 >> (16 + 4 * n) & 3;
}

static unsigned breakpoint_size(uint64_t dr7, unsigned n)
{
	static const uint8_t sizes[] = {1, 2, 8, 4};

	return sizes[dr7 >> (18 + 4 * n) & 3];
}

/* The DR6 bits of the breakpoints of the given types that [address, address + size) touches. */
static uint64_t hits_of(const struct cpu *cpu, uint64_t address, unsigned size, unsigned types)
{
	uint64_t dr7 = breakpoint_dr7(cpu);
	uint64_t hits = 0;

	for (unsigned n = 0; n < 4; n++) {
		uint64_t length = breakpoint_size(dr7, n);
		uint64_t start = active_address(cpu, n) & ~(length - 1);

		if (is_enabled(dr7, n) && (types >> breakpoint_type(dr7, n) & 1) &&
		    address < start + length && start < address + size)
			hits |= 1u << n;
	}
	return hits;
}

bool breakpoint_arm(struct cpu *cpu)
{
	uint64_t dr7 = breakpoint_dr7(cpu);
	bool is_new = cpu->armed_dr7 != dr7;

	cpu->armed_dr7 = dr7;
	cpu->code_breakpoints = cpu->data_breakpoints = cpu->port_breakpoints = 0;
	for (unsigned n = 0; n < 4; n++) {
		is_new |= cpu->armed_address[n] != active_address(cpu, n);
		cpu->armed_address[n] = active_address(cpu, n);
		if (!is_enabled(dr7, n))
			continue;
		switch (breakpoint_type(dr7, n)) {
		case BREAK_EXECUTE: cpu->code_breakpoints |= 1u << n; break;
		case BREAK_IO: cpu->port_breakpoints |= 1u << n; break;
		default: cpu->data_breakpoints |= 1u << n; break;
		}
	}
	return is_new;
}

uint64_t breakpoint_code_hits(const struct cpu *cpu, uint64_t gva, unsigned size)
{
	return hits_of(cpu, gva, size, 1 << BREAK_EXECUTE);
}

bool breakpoint_watches_page(const struct cpu *cpu, uint64_t gva)
{
	return hits_of(cpu, gva & ~0xfffull, 4096, 1 << BREAK_WRITE | 1 << BREAK_ACCESS);
}

void breakpoint_check_access(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write)
{
	uint64_t hits = hits_of(
		cpu, gva, size, is_write ? 1 << BREAK_WRITE | 1 << BREAK_ACCESS : 1 << BREAK_ACCESS);

	if (!hits)
		return;
	cpu->debug_pending |= hits;
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

void breakpoint_check_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	if ((cpu->cr4 & CR4_DE) && (breakpoint_dr7(cpu) & 0xff))
		cpu->debug_pending |= hits_of(cpu, port, size, 1 << BREAK_IO);
}
