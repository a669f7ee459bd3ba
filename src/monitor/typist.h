/* Who types for a monitor: keys go down and up one after the other, with time between them, as guests that
 * look now and then need it. */
#ifndef KVIK_MONITOR_TYPIST_H
#define KVIK_MONITOR_TYPIST_H

#include "device/input/keys.h"
#include "machine/machine.h"

#define TYPIST_STROKES 2048 /* that wait at most: each a key going down or up */

struct typist {
	struct machine *machine; /* NULL: there is no typist */
	struct event_timer timer;
	bool is_waiting; /* the timer runs */
	struct {
		const struct key *key;
		bool is_down;
		uint16_t hold_ms; /* how long the next one waits for this one */
	} strokes[TYPIST_STROKES];
	unsigned head, count;
};

int typist_begin(struct typist *typist, struct machine *machine); /* 0 or -errno */
void typist_end(struct typist *typist); /* NULL machine is fine */

/* Press all keys in their order and let them go in the opposite one. 0, or -ENOSPC: too many wait already. */
int typist_press(struct typist *typist, const struct key *const *keys, unsigned count,
		 uint16_t hold_ms);

#endif
