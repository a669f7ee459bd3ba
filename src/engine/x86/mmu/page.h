/*
 * Guest-physical pages, as platform and observer know them.
 */
#ifndef KVIK_ENGINE_X86_MMU_PAGE_H
#define KVIK_ENGINE_X86_MMU_PAGE_H

#include "engine/x86/cpu.h"
#include "engine/x86/observer.h"

/* The platform's page_lookup and page_dirty, for gpa's page. */
static inline bool memory_page(struct cpu *cpu, uint64_t gpa, struct cpu_page *page)
{
	const struct cpu_platform *platform = cpu->platform;

	gpa &= ~(uint64_t)0xfff;
	if (platform->lookups)
		return platform->lookups->page(cpu->platform_context, gpa, page);
	fpu_leave(cpu);
	return platform->page_lookup(cpu->platform_context, gpa, page);
}

static inline void memory_page_dirty(struct cpu *cpu, uint64_t gpa)
{
	const struct cpu_platform *platform = cpu->platform;

	gpa &= ~(uint64_t)0xfff;
	if (platform->lookups) {
		platform->lookups->page_dirty(cpu->platform_context, gpa);
	} else if (platform->page_dirty) {
		fpu_leave(cpu);
		platform->page_dirty(cpu->platform_context, gpa);
	}
}

/* Which granules of gpa's page hold decoded code: cpu_observer.code_word. */
static inline uint64_t memory_code_word(struct cpu *cpu, uint64_t gpa)
{
	return cpu->observer ? cpu->observer->code_word(cpu, gpa) : 0;
}

#endif
