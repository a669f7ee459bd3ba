/* A network device (virtio 1.2 §5.1) on a link (net/link.h): checksums and segments left to the other side
 * where there is one that can do them, merged receive buffers, a control queue, a pair of queues for each of the link's. */
#ifndef KVIK_DEVICE_VIRTIO_NETWORK_H
#define KVIK_DEVICE_VIRTIO_NETWORK_H

#include "device/virtio/network_filter.h"
#include "device/virtio/virtio.h"
#include "net/link.h"

#define MAC_BYTES NET_MAC_BYTES

/* Called when what virtio_network_read_filter told has changed, once after each call of that. On any thread, with the device's
 * lock held: it passes the word on to a thread that asks virtio_network_take_change. */
struct virtio_network_listener {
	void (*changed)(void *context);
	void *context;
};

struct virtio_network_config {
	uint8_t mac[MAC_BYTES];
	bool has_mq;	  /* the driver may use several pairs of queues (VIRTIO_NET_F_MQ), as many as the link has queues */
	uint64_t without; /* features that are not offered, nor those that need them (§5.1.3.1) */
	uint16_t mtu;	  /* what the driver is told to use at most; 0: nothing */
	struct virtio_network_listener listener; /* or all zeroes */
};

/* The link is the device's own from now on, also when this fails. It is read on `host->loop`. NULL, and `error`, on failure. */
struct virtio_device *virtio_network_create(const struct virtio_host *host, const struct net_link *link,
					    const struct virtio_network_config *config, struct error *error);

/* Plug its cable in or pull it out: what is sent or comes meanwhile is lost, and the driver is told. Any thread. */
void virtio_network_set_link(struct virtio_device *virtio, bool is_up);

/* Which frames it takes, and its address. From then on the listener hears of the next change. Any thread. */
void virtio_network_read_filter(struct virtio_device *virtio, struct network_filter *filter, uint8_t mac[MAC_BYTES]);
/* Whether the listener has heard of a change that nobody has taken yet. Any thread. */
bool virtio_network_take_change(struct virtio_device *virtio);

#endif
