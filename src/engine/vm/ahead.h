/*
 * Guest memory that is had ready before a vCPU comes to it. The host gives a page out when it is touched for the
 * first time, which takes as long as a thousand instructions, and a guest that boots touches its memory from one
 * end of a piece to the other: kernels are unpacked, tables set up, pages cleared. So where vCPUs go from one block
 * into the one above or below it, a thread touches those that follow.
 *
 * Only in memory of which the VM has been told that it stays (engine_share_memory). What is touched in vain is
 * bounded by AHEAD_BLOCKS for each place where vCPUs have gone from one block to the next, and by
 * AHEAD_BYTES_MAX over the life of the VM: then the thread rests for good.
 */
#ifndef KVIK_ENGINE_VM_AHEAD_H
#define KVIK_ENGINE_VM_AHEAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AHEAD_BLOCK_SHIFT 18 /* 256 KiB */
#define AHEAD_BLOCKS      4
#define AHEAD_BYTES_MAX   (256ull << 20)
#define AHEAD_POSTS       16 /* a power of 2 */
#define AHEAD_DOWN        (1ull << 63)

struct ahead {
	uint8_t *base;
	uint64_t size;          /* 0: nothing is had ready */
	_Atomic uint8_t *seen;  /* by block: whether a vCPU was there; owned */
	/* Blocks that vCPUs have gone into from the next one, plus 1, and AHEAD_DOWN if from above; 0: none. What
	 * does not fit is lost. */
	_Atomic uint64_t posts[AHEAD_POSTS];
	_Atomic unsigned next_post;
	_Atomic uint32_t awake; /* futex: 0 while the thread sleeps */
	atomic_bool is_stopping;
	pthread_t thread;
};

/*
 * The `size` bytes at `base`, mapped for as long as `ahead`, are guest memory. Nothing happens where that is no
 * gain (one processor) or not possible (no thread, an old kernel). Once; before any vCPU runs.
 */
void ahead_start(struct ahead *ahead, void *base, uint64_t size);
/* Also where it has not been started. No vCPU runs any more. */
void ahead_stop(struct ahead *ahead);
/* What ahead_touched has found: a block that no vCPU was in before. Any thread; no vector instructions. */
void ahead_enter(struct ahead *ahead, uint64_t block);

/* A vCPU is about to touch the page at `hva`. Any thread; no vector instructions. */
static inline void ahead_touched(struct ahead *ahead, const uint8_t *hva)
{
	uint64_t offset = (uint64_t)((uintptr_t)hva - (uintptr_t)ahead->base), block;

	if (offset >= ahead->size)
		return;
	block = offset >> AHEAD_BLOCK_SHIFT;
	if (!atomic_load_explicit(&ahead->seen[block], memory_order_relaxed))
		ahead_enter(ahead, block);
}

#endif
