/*
 * Leaky buckets: each limit has a level, to which a request adds what it costs when it begins, and which falls by the
 * limit's rate. While it is above what may come at once, requests wait. They wait in the order in which they came, reads
 * and writes apart, before anything else is done with them.
 */
#include "block/throttle_queue.h"

#include <stdlib.h>

#include "block/disk.h"
#include "util/clock.h"

enum { BYTES, OPERATIONS };
#define UNITS THROTTLE_UNITS
#define WAIT_MIN_NS 1000000ull /* timers are not set for less */

/* -- buckets -- */

static const struct block_rate *rate_of(const struct block_throttle *throttle, unsigned unit, unsigned which)
{
	return unit == BYTES ? &throttle->limits.bytes[which] : &throttle->limits.operations[which];
}

static void fall(double *level, double by)
{
	*level = *level > by ? *level - by : 0;
}

static void leak(struct block_throttle *throttle, uint64_t now)
{
	double seconds = (double)(now - throttle->leaked_ns) / NS_PER_SECOND;
	unsigned unit, which;

	throttle->leaked_ns = now;
	for (unit = 0; unit < UNITS; unit++)
		for (which = 0; which < BLOCK_RATES; which++) {
			const struct block_rate *rate = rate_of(throttle, unit, which);

			fall(&throttle->buckets[unit][which].level, rate->average * seconds);
			fall(&throttle->buckets[unit][which].burst_level, rate->burst * seconds);
		}
}

/* Seconds until one more may begin. */
static double bucket_wait(const struct throttle_bucket *bucket, const struct block_rate *rate)
{
	double room, wait = 0, burst_wait;

	if (!rate->average)
		return 0;
	room = rate->burst ? (double)rate->burst * (rate->burst_seconds ? rate->burst_seconds : 1) : rate->average / 10.0;
	if (bucket->level > room)
		wait = (bucket->level - room) / rate->average;
	/* A long burst has its own rate. */
	if (rate->burst_seconds > 1 && bucket->burst_level > rate->burst / 10.0) {
		burst_wait = (bucket->burst_level - rate->burst / 10.0) / rate->burst;
		wait = wait > burst_wait ? wait : burst_wait;
	}
	return wait;
}

static double operations_of(const struct block_throttle *throttle, uint64_t size)
{
	uint64_t most = throttle->limits.operation_bytes;

	return most && size > most ? (double)size / most : 1;
}

/* 0, and it is counted; or nanoseconds that it has to wait. */
static uint64_t try_to_begin(struct block_throttle *throttle, bool is_write, uint64_t size)
{
	const unsigned kinds[] = {BLOCK_RATE_TOTAL, is_write ? BLOCK_RATE_WRITE : BLOCK_RATE_READ};
	double wait = 0, one, cost[UNITS];
	unsigned unit, i;

	pthread_mutex_lock(&throttle->lock);
	leak(throttle, monotonic_ns());
	for (unit = 0; unit < UNITS; unit++)
		for (i = 0; i < 2; i++) {
			one = bucket_wait(&throttle->buckets[unit][kinds[i]], rate_of(throttle, unit, kinds[i]));
			wait = one > wait ? one : wait;
		}
	cost[BYTES] = size;
	cost[OPERATIONS] = operations_of(throttle, size);
	for (unit = 0; unit < UNITS && wait == 0; unit++)
		for (i = 0; i < 2; i++) {
			throttle->buckets[unit][kinds[i]].level += cost[unit];
			throttle->buckets[unit][kinds[i]].burst_level += cost[unit];
		}
	pthread_mutex_unlock(&throttle->lock);
	return wait > 0 ? (uint64_t)(wait * NS_PER_SECOND) + 1 : 0;
}

/* -- on the disk's I/O thread -- */

static bool is_limited(const struct block_request *request)
{
	return !(request->flags & BLOCK_FREELY) && request->operation != BLOCK_FLUSH && request->operation != BLOCK_DISCARD &&
	       request->operation != BLOCK_LOOK && request->operation != BLOCK_FILL;
}

static void wait_until(struct throttle_queue *queue, uint64_t ns)
{
	uint64_t then = monotonic_ns() + (ns > WAIT_MIN_NS ? ns : WAIT_MIN_NS);

	if (queue->wakes_ns && queue->wakes_ns <= then)
		return;
	queue->wakes_ns = then;
	event_timer_set(&queue->timer, then, 0);
}

/* Those that may begin, do; how long the first of the others has to wait, 0: there is none. */
static uint64_t begin_some(struct throttle_queue *queue, bool is_write)
{
	struct waiting *waiting = &queue->waiting[is_write];
	struct block_request *request;
	uint64_t wait;

	while ((request = waiting->first)) {
		wait = queue->open ? 0 : try_to_begin(queue->throttle, is_write, request->size);
		if (wait)
			return wait;
		waiting->first = request->next;
		if (!waiting->first)
			waiting->last = NULL;
		request_start(queue->block, request);
	}
	return 0;
}

void throttle_go_on(void *context)
{
	struct throttle_queue *queue = context;
	uint64_t reads, writes;

	queue->wakes_ns = 0;
	reads = begin_some(queue, false);
	writes = begin_some(queue, true);
	if (reads || writes)
		wait_until(queue, reads && (reads < writes || !writes) ? reads : writes);
}

void throttle_arrive(struct block *block, struct block_request *request)
{
	struct throttle_queue *queue = block->throttled;
	bool is_write = request->operation != BLOCK_READ;
	struct waiting *waiting;
	uint64_t wait = 0;

	if (!queue || queue->open || !is_limited(request)) {
		request_start(block, request);
		return;
	}
	waiting = &queue->waiting[is_write];
	if (!waiting->first) {
		wait = try_to_begin(queue->throttle, is_write, request->size);
		if (!wait) {
			request_start(block, request);
			return;
		}
		wait_until(queue, wait);
	}
	request->next = NULL;
	if (waiting->last)
		waiting->last->next = request;
	else
		waiting->first = request;
	waiting->last = request;
}

void throttle_open(void *context)
{
	struct throttle_queue *queue = context;

	queue->open++;
	throttle_go_on(queue);
}

void throttle_close(void *context)
{
	struct throttle_queue *queue = context;

	queue->open--;
}

void throttle_leave(struct block_throttle *throttle)
{
	unsigned left;

	pthread_mutex_lock(&throttle->lock);
	left = --throttle->users;
	pthread_mutex_unlock(&throttle->lock);
	if (left)
		return;
	pthread_mutex_destroy(&throttle->lock);
	free(throttle);
}

struct block_throttle *throttle_make(void)
{
	struct block_throttle *throttle = calloc(1, sizeof(*throttle));

	if (!throttle)
		return NULL;
	pthread_mutex_init(&throttle->lock, NULL);
	throttle->leaked_ns = monotonic_ns();
	return throttle;
}

void throttle_end(struct block *block)
{
	struct throttle_queue *queue = block->throttled;

	if (!queue)
		return;
	event_timer_destroy(&queue->timer);
	throttle_leave(queue->throttle);
	free(queue);
	block->throttled = NULL;
}
