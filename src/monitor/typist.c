#include "monitor/typist.h"

#include <errno.h>

#include "machine/inspect.h"

/* Strokes up to one that is to be held for a while. */
static void type(void *context)
{
	struct typist *typist = context;
	unsigned hold_ms = 0;

	while (typist->count && !hold_ms) {
		machine_press_key(typist->machine, typist->strokes[typist->head].key,
				  typist->strokes[typist->head].is_down);
		hold_ms = typist->strokes[typist->head].hold_ms;
		typist->head = (typist->head + 1) % TYPIST_STROKES;
		typist->count--;
	}
	typist->is_waiting = hold_ms;
	if (hold_ms)
		event_timer_set(&typist->timer, monotonic_ns() + hold_ms * 1000000ull, 0);
}

int typist_begin(struct typist *typist, struct machine *machine)
{
	int result = event_timer_init(&typist->timer, machine_configuration(machine)->loop, type, typist);

	if (result == 0)
		typist->machine = machine;
	return result;
}

void typist_end(struct typist *typist)
{
	if (typist->machine)
		event_timer_destroy(&typist->timer);
	typist->machine = NULL;
}

static void add(struct typist *typist, const struct key *key, bool is_down, uint16_t hold_ms)
{
	unsigned at = (typist->head + typist->count++) % TYPIST_STROKES;

	typist->strokes[at].key = key;
	typist->strokes[at].is_down = is_down;
	typist->strokes[at].hold_ms = hold_ms;
}

int typist_press(struct typist *typist, const struct key *const *keys, unsigned count,
		 uint16_t hold_ms)
{
	unsigned i;

	if (2 * count > TYPIST_STROKES - typist->count)
		return -ENOSPC;
	for (i = 0; i < count; i++)
		add(typist, keys[i], true, hold_ms);
	while (i--)
		add(typist, keys[i], false, hold_ms);
	if (!typist->is_waiting)
		type(typist);
	return 0;
}
