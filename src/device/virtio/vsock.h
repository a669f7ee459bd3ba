/* virtio-vsock (virtio 1.2 §5.10): stream sockets between programs of the guest and of the host. */
#ifndef KVIK_DEVICE_VIRTIO_VSOCK_H
#define KVIK_DEVICE_VIRTIO_VSOCK_H

#include "device/virtio/virtio.h"
#include "net/vsock.h"

/* The guest's context identifier: those below are reserved (§5.10.4), and so is all ones. */
#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX 0xfffffffeu

/* `host` is open and belongs to the device from now on, if it cannot be made, too. NULL and `error` then. */
struct virtio_device *virtio_vsock_create(const struct virtio_host *virtio_host,
					  const struct vsock_host *host, uint32_t guest_cid,
					  struct error *error);

#endif
