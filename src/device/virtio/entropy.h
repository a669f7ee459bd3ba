/* A source of random numbers for guests (virtio 1.2 §5.4). */
#ifndef KVIK_DEVICE_VIRTIO_ENTROPY_H
#define KVIK_DEVICE_VIRTIO_ENTROPY_H

#include "device/virtio/virtio.h"

/* The host's getrandom(2). NULL, and `error`, on failure. */
struct virtio_device *virtio_entropy_create(const struct virtio_host *host, struct error *error);

#endif
