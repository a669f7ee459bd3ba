/* A disk (virtio 1.2 §5.2): reads, writes, flushes, discards and zeroes on a struct block, from any number
 * of queues, on the disk's own thread. */
#ifndef KVIK_DEVICE_VIRTIO_DISK_H
#define KVIK_DEVICE_VIRTIO_DISK_H

#include "block/block.h"
#include "device/virtio/virtio.h"

#define VIRTIO_DISK_QUEUES_MAX 16

/*
 * A device for an open disk, which is its own from now on (also when this fails), and which is
 * started. `host->loop` is not used: queues are handled on the disk's thread. `queues`: 1 to
 * VIRTIO_DISK_QUEUES_MAX. NULL, and `error`, on failure.
 */
struct virtio_device *virtio_disk_create(const struct virtio_host *host, struct block *block,
					 unsigned queues, struct error *error);

#endif
