#include "net/stream_frames.h"
#include "util/endian.h"

#include <errno.h>
#include <string.h>

uint8_t *stream_frames_room(struct stream_frames *frames, size_t *room)
{
	/* What was looked at makes room for the rest of what was not. */
	memmove(frames->bytes, frames->bytes + frames->taken, frames->used - frames->taken);
	frames->used -= frames->taken;
	frames->taken = 0;
	*room = sizeof(frames->bytes) - frames->used;
	return frames->bytes + frames->used;
}

int stream_frames_next(struct stream_frames *frames, const uint8_t **frame)
{
	const uint8_t *at = frames->bytes + frames->taken;
	size_t left = frames->used - frames->taken;
	uint32_t size;

	if (left < STREAM_LENGTH_BYTES)
		return 0;
	size = get_be32(at);
	if (!size || size > NET_FRAME_MAX)
		return -EPROTO;
	if (left - STREAM_LENGTH_BYTES < size)
		return 0;
	*frame = at + STREAM_LENGTH_BYTES;
	frames->taken += STREAM_LENGTH_BYTES + size;
	return size;
}

void stream_frames_put_length(uint8_t bytes[STREAM_LENGTH_BYTES], size_t size)
{
	put_be32(bytes, size);
}
