/* What a PS/2 device has to send, a byte at a time. Its owner's lock guards it. */
#ifndef KVIK_DEVICE_INPUT_PS2_QUEUE_H
#define KVIK_DEVICE_INPUT_PS2_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/state.h"

#define PS2_QUEUE_BYTES 64

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE_BYTES];
	uint8_t head, count;
};

static inline unsigned ps2_queue_room(const struct ps2_queue *queue)
{
	return PS2_QUEUE_BYTES - queue->count;
}

/* Dropped when it is full. */
static inline void ps2_queue_put(struct ps2_queue *queue, uint8_t byte)
{
	if (queue->count < PS2_QUEUE_BYTES)
		queue->bytes[(queue->head + queue->count++) % PS2_QUEUE_BYTES] = byte;
}

/* False: there is none. */
static inline bool ps2_queue_take(struct ps2_queue *queue, uint8_t *byte)
{
	if (!queue->count)
		return false;
	*byte = queue->bytes[queue->head];
	queue->head = (queue->head + 1) % PS2_QUEUE_BYTES;
	queue->count--;
	return true;
}

static inline void ps2_queue_clear(struct ps2_queue *queue)
{
	queue->count = 0;
}

static inline void ps2_queue_transfer(struct ps2_queue *queue, struct state_stream *state)
{
	state_bytes(state, "queue", queue->bytes, sizeof(queue->bytes));
	state_u8(state, "head", &queue->head);
	state_check(state, "head", queue->head < PS2_QUEUE_BYTES);
	state_u8(state, "count", &queue->count);
	state_check(state, "count", queue->count <= PS2_QUEUE_BYTES);
}

#endif
