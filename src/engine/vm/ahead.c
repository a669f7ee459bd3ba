/* The thread that touches guest memory before vCPUs do (ahead.h). */
#include "engine/vm/ahead.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/thread.h"
#include "util/zeroes.h"

/* At a time: the address space is locked against changes for so long, some 25 us. */
#define PIECE_BYTES (64u << 10)
#define BLOCK_BYTES (1ull << AHEAD_BLOCK_SHIFT)

static uint64_t block_count(const struct ahead *ahead)
{
	return (ahead->size + BLOCK_BYTES - 1) >> AHEAD_BLOCK_SHIFT;
}

/* Has the host give out the block's pages; it keeps what is in those that are there. False: it does not. */
static bool populate(const struct ahead *ahead, uint64_t block)
{
	uint64_t from = block << AHEAD_BLOCK_SHIFT, end = from + BLOCK_BYTES;

	if (end > ahead->size)
		end = ahead->size;
	for (; from < end; from += PIECE_BYTES) {
		uint64_t left = end - from;

		if (madvise(ahead->base + from, left < PIECE_BYTES ? left : PIECE_BYTES, MADV_POPULATE_WRITE) < 0)
			return false;
	}
	return true;
}

/* The blocks that follow, but for those that vCPUs have been in and `done`. True: there may be more another time. */
static bool serve(const struct ahead *ahead, uint64_t post, uint8_t *done, uint64_t *bytes)
{
	uint64_t block = (post & ~AHEAD_DOWN) - 1, step = post & AHEAD_DOWN ? UINT64_MAX : 1;

	for (unsigned i = 0; i < AHEAD_BLOCKS; i++) {
		block += step;
		if (block >= block_count(ahead))
			break;
		if (done[block] || atomic_load_explicit(&ahead->seen[block], memory_order_relaxed))
			continue;
		if (atomic_load(&ahead->is_stopping) || *bytes >= AHEAD_BYTES_MAX || !populate(ahead, block))
			return false;
		done[block] = 1;
		*bytes += BLOCK_BYTES;
	}
	return true;
}

static bool serve_posts(struct ahead *ahead, uint8_t *done, uint64_t *bytes)
{
	for (unsigned i = 0; i < AHEAD_POSTS; i++) {
		uint64_t post = atomic_exchange(&ahead->posts[i], 0);

		if (post && !serve(ahead, post, done, bytes))
			return false;
	}
	return true;
}

static void *ahead_thread(void *context)
{
	struct ahead *ahead = context;
	uint8_t *done = zeroes_map(block_count(ahead));
	uint64_t bytes = 0;

	pthread_setname_np(pthread_self(), "kvik-ahead");
	/* When it ends by itself, `awake` stays set, so that nobody wakes it any more. */
	while (done && !atomic_load(&ahead->is_stopping) && serve_posts(ahead, done, &bytes)) {
		/* Whoever posts later sets it, and is seen to have. */
		if (!atomic_exchange(&ahead->awake, 0))
			syscall(SYS_futex, &ahead->awake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	}
	atomic_store(&ahead->awake, 1);
	zeroes_unmap(done, block_count(ahead));
	return NULL;
}

/* Whether the thread can run beside a vCPU. */
static bool has_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) > 1;
}

void ahead_start(struct ahead *ahead, void *base, uint64_t size)
{
	if (!size || !has_processors())
		return;
	ahead->base = base;
	ahead->size = size;
	ahead->seen = zeroes_map(block_count(ahead));
	if (!ahead->seen || thread_start(&ahead->thread, NULL, ahead_thread, ahead) < 0) {
		zeroes_unmap((void *)ahead->seen, block_count(ahead));
		ahead->size = 0;
	}
}

void ahead_stop(struct ahead *ahead)
{
	if (!ahead->size)
		return;
	atomic_store(&ahead->is_stopping, true);
	atomic_store(&ahead->awake, 1);
	syscall(SYS_futex, &ahead->awake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(ahead->thread, NULL);
	zeroes_unmap((void *)ahead->seen, block_count(ahead));
	ahead->size = 0;
}
