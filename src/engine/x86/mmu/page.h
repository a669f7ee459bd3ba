/*
 * Guest-physical pages, as platform and observer know them.
 */
#ifndef KVIK_ENGINE_X86_MMU_PAGE_H
#define KVIK_ENGINE_X86_MMU_PAGE_H

#include "engine/x86/cpu.h"
#include "engine/x86/observer.h"
#include "engine/x86/platform.h"

/* The platform's page_lookup and page_dirty, for gpa's page. */
static inline bool memory_page(struct cpu *cpu, uint64_t gpa, struct cpu_page *page)
{
	return platform_page(cpu, gpa & ~(uint64_t)0xfff, page);
}

static inline void memory_page_dirty(struct cpu *cpu, uint64_t gpa)
{
	platform_page_dirty(cpu, gpa & ~(uint64_t)0xfff);
}

/* Which granules of gpa's page hold decoded code: cpu_observer.code_word. */
static inline uint64_t memory_code_word(struct cpu *cpu, uint64_t gpa)
{
	return cpu->observer ? cpu->observer->code_word(cpu, gpa) : 0;
}

#endif
