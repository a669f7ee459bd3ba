/* A memory balloon (virtio 1.2 §5.5): the guest gives pages back, and tells of those that are free. */
#ifndef KVIK_DEVICE_VIRTIO_BALLOON_H
#define KVIK_DEVICE_VIRTIO_BALLOON_H

#include "device/virtio/virtio.h"

/* `target_bytes`: what the guest is asked to give back from its start. NULL, and `error`, on failure. */
struct virtio_device *virtio_balloon_create(const struct virtio_host *host, uint64_t target_bytes,
					    struct error *error);

#endif
