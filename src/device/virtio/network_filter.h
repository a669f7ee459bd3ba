/*
 * Which frames a network device takes from its link (virtio 1.2 §5.1.6.5.1 to .3): modes, lists of addresses, VLANs.
 * Of its device, whose lock guards it.
 */
#ifndef KVIK_DEVICE_VIRTIO_NETWORK_FILTER_H
#define KVIK_DEVICE_VIRTIO_NETWORK_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/state.h"

#define NET_MAC_BYTES	   6
#define NET_FILTER_MACS	   64 /* of a list; a longer one is as if all were in it */
#define NET_FILTER_VLANS   4096

struct network_filter_list {
	bool overflows;
	uint8_t count;
	uint8_t macs[NET_FILTER_MACS][NET_MAC_BYTES];
};

struct network_filter {
	bool is_promiscuous, takes_all_multicast, takes_all_unicast, no_multicast, no_unicast, no_broadcast;
	bool has_vlans; /* the driver says which: others are left out */
	struct network_filter_list unicast, multicast;
	uint8_t vlans[NET_FILTER_VLANS / 8];
};

/* All frames, as before a driver has said anything. */
void network_filter_reset(struct network_filter *filter);
/* VIRTIO_NET_CTRL_RX_PROMISC and so on. False: there is no such mode. */
bool network_filter_set_mode(struct network_filter *filter, uint8_t mode, bool is_on);
/* False: there is no such VLAN. */
bool network_filter_set_vlan(struct network_filter *filter, uint16_t vlan, bool is_on);
/* Whether a device of address `mac` takes the frame. */
bool network_filter_takes(const struct network_filter *filter, const uint8_t mac[NET_MAC_BYTES], const uint8_t *frame,
			  size_t size);
void network_filter_transfer(struct network_filter *filter, struct state_stream *state);

#endif
