#include "monitor/dirty_rate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "device/guest_memory.h"
#include "machine/inspect.h"
#include "util/clock.h"

#define SECOND_NS	1000000000ull
#define GIB_PAGES	((1ull << 30) / GUEST_MEMORY_PAGE)
#define MIB_PAGES	((1ull << 20) / GUEST_MEMORY_PAGE)
#define PAGES_MAX	65536 /* 256 MiB are read at once in a few tens of milliseconds */

struct dirty_rate_page {
	uint64_t gpa, sum;
};

/* xorshift64: what is chosen need not be secret, only spread. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Of what a page holds at the moment; the guest may write meanwhile, which is another sum, too. */
static uint64_t sum_of(const uint8_t *page)
{
	uint64_t sum = 0xcbf29ce484222325, word;
	unsigned i;

	for (i = 0; i < GUEST_MEMORY_PAGE; i += sizeof(word)) {
		memcpy(&word, page + i, sizeof(word));
		sum = (sum ^ word) * 0x100000001b3;
		sum ^= sum >> 29;
	}
	return sum;
}

static uint64_t pages_in_all(const struct guest_memory *memory)
{
	uint64_t pages = 0;
	unsigned i;

	for (i = 0; i < memory->region_count; i++)
		pages += memory->regions[i].size_bytes / GUEST_MEMORY_PAGE;
	return pages;
}

/* Page `number` among those of all regions. */
static uint64_t place_of(const struct guest_memory *memory, uint64_t number)
{
	const struct guest_region *region = memory->regions;

	for (; number >= region->size_bytes / GUEST_MEMORY_PAGE; region++)
		number -= region->size_bytes / GUEST_MEMORY_PAGE;
	return region->gpa + number * GUEST_MEMORY_PAGE;
}

static void measured(void *context)
{
	struct dirty_rate *rate = context;
	const struct guest_memory *memory = machine_memory(rate->machine);
	uint64_t ms = (monotonic_ns() - rate->begun_ns) / 1000000, changed = 0, looked_at = 0;
	const uint8_t *page;
	size_t i;

	for (i = 0; i < rate->count; i++) {
		page = guest_memory_at(memory, rate->pages[i].gpa, GUEST_MEMORY_PAGE);
		if (!page) /* it was unplugged */
			continue;
		looked_at++;
		changed += sum_of(page) != rate->pages[i].sum;
	}
	rate->mib_per_s = looked_at && ms ? changed * (pages_in_all(memory) / MIB_PAGES) * 1000 / (looked_at * ms) : 0;
	free(rate->pages);
	rate->pages = NULL;
	rate->status = DIRTY_RATE_MEASURED;
}

int dirty_rate_start(struct dirty_rate *rate, unsigned seconds, unsigned pages_per_gib, struct error *error)
{
	const struct guest_memory *memory = machine_memory(rate->machine);
	uint64_t all = pages_in_all(memory), state = 0;
	size_t i;

	if (rate->status == DIRTY_RATE_MEASURING)
		return error_set(error, EBUSY, "dirty rate is being measured already");
	rate->count = (all * pages_per_gib + GIB_PAGES - 1) / GIB_PAGES;
	if (rate->count > PAGES_MAX)
		rate->count = PAGES_MAX;
	rate->pages = calloc(rate->count, sizeof(*rate->pages));
	if (!rate->pages)
		return error_set_errno(error, ENOMEM, "dirty rate");
	while (!state)
		if (getrandom(&state, sizeof(state), 0) != sizeof(state))
			state = monotonic_ns();
	for (i = 0; i < rate->count; i++) {
		rate->pages[i].gpa = place_of(memory, next_random(&state) % all);
		rate->pages[i].sum = sum_of(guest_memory_at(memory, rate->pages[i].gpa, GUEST_MEMORY_PAGE));
	}
	rate->status = DIRTY_RATE_MEASURING;
	rate->seconds = seconds;
	rate->pages_per_gib = pages_per_gib;
	rate->start_s = time(NULL);
	rate->begun_ns = monotonic_ns();
	event_timer_set(&rate->timer, rate->begun_ns + seconds * SECOND_NS, 0);
	return 0;
}

int dirty_rate_init(struct dirty_rate *rate, struct machine *machine)
{
	rate->machine = machine;
	return event_timer_init(&rate->timer, machine_configuration(machine)->loop, measured, rate);
}

void dirty_rate_end(struct dirty_rate *rate)
{
	event_timer_destroy(&rate->timer);
	free(rate->pages);
	rate->pages = NULL;
}
