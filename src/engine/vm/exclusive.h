/*
 * Exclusive sections: one thread runs alone while every vCPU of the VM stands between instructions.
 *
 * Used for what cannot be done next to running vCPUs: changes of memory slots and of the other
 * tables that vCPUs read without a lock, atomic accesses that the host cannot do atomically, and
 * the bookkeeping of decoded code. A vCPU that is outside the guest (in HLT, in user space, in
 * another request) does not take part: it is kept from entering while a section lasts.
 *
 * A vCPU whose guest code is executed by something that looks at none of the VM's tables (a stub of direct execution,
 * which has but host mappings of guest memory) is *apart*: to stop it takes a kick, tens of microseconds, and its code has
 * to be let go again. A section can be *beside* it. Then the vCPU's guest code goes on, and its thread waits when it
 * comes back, as if it entered: all that belongs to the vCPU stands still all the same. Which sections may be beside:
 *
 * - Code goes that was made of memory, since a CPU wrote there (x86/mmu/memory.c and paging.c, direct/fill.c), or since
 *   its place is needed (jit/cache, interp/store.c). Who is apart executes no such code: it executes the
 *   bytes themselves, on a processor that keeps its caches coherent with other CPUs' stores, as the guest would have it. The
 *   exceptions are copies of pages (direct/copies.h): who may run one of these bytes is stopped, as below.
 * - A page gets its first code (tier/code_index.c): stores to it have to be seen from the section's end on. Where a vCPU
 *   that is apart may store there the section is *widened* in its course: all stop, and when one goes on its mapping has
 *   gone first.
 *
 * All others stop everyone: accesses that have to be atomic beside any other (an access over two cache lines: what is
 * apart stores to memory, too), writes by devices, which are many pages at once, and whatever changes which memory there is, or which of it is logged or may be
 * written: memory slots, dirty logs (vm.c), and the tables of devices and filters that are changed seldom.
 */
#ifndef KVIK_ENGINE_VM_EXCLUSIVE_H
#define KVIK_ENGINE_VM_EXCLUSIVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A vCPU's part. */
struct exclusive_member {
	/* Have the vCPU stop soon, between two instructions, and call exclusive_leave. Any thread. */
	void (*pause)(struct exclusive_member *member);
	_Atomic bool in_guest; /* executing, to be waited for */
	_Atomic bool is_apart; /* in_guest, too: see above. Only its own thread changes the two */
	bool is_counted;       /* in `pending`; under the lock */
	struct exclusive_member *next; /* that was added before; constant */
};

struct exclusive {
	pthread_mutex_t lock;
	pthread_cond_t resumed; /* `pending` became 0 */
	pthread_cond_t stopped; /* `pending` became 1 */
	/* 0: no section. Otherwise 1 + the number of vCPUs that have yet to stop. Written under
	 * lock; read without by vCPUs that enter the guest, ordered against their `in_guest`, or come back, ordered against
	 * their `is_apart`. */
	_Atomic unsigned pending;
	_Atomic(struct exclusive_member *) members; /* the last one that was added */
	unsigned spins; /* constant: how often to look before falling asleep */
};

void exclusive_init(struct exclusive *exclusive);
void exclusive_destroy(struct exclusive *exclusive);

/* From now on sections wait for the member, whose `pause` is set. It stays until the end; members are
 * added one at a time. */
void exclusive_add(struct exclusive *exclusive, struct exclusive_member *member);

/* A vCPU's thread, around execution. Entering waits for the end of a section that is under way. */
void exclusive_enter(struct exclusive *exclusive, struct exclusive_member *member);
void exclusive_leave(struct exclusive *exclusive, struct exclusive_member *member);

/*
 * A vCPU's thread, inside the guest: it will touch nothing that others may change until it comes back, which waits for
 * the end of a section that is under way. What had been translated before may have changed then.
 */
void exclusive_go_apart(struct exclusive_member *member);
void exclusive_come_back(struct exclusive *exclusive, struct exclusive_member *member);

/*
 * Begin and end a section. `self` is the calling thread's vCPU when it is inside the guest, else
 * NULL. Two that want it at once get it in turn: the vCPU that waits counts as stopped, so whatever
 * it had translated before may have changed when either returns. Does not nest.
 */
void exclusive_begin(struct exclusive *exclusive, struct exclusive_member *self);
/* One beside the vCPUs that are apart. */
void exclusive_begin_beside(struct exclusive *exclusive, struct exclusive_member *self);
/* In such a one: have these stop, too. Returns when they have: from here on it is like any other. */
void exclusive_widen(struct exclusive *exclusive);
void exclusive_end(struct exclusive *exclusive, struct exclusive_member *self);

#endif
