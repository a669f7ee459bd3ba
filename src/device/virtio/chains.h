/* Chains that a device has taken and not answered, because what they ask for has failed and waits: they are saved with it,
 * and done anew where they are loaded. All with the device's lock held. */
#ifndef KVIK_DEVICE_VIRTIO_CHAINS_H
#define KVIK_DEVICE_VIRTIO_CHAINS_H

#include "device/virtio/virtio.h"

/* All zero: none. */
struct virtio_chains {
	struct virtio_kept {
		unsigned queue;
		struct virtqueue_chain *chain;
	} *list;
	unsigned count, room;
};

/* 0 or -ENOMEM. */
int virtio_chains_add(struct virtio_chains *chains, unsigned queue, struct virtqueue_chain *chain);
/* Save them; or load some into what is empty, looked up in memory anew, and checked but for what virtio_chains_check does. */
void virtio_chains_transfer(const struct virtio_device *virtio, struct virtio_chains *chains, struct state_stream *state);
/* Whether they can be of its queues as they are. */
bool virtio_chains_check(const struct virtio_device *virtio, const struct virtio_chains *chains);
/* None any more: the chains are others'. */
void virtio_chains_forget(struct virtio_chains *chains);
/* The same with the chains. */
void virtio_chains_drop(struct virtio_chains *chains);

#endif
