/* Limits of disks: what they may be, and how disks get them. */
#include "block/throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/disk.h"
#include "block/throttle_queue.h"

static int check_rates(const struct block_rate *rates, struct error *error)
{
	unsigned i;

	for (i = 0; i < BLOCK_RATES; i++) {
		const struct block_rate *rate = &rates[i];

		if (rate->average > BLOCK_RATE_MAX || rate->burst > BLOCK_RATE_MAX || rate->burst_seconds > BLOCK_RATE_MAX)
			return error_set(error, EINVAL, "bps/iops/max values must be within [0, %llu]", BLOCK_RATE_MAX);
		if (rate->burst && !rate->average)
			return error_set(error, EINVAL, "bps_max/iops_max require corresponding bps/iops values");
		if (rate->burst && rate->burst < rate->average)
			return error_set(error, EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
		if (rate->burst_seconds > 1 && !rate->burst)
			return error_set(error, EINVAL, "burst length set without burst rate");
	}
	if ((rates[BLOCK_RATE_TOTAL].average && (rates[BLOCK_RATE_READ].average || rates[BLOCK_RATE_WRITE].average)) ||
	    (rates[BLOCK_RATE_TOTAL].burst && (rates[BLOCK_RATE_READ].burst || rates[BLOCK_RATE_WRITE].burst)))
		return error_set(error, EINVAL,
				 "bps/iops/max total values and read/write values cannot be used at the same time");
	return 0;
}

static int check_limits(const struct block_limits *limits, struct error *error)
{
	int result = check_rates(limits->bytes, error);

	if (result == 0)
		result = check_rates(limits->operations, error);
	if (result == 0 && limits->operation_bytes && !block_limits_any(limits))
		result = error_set(error, EINVAL, "iops size requires an iops value to be set");
	return result;
}

bool block_limits_any(const struct block_limits *limits)
{
	unsigned i;

	for (i = 0; i < BLOCK_RATES; i++)
		if (limits->bytes[i].average || limits->operations[i].average)
			return true;
	return false;
}

struct replacing {
	struct block *block;
	struct throttle_queue *queue;
	struct block_throttle *throttle;
	int result;
};

/* On the I/O thread: the disk has this throttle from now on. */
static void replace(void *context)
{
	struct replacing *replacing = context;
	struct throttle_queue *queue = replacing->block->throttled;

	if (!queue) {
		queue = replacing->queue;
		replacing->result = event_timer_init(&queue->timer, block_loop(replacing->block), throttle_go_on, queue);
		if (replacing->result < 0)
			return;
		replacing->block->throttled = queue;
	}
	queue->throttle = replacing->throttle;
	throttle_go_on(queue);
}

int block_set_limits(struct block *block, const struct block_limits *limits, struct block *other, struct error *error)
{
	struct block_throttle *throttle, *old = block->throttled ? block->throttled->throttle : NULL;
	struct replacing replacing = {.block = block};
	int result = check_limits(limits, error);

	if (result < 0)
		return result;
	throttle = other && other->throttled ? other->throttled->throttle : throttle_make();
	if (!block->throttled)
		replacing.queue = calloc(1, sizeof(*replacing.queue));
	if (!throttle || (!block->throttled && !replacing.queue)) {
		free(replacing.queue);
		if (throttle && !throttle->users)
			free(throttle);
		return error_set_errno(error, ENOMEM, "limits");
	}
	if (replacing.queue)
		replacing.queue->block = block;
	pthread_mutex_lock(&throttle->lock);
	throttle->users++;
	throttle->limits = *limits;
	memset(throttle->buckets, 0, sizeof(throttle->buckets));
	pthread_mutex_unlock(&throttle->lock);
	replacing.throttle = throttle;
	block_call(block, replace, &replacing);
	if (replacing.result < 0) {
		free(replacing.queue);
		throttle_leave(throttle);
		return error_set_errno(error, -replacing.result, "limits");
	}
	if (old)
		throttle_leave(old);
	return 0;
}

const struct block_limits *block_read_limits(const struct block *block)
{
	return block->throttled ? &block->throttled->throttle->limits : NULL;
}
