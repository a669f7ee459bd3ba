/*
 * A mutex for code that runs with the guest's vector state in the host's registers: the C library
 * promises nothing of the kind for its own. It spins for as long as a critical section takes, then
 * sleeps on a futex (Drepper, Futexes Are Tricky, mutex 2).
 */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_LOCK_H
#define KVIK_ENGINE_RUN_JIT_CACHE_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOCK_FREE, LOCK_HELD, LOCK_AWAITED };

#define LOCK_SPINS 100

struct jit_lock {
	_Atomic uint32_t state; /* LOCK_AWAITED: somebody may be asleep until it is free */
};

static inline void jit_lock_take(struct jit_lock *lock)
{
	for (unsigned i = 0; i < LOCK_SPINS; i++) {
		uint32_t state = LOCK_FREE;

		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE &&
		    atomic_compare_exchange_strong(&lock->state, &state, LOCK_HELD))
			return;
		__builtin_ia32_pause();
	}
	while (atomic_exchange(&lock->state, LOCK_AWAITED) != LOCK_FREE)
		syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, LOCK_AWAITED, NULL, NULL, 0);
}

static inline void jit_lock_release(struct jit_lock *lock)
{
	if (atomic_exchange(&lock->state, LOCK_FREE) == LOCK_AWAITED)
		syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
