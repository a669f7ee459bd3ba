/*
 * Asking the platform around a CPU (struct cpu_platform). Whatever it does may use vector registers, so its
 * functions are called from here alone, with the guest's vector state saved: tools/check-vector-free looks for
 * other calls. What a platform leaves out has its answer here, too.
 *
 * On the CPU's own thread, as cpu.h has it.
 */
#ifndef KVIK_ENGINE_X86_PLATFORM_H
#define KVIK_ENGINE_X86_PLATFORM_H

#include <errno.h>

#include "engine/x86/cpu.h"

/* The platform, with the guest's vector state saved. */
static inline const struct cpu_platform *platform_of(struct cpu *cpu)
{
	fpu_leave(cpu);
	return cpu->platform;
}

/* -- memory: its lookups need no such thing -- */

static inline bool platform_page(struct cpu *cpu, uint64_t gpa, struct cpu_page *page)
{
	const struct cpu_lookups *lookups = cpu->platform->lookups;

	return lookups ? lookups->page(cpu->platform_context, gpa, page)
		       : platform_of(cpu)->page_lookup(cpu->platform_context, gpa, page);
}

static inline void platform_page_dirty(struct cpu *cpu, uint64_t gpa)
{
	const struct cpu_lookups *lookups = cpu->platform->lookups;

	if (lookups)
		lookups->page_dirty(cpu->platform_context, gpa);
	else if (cpu->platform->page_dirty)
		platform_of(cpu)->page_dirty(cpu->platform_context, gpa);
}

/* -- devices -- */

static inline bool platform_mmio(struct cpu *cpu, uint64_t gpa, void *data, unsigned size,
				 bool is_write)
{
	return cpu->platform->mmio &&
	       platform_of(cpu)->mmio(cpu->platform_context, gpa, data, size, is_write);
}

static inline bool platform_pio(struct cpu *cpu, uint16_t port, void *data, unsigned size,
				bool is_write)
{
	return cpu->platform->pio &&
	       platform_of(cpu)->pio(cpu->platform_context, port, data, size, is_write);
}

/* -- events -- */

static inline bool platform_interrupt_pending(struct cpu *cpu)
{
	return cpu->platform->interrupt_pending &&
	       platform_of(cpu)->interrupt_pending(cpu->platform_context);
}

/* Of a platform that had one pending. */
static inline int platform_interrupt_acknowledge(struct cpu *cpu)
{
	return platform_of(cpu)->interrupt_acknowledge(cpu->platform_context);
}

static inline bool platform_injection_possible(struct cpu *cpu)
{
	return !cpu->platform->injection_possible ||
	       platform_of(cpu)->injection_possible(cpu->platform_context);
}

static inline bool platform_process_events(struct cpu *cpu)
{
	return !cpu->platform->process_events ||
	       platform_of(cpu)->process_events(cpu->platform_context);
}

static inline void platform_pause(struct cpu *cpu)
{
	if (cpu->platform->pause)
		platform_of(cpu)->pause(cpu->platform_context);
}

static inline void platform_yield(struct cpu *cpu)
{
	if (cpu->platform->yield)
		platform_of(cpu)->yield(cpu->platform_context);
}

/* -- registers -- */

static inline uint8_t platform_read_cr8(struct cpu *cpu)
{
	return cpu->platform->read_cr8 ? platform_of(cpu)->read_cr8(cpu->platform_context) : 0;
}

static inline void platform_write_cr8(struct cpu *cpu, uint8_t value)
{
	if (cpu->platform->write_cr8)
		platform_of(cpu)->write_cr8(cpu->platform_context, value);
}

static inline int platform_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return cpu->platform->msr_read
		       ? platform_of(cpu)->msr_read(cpu->platform_context, index, value)
		       : -ENOENT;
}

static inline int platform_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return cpu->platform->msr_write
		       ? platform_of(cpu)->msr_write(cpu->platform_context, index, value)
		       : -ENOENT;
}

/* While cpu->has_msr_filter. */
static inline bool platform_msr_allowed(struct cpu *cpu, uint32_t index, bool is_write)
{
	return platform_of(cpu)->msr_allowed(cpu->platform_context, index, is_write);
}

static inline bool platform_msr_exits(struct cpu *cpu, uint32_t reason)
{
	return cpu->platform->msr_exits &&
	       platform_of(cpu)->msr_exits(cpu->platform_context, reason);
}

/* Whether the guest's TSC may be another than the host's with an offset. Of any platform, or none. */
static inline bool platform_has_tsc(const struct cpu *cpu)
{
	return cpu->platform && cpu->platform->read_tsc;
}

static inline uint64_t platform_read_tsc(struct cpu *cpu)
{
	return platform_of(cpu)->read_tsc(cpu->platform_context);
}

static inline bool platform_has_hypercalls(const struct cpu *cpu)
{
	return cpu->platform->hypercall;
}

static inline uint64_t platform_hypercall(struct cpu *cpu, uint64_t number,
					  const uint64_t arguments[4])
{
	return platform_of(cpu)->hypercall(cpu->platform_context, number, arguments);
}

/* What the host claims of itself, as the platform has it; NULL: it has nothing. Of any platform, or none. */
static inline const struct host_claims *platform_host_claims(struct cpu *cpu)
{
	return cpu->platform && cpu->platform->host_claims
		       ? platform_of(cpu)->host_claims(cpu->platform_context)
		       : NULL;
}

/* -- exclusive sections: of a platform, or none -- */

static inline bool platform_has_sections(const struct cpu *cpu)
{
	return cpu->platform && cpu->platform->exclusive_begin;
}

/* Whether it has those beside CPUs that are apart. */
static inline bool platform_has_sections_beside(const struct cpu *cpu)
{
	return cpu->platform && cpu->platform->exclusive_begin_beside;
}

static inline void platform_exclusive_begin(struct cpu *cpu)
{
	platform_of(cpu)->exclusive_begin(cpu->platform_context);
}

static inline void platform_exclusive_begin_beside(struct cpu *cpu)
{
	platform_of(cpu)->exclusive_begin_beside(cpu->platform_context);
}

static inline void platform_exclusive_widen(struct cpu *cpu)
{
	platform_of(cpu)->exclusive_widen(cpu->platform_context);
}

static inline void platform_exclusive_end(struct cpu *cpu)
{
	platform_of(cpu)->exclusive_end(cpu->platform_context);
}

static inline void platform_go_apart(struct cpu *cpu)
{
	if (cpu->platform && cpu->platform->go_apart)
		platform_of(cpu)->go_apart(cpu->platform_context);
}

/* Whether it has waited, perhaps. */
static inline bool platform_come_back(struct cpu *cpu)
{
	if (!cpu->platform || !cpu->platform->come_back)
		return false;
	platform_of(cpu)->come_back(cpu->platform_context);
	return true;
}

#endif
