/*
 * Where a stream's bytes go: a bounded queue in front of something that may be slow.
 *
 * Whoever writes never waits. A thread of the output's own writes the queue to the host's
 * descriptor, and is the only one that a stalled reader stops: descriptors of ours are shared with
 * other processes (a terminal, a pipe), so O_NONBLOCK is not ours to set on them.
 *
 * A queue that fills up becomes busy, which a device shows to the guest in its own way, and is
 * ready again when half of it has left. A guest that goes on writing makes it overfull: what it
 * wrote is still kept, and the machine holds the vCPU until the output is ready (char.h).
 */
#ifndef KVIK_DEVICE_CHAR_OUTPUT_H
#define KVIK_DEVICE_CHAR_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct char_output;

/* Called when a stream's output is ready again: on the output's thread, or on the writer's for a
 * callback's, without locks that are taken under a device's. Owned and embedded by the user. */
struct char_watch {
	void (*ready)(void *context);
	void *context;
	struct char_watch *next; /* the output's own */
};

/* To a descriptor, which is closed at the end if it is owned; -1: to nobody yet. NULL, and `error`, on failure. */
struct char_output *char_output_create(int fd, bool owns_fd, struct error *error);
/* To a function, which is called at once by the writer: for tests. */
struct char_output *char_output_create_callback(void (*write)(void *context, const uint8_t *data,
                                                              size_t size),
                                                void *context, struct error *error);
/* Gives up what cannot be written without waiting; see char_drain for more patience. */
void char_output_destroy(struct char_output *output); /* NULL is fine */

void char_output_write(struct char_output *output, const uint8_t *data, size_t size);
/* What is written goes to `log`, too, which is the output's from now on, whether anybody takes it here or not; what
 * that one has no room for is lost. Before the first byte. */
void char_output_set_log(struct char_output *output, struct char_output *log);
size_t char_output_free(struct char_output *output); /* how much more the queue takes */
/*
 * From now on bytes go to `fd`, which is the output's, and of what was queued nothing goes anywhere any
 * more. -1: to nobody, they are dropped. The old descriptor is closed, soon. For outputs that own theirs.
 */
void char_output_replace(struct char_output *output, int fd);
/* The same with -1, but what was queued may still leave, until another descriptor comes: the peer has ended its own
 * side, and perhaps reads on. */
void char_output_finish(struct char_output *output);
bool char_output_is_ready(struct char_output *output);
bool char_output_is_overfull(struct char_output *output);
/* Whether nobody takes the bytes any more: a pipe whose reader has gone, a full disk. As a hint; any thread. */
bool char_output_is_gone(struct char_output *output);
/* Say nothing of a pipe whose reader has gone: whoever writes asks, and knows what to do. Before the first byte. */
void char_output_expect_gone(struct char_output *output);
void char_output_add_watch(struct char_output *output, struct char_watch *watch);
/* All that watch one output watch another from now on, and are called: that one may be ready where this was not. While
 * nobody writes to either. */
void char_output_move_watches(struct char_output *from, struct char_output *to);
void char_output_remove_watch(struct char_output *output, struct char_watch *watch);
bool char_output_drain(struct char_output *output, void (*drained)(void *context), void *context);
/* Play a reader that has stalled, or goes on. A callback's only. */
void char_output_set_stalled(struct char_output *output, bool is_stalled);

#endif
