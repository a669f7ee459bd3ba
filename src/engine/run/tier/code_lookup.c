/*
 * Lookups in the code index (code_index.h). CPUs ask on every TLB miss for a write, while the guest's
 * vector state is in the host's registers.
 */
#include "engine/run/tier/code_index.h"

struct code_run *code_run_find(const struct code_index *index, uint64_t gpa)
{
	uint64_t number = gpa >> CODE_RUN_SHIFT;
	struct code_run *run = atomic_load_explicit(&index->runs[number % CODE_RUN_HASHES],
						    memory_order_acquire);

	while (run && run->number != number)
		run = atomic_load_explicit(&run->next, memory_order_acquire);
	return run;
}

uint64_t code_word(const struct code_index *index, uint64_t gpa)
{
	const struct code_run *run = code_run_find(index, gpa);

	return run ? atomic_load(&run->words[(gpa >> 12) % CODE_RUN_PAGES]) : 0;
}

unsigned code_losses(const struct code_index *index, uint64_t gpa)
{
	const struct code_run *run = code_run_find(index, gpa);

	return run ? atomic_load_explicit(&run->losses[(gpa >> 12) % CODE_RUN_PAGES], memory_order_relaxed) : 0;
}

bool code_is_hot(const struct code_index *index, uint64_t gpa)
{
	const struct code_run *run = code_run_find(index, gpa);

	return run && atomic_load_explicit(&run->heat[(gpa >> 12) % CODE_RUN_PAGES],
					   memory_order_relaxed) >= CODE_HEAT_LIMIT;
}
