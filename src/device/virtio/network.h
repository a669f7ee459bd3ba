/* A network device (virtio 1.2 §5.1) on a link (net/link.h): checksums and segments left to the other side
 * where there is one that can do them, merged receive buffers, a control queue. */
#ifndef KVIK_DEVICE_VIRTIO_NETWORK_H
#define KVIK_DEVICE_VIRTIO_NETWORK_H

#include "device/virtio/virtio.h"
#include "net/link.h"

#define MAC_BYTES 6

/* The link is the device's own from now on, also when this fails. It is read on `host->loop`. NULL, and
 * `error`, on failure. */
struct virtio_device *virtio_network_create(const struct virtio_host *host,
					    const struct net_link *link,
					    const uint8_t mac[MAC_BYTES], struct error *error);

/* Plug its cable in or pull it out: what is sent or comes meanwhile is lost, and the driver is told. Any thread. */
void virtio_network_set_link(struct virtio_device *virtio, bool is_up);

#endif
