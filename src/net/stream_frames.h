/*
 * Frames on a stream, as QEMU sends them: each behind its length, 32 bits with the highest byte first. The other side may
 * be anybody: a length that no frame has ends the conversation.
 */
#ifndef KVIK_NET_STREAM_FRAMES_H
#define KVIK_NET_STREAM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/link.h"

#define STREAM_LENGTH_BYTES 4

/* What has come of a frame, or of one and those behind it. */
struct stream_frames {
	uint8_t bytes[STREAM_LENGTH_BYTES + NET_FRAME_MAX];
	size_t used; /* bytes */
	size_t taken; /* of them, which belong to frames that were looked at */
};

/* Where more bytes can be put, and how many. */
uint8_t *stream_frames_room(struct stream_frames *frames, size_t *room);

/* The next frame that is complete, which stays until this is called again: its size, 0: it has not come yet, or -EPROTO: no
 * frame has this length. */
int stream_frames_next(struct stream_frames *frames, const uint8_t **frame);

/* A frame's length, as it goes before it. */
void stream_frames_put_length(uint8_t bytes[STREAM_LENGTH_BYTES], size_t size);

#endif
