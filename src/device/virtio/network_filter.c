#include "device/virtio/network_filter.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "util/endian.h"

#define VLAN_ID 0xfff /* of the tag control information (IEEE 802.1Q §9.6) */

void network_filter_reset(struct network_filter *filter)
{
	*filter = (struct network_filter){.is_promiscuous = true};
}

bool network_filter_set_mode(struct network_filter *filter, uint8_t mode, bool is_on)
{
	switch (mode) {
	case VIRTIO_NET_CTRL_RX_PROMISC: filter->is_promiscuous = is_on; return true;
	case VIRTIO_NET_CTRL_RX_ALLMULTI: filter->takes_all_multicast = is_on; return true;
	case VIRTIO_NET_CTRL_RX_ALLUNI: filter->takes_all_unicast = is_on; return true;
	case VIRTIO_NET_CTRL_RX_NOMULTI: filter->no_multicast = is_on; return true;
	case VIRTIO_NET_CTRL_RX_NOUNI: filter->no_unicast = is_on; return true;
	case VIRTIO_NET_CTRL_RX_NOBCAST: filter->no_broadcast = is_on; return true;
	default: return false;
	}
}

bool network_filter_set_vlan(struct network_filter *filter, uint16_t vlan, bool is_on)
{
	uint8_t bit = 1u << vlan % 8;

	if (vlan >= NET_FILTER_VLANS)
		return false;
	filter->vlans[vlan / 8] = is_on ? filter->vlans[vlan / 8] | bit : filter->vlans[vlan / 8] & ~bit;
	return true;
}

static bool is_listed(const struct network_filter_list *list, const uint8_t *mac)
{
	unsigned i;

	for (i = 0; i < list->count; i++)
		if (memcmp(list->macs[i], mac, NET_MAC_BYTES) == 0)
			return true;
	return list->overflows;
}

static bool vlan_is_taken(const struct network_filter *filter, const uint8_t *frame, size_t size)
{
	unsigned vlan;

	if (!filter->has_vlans || size < ETH_HLEN + 4 || get_be16(frame + 2 * NET_MAC_BYTES) != ETH_P_8021Q)
		return true;
	vlan = get_be16(frame + ETH_HLEN) & VLAN_ID;
	return filter->vlans[vlan / 8] >> vlan % 8 & 1;
}

bool network_filter_takes(const struct network_filter *filter, const uint8_t mac[NET_MAC_BYTES], const uint8_t *frame,
			  size_t size)
{
	static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (filter->is_promiscuous || size < ETH_HLEN)
		return true;
	if (!vlan_is_taken(filter, frame, size))
		return false;
	if (memcmp(frame, broadcast, NET_MAC_BYTES) == 0)
		return !filter->no_broadcast;
	if (frame[0] & 1)
		return !filter->no_multicast && (filter->takes_all_multicast || is_listed(&filter->multicast, frame));
	return !filter->no_unicast && (filter->takes_all_unicast || memcmp(frame, mac, NET_MAC_BYTES) == 0 ||
				       is_listed(&filter->unicast, frame));
}

static void transfer_list(struct network_filter_list *list, struct state_stream *state)
{
	state_bool(state, "list overflows", &list->overflows);
	state_u8(state, "listed addresses", &list->count);
	state_check(state, "listed addresses", list->count <= NET_FILTER_MACS);
	state_bytes(state, "list of addresses", list->macs, sizeof(list->macs));
}

void network_filter_transfer(struct network_filter *filter, struct state_stream *state)
{
	state_bool(state, "promiscuous", &filter->is_promiscuous);
	state_bool(state, "all multicast", &filter->takes_all_multicast);
	state_bool(state, "all unicast", &filter->takes_all_unicast);
	state_bool(state, "no multicast", &filter->no_multicast);
	state_bool(state, "no unicast", &filter->no_unicast);
	state_bool(state, "no broadcast", &filter->no_broadcast);
	state_bool(state, "vlans are chosen", &filter->has_vlans);
	transfer_list(&filter->unicast, state);
	transfer_list(&filter->multicast, state);
	state_bytes(state, "vlans", filter->vlans, sizeof(filter->vlans));
}
