/*
 * Exclusive sections (see exclusive.h).
 *
 * A vCPU sets `in_guest` (or clears `is_apart`) and then looks at `pending`; a section sets `pending` and then looks at
 * every `in_guest` and `is_apart` (all sequentially consistent), so at least one of the two sees the other. A
 * vCPU found inside is counted in `pending` and asked to pause; whoever takes the count down to 1
 * wakes the section's thread.
 *
 * Sections last some microseconds, and a vCPU that executes stops as quickly. To fall asleep and be woken
 * takes longer than that, and much longer on a host whose processors fall asleep as well. So whoever waits
 * looks again for as long as that before it sleeps.
 */
#include "engine/vm/exclusive.h"

#include <stddef.h>
#include <unistd.h>

#define WAIT_SPINS 200 /* of PAUSE, 40 to 140 cycles each */

void exclusive_init(struct exclusive *exclusive)
{
	pthread_mutex_init(&exclusive->lock, NULL);
	pthread_cond_init(&exclusive->resumed, NULL);
	pthread_cond_init(&exclusive->stopped, NULL);
	exclusive->pending = 0;
	exclusive->members = NULL;
	/* Where there is but one processor nobody else gets anywhere meanwhile. */
	exclusive->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? WAIT_SPINS : 0;
}

void exclusive_destroy(struct exclusive *exclusive)
{
	pthread_cond_destroy(&exclusive->stopped);
	pthread_cond_destroy(&exclusive->resumed);
	pthread_mutex_destroy(&exclusive->lock);
}

/* This vCPU has stopped, if a section waits for it. Called with the lock held. */
static void count_out(struct exclusive *exclusive, struct exclusive_member *member)
{
	if (!member->is_counted)
		return;
	member->is_counted = false;
	if (--exclusive->pending == 1)
		pthread_cond_signal(&exclusive->stopped);
}

/* Wait a short while for `pending` to be no more than that. Called without the lock. */
static void spin(struct exclusive *exclusive, unsigned pending)
{
	for (unsigned i = exclusive->spins; i && atomic_load(&exclusive->pending) > pending; i--)
		__builtin_ia32_pause();
}

static void wait_until_idle(struct exclusive *exclusive)
{
	if (exclusive->pending) {
		pthread_mutex_unlock(&exclusive->lock);
		spin(exclusive, 0);
		pthread_mutex_lock(&exclusive->lock);
	}
	while (exclusive->pending)
		pthread_cond_wait(&exclusive->resumed, &exclusive->lock);
}

void exclusive_add(struct exclusive *exclusive, struct exclusive_member *member)
{
	member->next = atomic_load(&exclusive->members);
	atomic_store(&exclusive->members, member);
}

/* There is a section, or was just now, and the vCPU has shown itself to be inside the guest: not before its end. */
static void enter_behind(struct exclusive *exclusive, struct exclusive_member *member)
{
	pthread_mutex_lock(&exclusive->lock);
	atomic_store(&member->in_guest, false);
	count_out(exclusive, member);
	wait_until_idle(exclusive);
	/* Sections begin under the lock, so the next one sees this. */
	atomic_store(&member->in_guest, true);
	pthread_mutex_unlock(&exclusive->lock);
}

void exclusive_enter(struct exclusive *exclusive, struct exclusive_member *member)
{
	atomic_store(&member->in_guest, true);
	if (atomic_load(&exclusive->pending))
		enter_behind(exclusive, member);
}

/* A section that begins right now, and has not seen it, has asked the vCPU to pause: so it comes back at once. */
void exclusive_go_apart(struct exclusive_member *member)
{
	atomic_store(&member->is_apart, true);
}

void exclusive_come_back(struct exclusive *exclusive, struct exclusive_member *member)
{
	atomic_store(&member->is_apart, false);
	if (atomic_load(&exclusive->pending))
		enter_behind(exclusive, member);
}

void exclusive_leave(struct exclusive *exclusive, struct exclusive_member *member)
{
	atomic_store(&member->in_guest, false);
	if (!atomic_load(&exclusive->pending))
		return;
	pthread_mutex_lock(&exclusive->lock);
	count_out(exclusive, member);
	pthread_mutex_unlock(&exclusive->lock);
}

/* Have all vCPUs stop that are inside the guest; those that are apart only if `is_apart`. With the lock held, inside
 * a section. */
static void stop_members(struct exclusive *exclusive, bool is_apart)
{
	struct exclusive_member *member;

	for (member = atomic_load(&exclusive->members); member; member = member->next) {
		if (!atomic_load(&member->in_guest) || (!is_apart && atomic_load(&member->is_apart)))
			continue;
		member->is_counted = true;
		exclusive->pending++;
		member->pause(member);
	}
	if (exclusive->pending > 1) {
		pthread_mutex_unlock(&exclusive->lock);
		spin(exclusive, 1);
		pthread_mutex_lock(&exclusive->lock);
	}
	while (exclusive->pending > 1)
		pthread_cond_wait(&exclusive->stopped, &exclusive->lock);
}

static void begin(struct exclusive *exclusive, struct exclusive_member *self, bool is_apart)
{
	if (self)
		exclusive_leave(exclusive, self);
	pthread_mutex_lock(&exclusive->lock);
	wait_until_idle(exclusive);
	atomic_store(&exclusive->pending, 1);
	stop_members(exclusive, is_apart);
	pthread_mutex_unlock(&exclusive->lock);
}

void exclusive_begin(struct exclusive *exclusive, struct exclusive_member *self)
{
	begin(exclusive, self, true);
}

void exclusive_begin_beside(struct exclusive *exclusive, struct exclusive_member *self)
{
	begin(exclusive, self, false);
}

void exclusive_widen(struct exclusive *exclusive)
{
	pthread_mutex_lock(&exclusive->lock);
	stop_members(exclusive, true);
	pthread_mutex_unlock(&exclusive->lock);
}

void exclusive_end(struct exclusive *exclusive, struct exclusive_member *self)
{
	pthread_mutex_lock(&exclusive->lock);
	exclusive->pending = 0;
	pthread_cond_broadcast(&exclusive->resumed);
	pthread_mutex_unlock(&exclusive->lock);
	if (self)
		exclusive_enter(exclusive, self);
}
