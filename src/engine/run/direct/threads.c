#include "engine/run/direct/threads.h"

#include "engine/x86/bytes.h"

static struct thread *place_of(struct threads *threads, uint64_t owner, uint64_t area)
{
	uint64_t key = (owner >> 12 ^ area >> 6) * 0x9e3779b97f4a7c15ull;

	return &threads->all[key >> 32 & (THREADS - 1)];
}

struct thread *threads_find(struct threads *threads, uint64_t owner, uint64_t life, uint64_t area)
{
	struct thread *thread = place_of(threads, owner, area);

	return thread->owner == owner && thread->area == area && thread->life == life ? thread : 0;
}

struct thread *threads_add(struct threads *threads, uint64_t owner, uint64_t life, uint64_t area)
{
	struct thread *thread = place_of(threads, owner, area);

	bytes_zero(thread, sizeof(*thread));
	thread->owner = owner;
	thread->area = area;
	thread->life = life;
	return thread;
}
