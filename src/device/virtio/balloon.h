/* A memory balloon (virtio 1.2 §5.5): the guest gives pages back, and tells of those that are free. */
#ifndef KVIK_DEVICE_VIRTIO_BALLOON_H
#define KVIK_DEVICE_VIRTIO_BALLOON_H

#include "device/virtio/virtio.h"

/* `target_bytes`: what the guest is asked to give back from its start. NULL, and `error`, on failure. */
struct virtio_device *virtio_balloon_create(const struct virtio_host *host, uint64_t target_bytes,
					    struct error *error);

/* Ask the guest to have given that much back; in pages, rounded down. Without the device's lock. */
void virtio_balloon_set_target(struct virtio_device *virtio, uint64_t bytes);
/* What it says that it has given back. */
uint64_t virtio_balloon_given_back(struct virtio_device *virtio);

#endif
