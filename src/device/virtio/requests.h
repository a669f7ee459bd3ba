/*
 * Requests that outlast the device's lock: those that are under way, of which some may have failed and wait
 * (block/error_policy.h), and those that had failed where a machine comes from, which begin anew. What of them waits is
 * saved with the device. All with the device's lock held.
 */
#ifndef KVIK_DEVICE_VIRTIO_REQUESTS_H
#define KVIK_DEVICE_VIRTIO_REQUESTS_H

#include "device/virtio/chains.h"

/* Embedded in the kind's, which owns it. */
struct virtio_request {
	unsigned queue;
	struct virtqueue_chain *chain;
	struct virtio_request *next, **link; /* the list's own */
};

/* All zero: none. */
struct virtio_requests {
	struct virtio_request *first; /* under way */
	struct virtio_chains loaded, anew;
};

/* `request`, with its queue and chain, is under way; and it is not any more: its chain was answered. */
void virtio_request_begin(struct virtio_device *virtio, struct virtio_requests *requests, struct virtio_request *request);
void virtio_request_end(struct virtio_device *virtio, struct virtio_request *request);

/* Have what was loaded begin: when the device runs. `take` is as for a chain that has been popped. */
void virtio_requests_begin_anew(struct virtio_requests *requests,
				void (*take)(void *context, unsigned queue, struct virtqueue_chain *chain), void *context);
/* Nothing begins anew: the device is reset. */
void virtio_requests_reset(struct virtio_requests *requests);
/* The end of the device, with nothing under way. */
void virtio_requests_destroy(struct virtio_requests *requests);

/* Save what waits of a device that is held, or load such: a kind's `transfer`. */
void virtio_requests_transfer(const struct virtio_device *virtio, struct virtio_requests *requests,
			      struct state_stream *state);
/* Take over what was loaded, after a reset: a kind's `loaded`. False: it cannot be, by its queues or as they do not begin with
 * `first_queue`, and is dropped; the device is to be broken. */
bool virtio_requests_restore(const struct virtio_device *virtio, struct virtio_requests *requests, unsigned first_queue);
#define VIRTIO_REQUESTS_COMPLAINT "chains that wait are of no queue of its"

#endif
