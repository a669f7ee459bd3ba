/*
 * A stream that leads to another one, which may be put in another's place while the machine is there: whoever
 * has this one goes on, and hears of it as of a peer that goes and comes.
 */
#ifndef KVIK_DEVICE_CHAR_FRONT_H
#define KVIK_DEVICE_CHAR_FRONT_H

#include "device/char/char.h"

/* On a stream that is the front's from now on, also when this fails. NULL, and `error`, on failure. */
struct char_stream *char_front_create(struct char_stream *below, struct error *error);
/* What it leads to, which is the caller's from now on, and the front is destroyed. It has no reader. I/O thread. */
struct char_stream *char_front_take(struct char_stream *front);
/*
 * Lead to `below` from now on, which is the front's; the other one is destroyed. I/O thread, while nobody else
 * writes: the vCPUs are parked.
 */
void char_front_change(struct char_stream *front, struct char_stream *below);

#endif
