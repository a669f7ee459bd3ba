/*
 * The tier's door: creation, end, what it hears of the TLB, counters.
 */
#include <errno.h>
#include <stddef.h>

#include "engine/run/direct/internal.h"
#include "engine/x86/host/host.h"
#include "util/zeroes.h"

#define EXIT_CALL 231 /* in RAX: Linux's exit_group(2) of 64-bit programs */

static void tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where)
{
	struct shadow *shadow = &direct_of(cpu)->shadow;

	switch (change) {
	case TLB_SWITCHED: book_switched(&direct_of(cpu)->book); break;
	case TLB_LOST_ALL: shadow_doubt_all(shadow, true); break;
	case TLB_LOST_NONGLOBAL: shadow_doubt_all(shadow, false); break;
	case TLB_LOST_PAGE:
		for (unsigned i = 0; i < SHADOW_SPACES; i++)
			shadow_lose_page(shadow, &shadow->spaces[i], where);
		break;
	case TLB_LOST_PCID: shadow_doubt_pcid(shadow, (uint16_t)where); break;
	case TLB_LOST_PCID_PAGE:
		for (unsigned i = 0; i < SHADOW_SPACES; i++)
			if (shadow->spaces[i].pcid == (where & 0xfff))
				shadow_lose_page(shadow, &shadow->spaces[i], where & ~(uint64_t)0xfff);
		break;
	case TLB_LOST_WRITES:
		if (where == TLB_ALL_PAGES)
			shadow_doubt_all(shadow, true);
		else
			shadow_lose_writes(shadow, where);
		break;
	}
}

/* Code that was looked through has changed: struct code_holder. */
static bool drop_code(struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	struct direct *direct =
		(struct direct *)((char *)holder - offsetof(struct direct, holder));

	scan_forget(&direct->scans, gpa, last);
	return shadow_lose_code(&direct->shadow, gpa, last);
}

/* Pages that stubs map as they are have the new bytes; but nobody may forget those that they write to. */
static bool runs_apart(const struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	const struct direct *direct =
		(const struct direct *)((const char *)holder - offsetof(struct direct, holder));

	for (uint64_t page = gpa >> 12; page <= last >> 12; page++)
		if (shadow_writes(&direct->shadow, page << 12))
			return true;
	return copies_has_any(&direct->copies, gpa, last);
}

static bool may_write(const struct cpu *cpu, uint64_t gpa)
{
	return shadow_may_write(&direct_of(cpu)->shadow, gpa);
}

static bool writes_apart(const struct cpu *cpu, uint64_t gpa)
{
	return shadow_writes(&direct_of(cpu)->shadow, gpa);
}

static void detach(struct cpu *cpu)
{
	struct direct *direct = direct_of(cpu);

	code_index_remove_holder(cpu->tiers->code, &direct->holder);
	atomic_fetch_sub(&direct->book.experiences->cpus, 1);
	for (unsigned i = 0; i < SHADOW_SPACES; i++)
		if (process_exists(&direct->processes[i]))
			process_destroy(&direct->processes[i], direct->stubs);
	copies_destroy(&direct->copies);
	compare_detach(direct);
	zeroes_unmap(direct, sizeof(*direct));
	cpu->tiers->state[TIER_DIRECT] = NULL;
}

static const char *const obstacle_names[OBSTACLES] = {
	[OBSTACLE_WIDTH] = "direct: code that was translated, being 16-bit code",
	[OBSTACLE_SEGMENTS] = "direct: code that was translated for its segments",
	[OBSTACLE_FLAGS] = "direct: code that was translated for its flags (TF, AC, IOPL)",
	[OBSTACLE_DEBUGGER] = "direct: code that was translated for breakpoints",
	[OBSTACLE_CONTROL] = "direct: code that was translated for what CR0, CR4 or XCR0 say",
	[OBSTACLE_HIDDEN] = "direct: code that was translated, since the host can execute what CPUID hides",
	[OBSTACLE_PLACE] = "direct: code that was translated, since no stub or no place for one was to be had",
};

static void visit_counters(const struct cpu *cpu, tier_visitor *visit, void *context)
{
	const struct direct *direct = direct_of(cpu);
	const struct direct_counters *counters = &direct->counters;

	if (direct->comparison)
		visit(context, "lockstep differences", compare_differences(direct));
	visit(context, "direct: entries", counters->entries);
	visit(context, "direct: stays in ring 3 that were translated, being short",
	      counters->translated_stays);
	visit(context, "direct: ns of a crossing", direct->crossing.ticks * 1000000 / direct->tsc_khz);
	visit(context, "direct: stops for system calls", counters->system_calls);
	visit(context, "direct: stops for pages that are filled", counters->fills);
	visit(context, "direct: page faults of the guest's", counters->guest_faults);
	visit(context, "direct: kicks", counters->kicks);
	visit(context, "direct: stops for CPUID", counters->cpuids);
	visit(context, "direct: stops for other exceptions", counters->exceptions);
	visit(context, "direct: instructions emulated for a page that cannot be mapped", counters->refused);
	visit(context, "direct: instructions emulated for a page that was just mapped", counters->repeated);
	visit(context, "direct: pages of code that were written", counters->turned_to_write);
	visit(context, "direct: written pages that became code", counters->turned_to_execute);
	visit(context, "direct: mappings of pages that are both", counters->restless);
	visit(context, "direct: visits of code that is not run directly", counters->sensitive);
	visit(context, "direct: pieces interpreted there", counters->pieces);
	visit(context, "direct: times that programs were translated for visiting it often", counters->holds);
	visit(context, "direct: times that programs were translated for their LOCKs", counters->locked);
	visit(context, "direct: code given to the translator", counters->stays);
	visit(context, "direct: pages of which a copy with traps runs", counters->copied);
	visit(context, "direct: stops for traps in copies", counters->trapped);
	visit(context, "direct: pages mapped", counters->pages);
	visit(context, "direct: mappings", counters->mappings);
	visit(context, "direct: large pages mapped as they are", counters->wholes);
	visit(context, "direct: pages unmapped", counters->unmapped);
	visit(context, "direct: pages that made room for others", counters->evicted);
	visit(context, "direct: spaces compared with page tables", counters->doubts);
	visit(context, "direct: pages compared with page tables", counters->compared);
	visit(context, "direct: pages that were others then", counters->gone);
	visit(context, "direct: spaces dropped", counters->dropped);
	visit(context, "direct: code pages looked through", direct->scans.scans);
	visit(context, "direct: stubs made", counters->processes);
	visit(context, "direct: stubs that ended", counters->failures);
	visit(context, "direct: stubs given back for others", counters->given_back);
	visit(context, "direct: stubs that could not be made", counters->unmade);
	visit(context, "direct: programs whose registers ended with them", counters->lost);
	for (unsigned i = 1; i < OBSTACLES; i++)
		if (counters->obstacles[i])
			visit(context, obstacle_names[i], counters->obstacles[i]);
	visit(context, "direct: stubs moved away from the guest's memory", counters->moved);
	visit(context, "direct: entries into 32-bit code", counters->narrow);
	visit(context, "direct: far transfers between 32-bit and 64-bit code", counters->widths);
	programs_visit(&direct->book.programs, direct->tsc_khz, visit, context);
	if (direct->why_none)
		visit(context, "direct: no stub can be made at present: error", direct->why_none);
}

static const struct tier tier = {
	.name = "direct execution",
	.run = direct_run,
	.tlb_changed = tlb_changed,
	.access_changed = direct_access_changed,
	.may_write = may_write,
	.writes_apart = writes_apart,
	.detach = detach,
	.visit_counters = visit_counters,
};

int direct_attach(struct cpu *cpu, const struct stub_source *stubs, const struct direct_memory *memory,
		  struct experiences *experiences, uint32_t tsc_khz, enum direct_use use)
{
	struct direct *direct;
	int result;

	if (host.xcr0 == 0)
		return -ENOTSUP;
	direct = zeroes_map(sizeof(*direct));
	if (!direct)
		return -ENOMEM;
	result = copies_create(&direct->copies);
	if (result == 0 && use == DIRECT_COMPARED)
		result = compare_attach(direct);
	if (result < 0) {
		copies_destroy(&direct->copies);
		zeroes_unmap(direct, sizeof(*direct));
		return result;
	}
	process_prepare();
	direct->cpu = cpu;
	direct->tsc_khz = tsc_khz;
	crossing_init(&direct->crossing, tsc_khz);
	direct->is_always = use != DIRECT_WHERE_IT_PAYS;
	direct->doubt_ticks = (uint64_t)tsc_khz * 1000;
	direct->stubs = stubs;
	direct->memory = memory;
	direct->book.experiences = experiences;
	atomic_fetch_add(&experiences->cpus, 1);
	direct->holder.drop = drop_code;
	direct->holder.runs_apart = runs_apart;
	code_index_add_holder(cpu->tiers->code, &direct->holder);
	cpu->tiers->state[TIER_DIRECT] = direct;
	cpu->tells_stay = true;
	cpu->untold_stays = 0;
	cpu->told_call = EXIT_CALL;
	tier_add(cpu, &tier);
	return 0;
}
