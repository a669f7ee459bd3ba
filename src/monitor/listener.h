/* What a session hears its peer with: a stream's only reader, that goes on when output has room again. */
#ifndef KVIK_MONITOR_LISTENER_H
#define KVIK_MONITOR_LISTENER_H

#include "device/char/char.h"

struct listener {
	struct char_stream *stream;
	struct char_watch output_ready;
};

/*
 * `reader` is called from now on, first of all to say that a peer is there already. Its context holds the
 * listener, and `stream` outlives it.
 */
void listener_begin(struct listener *listener, struct char_stream *stream,
		    const struct char_reader *reader);
void listener_end(struct listener *listener); /* the reader is not called any more */

#endif
