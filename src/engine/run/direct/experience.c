#include "engine/run/direct/experience.h"

#include <stddef.h>

#include "engine/x86/bytes.h"

#define SCORE_MOST 3
#define LOOKS	   1000u

static bool lock(struct experiences *experiences)
{
	for (unsigned i = 0; i < LOOKS; i++) {
		if (!atomic_load_explicit(&experiences->is_locked, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&experiences->is_locked, true, memory_order_acquire))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

struct experience *experience_get(struct experiences *experiences, uint64_t hash, bool is_new)
{
	struct experience *experience = &experiences->all[(hash >> 8) % EXPERIENCES];

	if (!hash || !lock(experiences))
		return NULL;
	if (experience->hash != hash) {
		if (!is_new) {
			experience_put(experiences);
			return NULL;
		}
		bytes_zero(experience, sizeof(*experience));
		experience->hash = hash;
	}
	return experience;
}

void experience_put(struct experiences *experiences)
{
	atomic_store_explicit(&experiences->is_locked, false, memory_order_release);
}

static struct known_space *place_of(struct experiences *experiences, uint64_t owner, uint64_t area)
{
	uint64_t page = owner >> 12;

	return &experiences->spaces[(page ^ page >> 8 ^ page >> 16 ^ area >> 6 ^ area >> 14) % KNOWN_SPACES];
}

void experience_tell_space(struct experiences *experiences, const struct known_space *space)
{
	struct known_space *place = place_of(experiences, space->owner, space->area);

	if (!lock(experiences))
		return;
	if (space->policy.mode != POLICY_NEW)
		bytes_copy(place, space, sizeof(*place));
	else if (place->owner == space->owner && place->area == space->area)
		place->owner = 0;
	experience_put(experiences);
}

bool experience_ask_space(struct experiences *experiences, struct known_space *space)
{
	const struct known_space *place = place_of(experiences, space->owner, space->area);
	bool is_known;

	if (!lock(experiences))
		return false;
	is_known = place->owner == space->owner && place->root == space->root && place->area == space->area;
	if (is_known)
		bytes_copy(space, place, sizeof(*space));
	experience_put(experiences);
	return is_known;
}

void experience_lived(struct experience *experience, bool was_long)
{
	if (was_long && experience->score < SCORE_MOST)
		experience->score++;
	else if (!was_long && experience->score > -SCORE_MOST)
		experience->score--;
}
