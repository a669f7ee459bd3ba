/*
 * Exclusive sections: one thread runs alone while every vCPU of the VM stands between instructions.
 *
 * Used for what cannot be done next to running vCPUs: changes of memory slots and of the other
 * tables that vCPUs read without a lock, atomic accesses that the host cannot do atomically, and
 * the bookkeeping of decoded code. A vCPU that is outside the guest (in HLT, in user space, in
 * another request) does not take part: it is kept from entering while a section lasts.
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
	bool is_counted;       /* in `pending`; under the lock */
	struct exclusive_member *next; /* that was added before; constant */
};

struct exclusive {
	pthread_mutex_t lock;
	pthread_cond_t resumed; /* `pending` became 0 */
	pthread_cond_t stopped; /* `pending` became 1 */
	/* 0: no section. Otherwise 1 + the number of vCPUs that have yet to stop. Written under
	 * lock; read without by vCPUs that enter the guest, ordered against their `in_guest`. */
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
 * Begin and end a section. `self` is the calling thread's vCPU when it is inside the guest, else
 * NULL. Two that want it at once get it in turn: the vCPU that waits counts as stopped, so whatever
 * it had translated before may have changed when either returns. Does not nest.
 */
void exclusive_begin(struct exclusive *exclusive, struct exclusive_member *self);
void exclusive_end(struct exclusive *exclusive, struct exclusive_member *self);

#endif
