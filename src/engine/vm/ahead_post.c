/* vCPUs' side of ahead.h: built without vector instructions. */
#include "engine/vm/ahead.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool was_in(const struct ahead *ahead, uint64_t block)
{
	return block <= (ahead->size - 1) >> AHEAD_BLOCK_SHIFT &&
	       atomic_load_explicit(&ahead->seen[block], memory_order_relaxed);
}

void ahead_enter(struct ahead *ahead, uint64_t block)
{
	bool from_below = block && was_in(ahead, block - 1), from_above = was_in(ahead, block + 1);
	unsigned i;

	atomic_store_explicit(&ahead->seen[block], 1, memory_order_relaxed);
	/* A gap that closes leads nowhere. */
	if (from_below == from_above)
		return;
	i = atomic_fetch_add_explicit(&ahead->next_post, 1, memory_order_relaxed);
	atomic_store(&ahead->posts[i % AHEAD_POSTS], (block + 1) | (from_above ? AHEAD_DOWN : 0));
	if (!atomic_exchange(&ahead->awake, 1))
		syscall(SYS_futex, &ahead->awake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
