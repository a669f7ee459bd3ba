/*
 * JSON values off a stream of bytes, one after another, whatever is between them. Depth and size are
 * bounded before anything is parsed.
 */
#ifndef KVIK_MONITOR_FRAME_H
#define KVIK_MONITOR_FRAME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/error.h"

#define FRAME_BYTES_MAX (1u << 20)
#define FRAME_DEPTH_MAX 128

struct frame {
	char *text; /* owned: the value that has begun */
	size_t size, room;
	unsigned depth;
	bool is_inside, in_string, is_escaped, is_bare, is_skipping;
};

void frame_reset(struct frame *frame); /* forget what has begun */
void frame_free(struct frame *frame);

/*
 * Take bytes until a value is complete. Returns how many were taken; `value` is what is complete, the
 * caller's, NULL: nothing yet. What is no JSON, or too much of it, makes `error` say so; the rest of that
 * line is then skipped.
 */
size_t frame_take(struct frame *frame, const char *bytes, size_t size, json_t **value,
		  struct error *error);

#endif
