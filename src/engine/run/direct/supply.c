/*
 * Stubs for a CPU's address spaces: where they are, and who gives one back.
 *
 * A space keeps its stub when its program has ended, since another of the same page tables may follow. But there are only
 * so many (stub_source.most), which the VM's CPUs share evenly: who has its share ends the stub of the space that it has
 * not used for longest before it makes another. So it does, too, when the host is short of something. What cannot be
 * made all the same is translated, and tried again: at once a few times, since it may be that somebody kills stubs, then
 * after a pause, longer each time. No shortage is for good.
 */
#include <errno.h>
#include <sys/random.h>

#include "engine/run/direct/internal.h"
#include "engine/x86/bytes.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

/* Stubs that cannot be made, in a row, before there is a pause; which is so long, in milliseconds. */
#define ATTEMPTS_MAX	8u
#define PAUSE_FIRST_MS	10u
#define PAUSE_DOUBLINGS 10u

/* What a stub's place is drawn from: 512 GiB each, where neither the monitor nor a sanitizer of its own has anything. */
#define SLOT_SHIFT 39
#define FIRST_SLOT 0x48u
#define SLOTS	   0x60u
#define DRAWS_MAX  64u

static uint64_t present_root(const struct cpu *cpu)
{
	return cpu->cr3 & 0x000ffffffffff000ull;
}

static uint16_t present_pcid(const struct cpu *cpu)
{
	return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

/* The guest has mapped something in the 512 GiB around gva. */
static bool slot_is_used(struct cpu *cpu, uint64_t gva)
{
	uint64_t gpa = present_root(cpu) + (gva >> SLOT_SHIFT & 511) * 8;
	struct cpu_page page;

	return !memory_page(cpu, gpa, &page) || !page.hva ||
	       (bytes_load64(page.hva + (gpa & 0xfff)) & 1);
}

/* A place for a stub's pages, which a program that maps memory at an address of its own does not come upon, far from all
 * that the guest has mapped so far. False: there is none. */
static bool draw_place(struct cpu *cpu, uint64_t *place)
{
	uint64_t random;

	if (!host.draws_stub_places) {
		*place = DIRECT_PLACE;
		return !slot_is_used(cpu, *place);
	}
	for (unsigned i = 0; i < DRAWS_MAX; i++) {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return false;
		*place = (FIRST_SLOT + random % SLOTS) << SLOT_SHIFT |
			 ((random >> 32) * DIRECT_PLACE_ALIGN & ((1ull << SLOT_SHIFT) - 1));
		if (!slot_is_used(cpu, *place))
			return true;
	}
	return false;
}

/* It has no stub, and so nothing is mapped. */
static void forget_mappings(struct direct *direct, struct shadow_space *space)
{
	shadow_lose_space(&direct->shadow, space);
	space->is_lost = space->is_in_doubt = false;
	space->loss_count = space->whole_loss_count = 0;
}

void supply_end(struct direct *direct, struct shadow_space *space)
{
	process_destroy(process_of(direct, space), direct->stubs);
	forget_mappings(direct, space);
	direct->stub_count--;
}

/* End the stub that was used longest ago, but for this space's. False: there is no other. */
static bool give_back(struct direct *direct, const struct shadow_space *present)
{
	struct shadow_space *oldest = NULL;

	for (unsigned i = 0; i < SHADOW_SPACES; i++) {
		struct shadow_space *space = &direct->shadow.spaces[i];

		if (space != present && process_exists(process_of(direct, space)) &&
		    (!oldest || direct->clock - space->last_used > direct->clock - oldest->last_used))
			oldest = space;
	}
	if (!oldest)
		return false;
	supply_end(direct, oldest);
	direct->counters.given_back++;
	return true;
}

/* Whether it would have `count` stubs by right. */
static bool is_share(const struct direct *direct, unsigned count)
{
	unsigned cpus = atomic_load_explicit(&direct->book.experiences->cpus, memory_order_relaxed);

	return count <= 1 || !direct->stubs->most || count * cpus <= direct->stubs->most;
}

/* What others may be done with soon, or this CPU may have too many of. */
static bool is_shortage(int result)
{
	return result == -EAGAIN || result == -ENOMEM || result == -EMFILE || result == -ENFILE || result == -ENOSPC;
}

static void note_failure(struct direct *direct, int result)
{
	unsigned more;

	direct->counters.unmade++;
	direct->why_none = (unsigned)-result;
	if (++direct->attempts < ATTEMPTS_MAX)
		return;
	more = direct->attempts - ATTEMPTS_MAX;
	direct->rests_until = __builtin_ia32_rdtsc() +
			      ((uint64_t)direct->tsc_khz * PAUSE_FIRST_MS << (more < PAUSE_DOUBLINGS ? more : PAUSE_DOUBLINGS));
}

static bool make_process(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);
	uint64_t place;
	int result;

	if (process_exists(process)) {
		if (!slot_is_used(direct->cpu, process->place))
			return true;
		supply_end(direct, space);
		direct->counters.moved++;
	}
	if (!draw_place(direct->cpu, &place))
		return false;
	while (!is_share(direct, direct->stub_count + 1) && give_back(direct, space))
		;
	result = process_create(process, direct->stubs, direct->memory->fd, direct->copies.fd, place);
	if (is_shortage(result) && give_back(direct, space))
		result = process_create(process, direct->stubs, direct->memory->fd, direct->copies.fd, place);
	if (result < 0) {
		note_failure(direct, result);
		return false;
	}
	direct->stub_count++;
	direct->attempts = direct->why_none = 0;
	direct->cpuid_faults = process->cpuid_faults;
	forget_mappings(direct, space);
	direct->counters.processes++;
	return true;
}

struct shadow_space *supply_space(struct direct *direct)
{
	uint16_t pcid = present_pcid(direct->cpu);
	uint64_t root = present_root(direct->cpu);
	struct shadow_space *space = shadow_space_find(&direct->shadow, root);

	if (!space)
		space = shadow_space_take(&direct->shadow, root, pcid);
	/* Nobody has told it what that PCID has lost before. And Linux clears accessed bits without a
	 * flush: it relies on a TLB that forgets in time. */
	if (space->pcid != pcid ||
	    (direct->stay_began > space->checked && direct->stay_began - space->checked > direct->doubt_ticks)) {
		space->pcid = pcid;
		space->is_in_doubt = true;
	}
	space->last_used = ++direct->clock;
	/* Other CPUs have come. */
	if (!is_share(direct, direct->stub_count))
		give_back(direct, space);
	return make_process(direct, space) ? space : NULL;
}

bool supply_rests(const struct direct *direct)
{
	return direct->rests_until && __builtin_ia32_rdtsc() < direct->rests_until;
}
