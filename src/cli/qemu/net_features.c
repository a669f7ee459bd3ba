#include "cli/qemu/net_features.h"

#include <errno.h>
#include <linux/virtio_net.h>

#include "cli/qemu/keyval.h"

#define MTU_MIN 68 /* virtio 1.2 §5.1.4.1: RFC 791's */

static const struct {
	const char *name;
	unsigned feature;
} features[] = {
	{"mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
	{"csum", VIRTIO_NET_F_CSUM},
	{"guest_csum", VIRTIO_NET_F_GUEST_CSUM},
	{"guest_tso4", VIRTIO_NET_F_GUEST_TSO4},
	{"guest_tso6", VIRTIO_NET_F_GUEST_TSO6},
	{"guest_ecn", VIRTIO_NET_F_GUEST_ECN},
	{"host_tso4", VIRTIO_NET_F_HOST_TSO4},
	{"host_tso6", VIRTIO_NET_F_HOST_TSO6},
	{"host_ecn", VIRTIO_NET_F_HOST_ECN},
	{"status", VIRTIO_NET_F_STATUS},
	{"ctrl_vq", VIRTIO_NET_F_CTRL_VQ},
	{"ctrl_rx", VIRTIO_NET_F_CTRL_RX},
	{"ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA},
	{"ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN},
	{"ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR},
};

int net_features_take(const json_t *device, struct board_net *net, struct error *error)
{
	uint64_t mtu = 0;
	unsigned i;

	for (i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (json_is_false(json_object_get(device, features[i].name)))
			net->without |= 1ull << features[i].feature;
	if (keyval_number(device, "host_mtu", UINT16_MAX, &mtu, error) < 0)
		return -EINVAL;
	if (mtu && mtu < MTU_MIN)
		return error_set(error, EINVAL, "host_mtu=%u: use %u to %u", (unsigned)mtu, MTU_MIN, UINT16_MAX);
	net->mtu = mtu;
	return 0;
}
