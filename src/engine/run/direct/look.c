#include "engine/run/direct/look.h"

#include "engine/run/tier/code_index.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system.h"
#include "util/page.h"

bool look_is_shared(const struct direct *direct, const uint8_t *hva)
{
	const struct direct_memory *memory = direct->memory;

	return memory->fd >= 0 && hva >= memory->base && (uint64_t)(hva - memory->base) < memory->size;
}

bool look_may_place(const struct direct_process *process, uint64_t gva)
{
	gva &= PAGE_MASK;
	return gva < DIRECT_SPACE_END && !process_is_place(process, gva, PAGE_SIZE);
}

static bool tsc_is_same(const struct cpu *cpu)
{
	return cpu->tsc_is_host && cpu->tsc_offset == 0 && cpu->tsc_adjust == 0;
}

unsigned look_allowed(const struct direct *direct)
{
	unsigned common = (cpu_is_64(direct->cpu) ? 0 : SENSITIVE_CODE32) | (direct->cpuid_faults ? ALLOW_CPUID : 0) |
			  ((direct->cpu->cr4 & CR4_FSGSBASE) && host.has_fsgsbase ? ALLOW_FSGSBASE : 0);

	/* What it tells is another each time. */
	if (direct->comparison)
		return SENSITIVE_RANDOM | common;
	return (tsc_is_same(direct->cpu) ? ALLOW_RDTSC : 0) | (host_has(HOST_OSPKE) ? 0 : ALLOW_PKRU) | common;
}

bool look_is_marked(const struct direct *direct, uint64_t gpa)
{
	return memory_code_word(direct->cpu, gpa) == UINT64_MAX;
}

bool look_is_cut(struct direct *direct, uint64_t gva, const uint8_t *bytes)
{
	struct cpu *cpu = direct->cpu;
	struct paging_result result;
	struct cpu_page page;

	if (!sensitive_may_be_cut(bytes, look_allowed(direct)))
		return false;
	gva = (gva & PAGE_MASK) + PAGE_SIZE;
	return cpu_is_canonical(gva) && paging_translate(cpu, gva, &result) && memory_page(cpu, result.gpa, &page) && page.hva &&
	       sensitive_is_cut(bytes, page.hva, look_allowed(direct));
}

enum scan_verdict look_scan(struct direct *direct, uint64_t gva, uint64_t gpa, const uint8_t *bytes)
{
	unsigned allowed = look_allowed(direct) | (look_is_cut(direct, gva, bytes) ? SENSITIVE_CUT : 0);

	return scan_page(&direct->scans, direct->cpu, gpa, bytes, allowed, look_is_marked(direct, gpa));
}

bool look_may_write(struct cpu *cpu, const struct paging_result *result, const struct cpu_page *page)
{
	return paging_rights(cpu, result, TLB_USER).writable && result->dirty && page->writable &&
	       !page->dirty_logging && !memory_code_word(cpu, result->gpa) &&
	       compare_may_write(direct_of(cpu), page->hva);
}

bool look_may_do_both(struct direct *direct, uint64_t gva, const struct paging_result *result, const struct cpu_page *page)
{
	return code_losses(direct->cpu->tiers->code, result->gpa) >= LOOK_RESTLESS && !direct->comparison &&
	       look_may_write(direct->cpu, result, page) &&
	       paging_rights(direct->cpu, result, TLB_USER).executable &&
	       look_scan(direct, gva, result->gpa, page->hva) == SCAN_CLEAN;
}

bool look_find_page(struct direct *direct, const struct direct_process *process, uint64_t gva,
		      struct paging_near *near, struct paging_result *result, struct cpu_page *page)
{
	struct cpu *cpu = direct->cpu;

	return look_may_place(process, gva) && paging_translate_near(cpu, gva, near, result) && result->accessed &&
	       result->user && result->page_size <= 4 << 20 && memory_page(cpu, result->gpa, page) &&
	       page->hva && look_is_shared(direct, page->hva);
}

bool look_at_whole(struct direct *direct, const struct paging_result *result, struct candidate *whole)
{
	struct cpu *cpu = direct->cpu;
	const struct code_run *code = code_run_find(cpu->tiers->code, result->gpa);
	uint64_t gpa = result->gpa & ~(SHADOW_WHOLE_BYTES - 1);
	const uint8_t *base = NULL;
	bool is_writable = result->dirty && paging_rights(cpu, result, TLB_USER).writable && !direct->comparison;

	if (result->page_size != SHADOW_WHOLE_BYTES || !result->accessed || !result->user)
		return false;
	for (unsigned i = 0; i < SHADOW_WHOLE_BYTES / PAGE_SIZE; i++) {
		struct cpu_page page;

		if (!memory_page(cpu, gpa + (uint64_t)i * PAGE_SIZE, &page) || !page.hva || !look_is_shared(direct, page.hva))
			return false;
		if (i == 0)
			base = page.hva;
		if (page.hva != base + (uint64_t)i * PAGE_SIZE)
			return false;
		is_writable = is_writable && page.writable && !page.dirty_logging;
		/* Its pages are mapped one by one. */
		if (code && atomic_load_explicit(&code->words[i], memory_order_relaxed))
			return false;
	}
	*whole = (struct candidate){ .gpa = gpa, .offset = (uint64_t)(base - direct->memory->base),
				     .rights = SHADOW_WHOLE | SHADOW_LARGE | (is_writable ? SHADOW_WRITE : 0),
				     .is_there = true };
	return true;
}
