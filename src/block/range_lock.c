#include "block/range_lock.h"

#include <stddef.h>

/* Whether somebody who came before keeps it from being granted. */
static bool must_wait(const struct range_hold *hold)
{
	const struct range_hold *other;

	for (other = hold->previous; other; other = other->previous)
		if (other->first <= hold->last && other->last >= hold->first &&
		    (other->mode == RANGE_EXCLUSIVE || hold->mode == RANGE_EXCLUSIVE))
			return true;
	return false;
}

bool range_take(struct range_lock *lock, struct range_hold *hold, uint64_t first, uint64_t last,
		enum range_mode mode)
{
	*hold = (struct range_hold){
		.first = first, .last = last, .mode = mode, .previous = lock->newest};
	if (lock->newest)
		lock->newest->next = hold;
	else
		lock->oldest = hold;
	lock->newest = hold;
	hold->is_granted = !must_wait(hold);
	if (!hold->is_granted)
		lock->waiting++;
	return hold->is_granted;
}

void range_release(struct range_lock *lock, struct range_hold *hold)
{
	if (hold->mode == RANGE_NONE)
		return;
	if (!hold->is_granted)
		lock->waiting--;
	if (hold->previous)
		hold->previous->next = hold->next;
	else
		lock->oldest = hold->next;
	if (hold->next)
		hold->next->previous = hold->previous;
	else
		lock->newest = hold->previous;
	*hold = (struct range_hold){.mode = RANGE_NONE};
}

struct range_hold *range_wake(struct range_lock *lock)
{
	struct range_hold *hold;

	if (lock->waiting == 0)
		return NULL;
	for (hold = lock->oldest; hold; hold = hold->next)
		if (!hold->is_granted && !must_wait(hold)) {
			hold->is_granted = true;
			lock->waiting--;
			return hold;
		}
	return NULL;
}
