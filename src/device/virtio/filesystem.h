/* A file system (virtio 1.2 §5.11): FUSE requests, which a share answers (share/share.h); or virtio-9p, whose are 9P's. */
#ifndef KVIK_DEVICE_VIRTIO_FILESYSTEM_H
#define KVIK_DEVICE_VIRTIO_FILESYSTEM_H

#include "device/virtio/virtio.h"
#include "share/share.h"

#define VIRTIO_FILESYSTEM_TAG_MAX 36 /* bytes of a tag */

/*
 * The share is the device's own from now on, also when this fails. `tag`, by which a guest mounts it, is copied.
 * `host->loop` is not used: the device has a thread of its own. NULL, and `error`, on failure.
 */
struct virtio_device *virtio_filesystem_create(const struct virtio_host *host,
					       const struct share *share, const char *tag,
					       struct error *error);

#endif
