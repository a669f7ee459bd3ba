/*
 * Code that others than CPUs have written over: code_outside.h.
 */
#include "engine/run/tier/code_outside.h"

/* With the lock held. False: there is no room. */
static bool list(struct code_outside *outside, uint64_t gpa, uint64_t last)
{
	struct code_range *previous = outside->count ? &outside->ranges[outside->count - 1] : NULL;

	/* As the pieces of one request often lie, and the same buffer again and again. */
	if (previous && gpa >= previous->gpa && gpa <= previous->last + 1) {
		if (last > previous->last)
			previous->last = last;
		return true;
	}
	if (outside->count == CODE_OUTSIDE_RANGES)
		return false;
	outside->ranges[outside->count++] = (struct code_range){ gpa, last };
	return true;
}

void code_written_outside(struct code_index *index, uint64_t gpa, uint64_t size)
{
	struct code_outside *outside = &index->outside;
	uint64_t last = gpa + size - 1;

	if (!code_is_made_of(index, gpa, size))
		return;
	if (last < gpa)
		last = UINT64_MAX;
	pthread_mutex_lock(&index->lock);
	if (size <= CODE_OUTSIDE_BYTES && list(outside, gpa, last))
		atomic_fetch_add(&outside->told, 1);
	else
		atomic_fetch_add(&outside->doubts, 1);
	pthread_mutex_unlock(&index->lock);
}

/* Another CPU that sees `obeyed` before the code is gone does not run before the section's end. */
static void obey(struct cpu *cpu)
{
	struct code_index *index = cpu->tiers->code;
	struct code_outside *outside = &index->outside;
	bool began;

	fpu_leave(cpu); /* of what is called, some takes locks */
	began = cpu_exclusive_begin(cpu);
	pthread_mutex_lock(&index->lock);
	for (unsigned i = 0; i < outside->count; i++)
		code_forget(index, outside->ranges[i].gpa, outside->ranges[i].last);
	outside->count = 0;
	atomic_store(&outside->obeyed, atomic_load(&outside->told));
	pthread_mutex_unlock(&index->lock);
	if (began)
		cpu_exclusive_end(cpu);
}

void code_see_outside(struct cpu *cpu)
{
	struct code_outside *outside = &cpu->tiers->code->outside;
	uint32_t doubts;

	if (atomic_load(&outside->told) != atomic_load(&outside->obeyed))
		obey(cpu);
	doubts = atomic_load(&outside->doubts);
	if (doubts != cpu->tiers->doubts_seen) {
		cpu->tiers->doubts_seen = doubts;
		cpu->code_epoch++;
	}
}
