/*
 * Queues: 2N receives and 2N + 1 transmits, for each queue of the link; behind those of all pairs (VIRTIO_NET_F_MQ), or else
 * of the first, is the one that controls (§5.1.2). What comes by a queue of the link that has no pair of its own, because the
 * driver uses fewer, goes to one that is used.
 *
 * Transmitting: a chain is a header and a frame. A link with headers takes both as they are, straight from
 * guest memory: what is behind it checks them. For others the checksum that the header leaves open is
 * completed here. A frame that the link has no room for is lost, as on any network.
 *
 * Receiving: a frame is read when the driver has buffers, into memory of our own, and spread over as many
 * chains as it takes; the driver sees all of them or none. While it has too few, the link waits. A frame
 * that no chain can hold is dropped; so is what comes while there is no driver.
 *
 * Of the frames that come the device takes those that the driver wants (network_filter.h).
 */
#include "device/virtio/network.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/net_checksum.h"
#include "util/loop_thread.h"

#define QUEUE_SIZE	   256
#define CONTROL_QUEUE_SIZE 64
#define HEADER_BYTES	   sizeof(struct virtio_net_hdr_v1)
#define SHORT_HEADER_BYTES sizeof(struct virtio_net_hdr) /* the same without the number of buffers */
#define FRAMES_AT_ONCE	   64
#define CHAINS_MAX	   64 /* of one received frame */

/* Of the link: its descriptor is the link's. */
struct link_queue {
	struct network *network;
	unsigned index;
	struct event_source source; /* enabled while the driver has buffers */
	/* With the device's lock held: */
	/* A received frame with its header; `pending` bytes of it wait for buffers. */
	_Alignas(struct virtio_net_hdr_v1) uint8_t received[HEADER_BYTES + NET_FRAME_MAX];
	size_t pending;
};

struct network {
	struct virtio_device virtio;
	struct net_link link;	    /* owned */
	struct loop_thread thread;  /* its own, where the host lets it have one */
	struct link_queue *queues;  /* owned */
	unsigned pairs;		    /* as many as the link has queues */
	/* With the lock held: */
	uint8_t mac[MAC_BYTES], loaded_mac[MAC_BYTES];
	uint8_t first_mac[MAC_BYTES]; /* fixed: after a reset */
	bool is_down; /* the cable is out */
	struct network_filter filter, loaded_filter;
	bool is_watched; /* the listener is to hear when the filter or the address changes next */
	bool has_changed; /* ... which it has */
	/* Fixed: */
	struct virtio_network_listener listener;
	uint16_t mtu; /* 0: none is told */
	uint16_t used_pairs, loaded_pairs;
	uint8_t sent[HEADER_BYTES + NET_FRAME_MAX];
};

static struct network *network_of(struct virtio_device *virtio)
{
	return (struct network *)((char *)virtio - offsetof(struct network, virtio));
}

static unsigned receive_queue(const struct link_queue *queue)
{
	return 2 * (queue->index % queue->network->used_pairs);
}

static unsigned control_queue(const struct network *network)
{
	return virtio_has(&network->virtio, VIRTIO_NET_F_MQ) ? 2 * network->pairs : 2;
}

/* The header that the driver knows: without mergeable buffers, a legacy one's is shorter (§5.1.6). */
static size_t header_bytes(const struct network *network)
{
	bool is_long = virtio_is_modern(&network->virtio) ||
		       virtio_has(&network->virtio, VIRTIO_NET_F_MRG_RXBUF);

	return is_long ? HEADER_BYTES : SHORT_HEADER_BYTES;
}

/* --- receiving --- */

/* Take chains until they hold `size` bytes. Their number; 0: the driver has too few, and keeps them. */
static unsigned take_chains(struct link_queue *queue, size_t size, struct virtqueue_filled *filled)
{
	struct network *network = queue->network;
	bool may_merge = virtio_has(&network->virtio, VIRTIO_NET_F_MRG_RXBUF);
	struct virtqueue *ring = &network->virtio.queues[receive_queue(queue)].ring;
	unsigned count = 0, max = may_merge ? CHAINS_MAX : 1;
	size_t room = 0;

	while (room < size && count < max &&
	       virtio_pop(&network->virtio, receive_queue(queue), &filled[count].chain)) {
		room += filled[count].chain->writable_bytes;
		count++;
	}
	if (room >= size)
		return count;
	/* Chains enough, but what they hold isn't: no number of them will do. */
	if (count == max)
		queue->pending = 0;
	while (count)
		virtqueue_unpop(ring, filled[--count].chain);
	return 0;
}

/* Hand a received frame over. False: it waits, or was dropped. */
static bool deliver(struct link_queue *queue)
{
	struct network *network = queue->network;
	struct virtqueue_filled filled[CHAINS_MAX];
	struct virtio_net_hdr_v1 *header = (struct virtio_net_hdr_v1 *)queue->received;
	size_t skipped = HEADER_BYTES - header_bytes(network);
	size_t size = queue->pending - skipped, done = 0;
	const uint8_t *bytes = queue->received + skipped;
	unsigned count, i;

	/* No frame comes without a whole header, nor without a cable, nor one that the driver does not want. */
	if (queue->pending < HEADER_BYTES || network->is_down ||
	    !network_filter_takes(&network->filter, network->mac, queue->received + HEADER_BYTES,
				  queue->pending - HEADER_BYTES))
		queue->pending = 0;
	count = queue->pending ? take_chains(queue, size, filled) : 0;
	if (!count)
		return false;
	header->num_buffers = count;
	/* What is left out is the end of the header. */
	memmove(queue->received + skipped, queue->received, HEADER_BYTES - skipped);
	for (i = 0; i < count; i++) {
		filled[i].written = virtqueue_write(filled[i].chain, 0, bytes + done, size - done);
		done += filled[i].written;
	}
	queue->pending = 0;
	virtqueue_push_all(&network->virtio.queues[receive_queue(queue)].ring, filled, count);
	return true;
}

/* Read a frame with its header. False: there is none. */
static bool read_frame(struct link_queue *queue)
{
	const struct network *network = queue->network;
	size_t skipped = network->link.has_header ? 0 : HEADER_BYTES;
	struct virtio_net_hdr_v1 header = {.flags = 0};
	ssize_t size = read(queue->source.fd, queue->received + skipped, sizeof(queue->received) - skipped);

	if (size <= 0)
		return false;
	if (skipped) {
		/* What a process of ours made arrived whole. */
		if (virtio_has(&network->virtio, VIRTIO_NET_F_GUEST_CSUM))
			header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		memcpy(queue->received, &header, sizeof(header));
	}
	queue->pending = size + skipped;
	if (queue->pending > HEADER_BYTES)
		net_capture_frame(network->link.capture, queue->received + HEADER_BYTES, queue->pending - HEADER_BYTES);
	return true;
}

/* With the lock held. Whether the link is to be looked at again. */
static bool receive(struct link_queue *queue)
{
	struct network *network = queue->network;
	struct virtqueue *ring = &network->virtio.queues[receive_queue(queue)].ring;
	unsigned frames;
	bool wants_more = true;

	for (frames = 0; frames < FRAMES_AT_ONCE; frames++) {
		if (!queue->pending && !read_frame(queue))
			break;
		if (deliver(queue) || !queue->pending)
			continue;
		/* It waits for buffers: to hear of them, and to look once more. */
		wants_more = virtqueue_want_notices(ring, true) && virtio_is_running(&network->virtio);
		if (!wants_more)
			break;
	}
	virtio_interrupt(&network->virtio, receive_queue(queue));
	return wants_more;
}

static void link_ready(void *context)
{
	struct link_queue *queue = context;
	struct virtio_device *virtio = &queue->network->virtio;
	unsigned frames;

	pthread_mutex_lock(&virtio->lock);
	if (virtio_is_running(virtio)) {
		if (!receive(queue))
			event_source_enable(&queue->source, false);
	} else if (virtio->is_held || (virtio->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		event_source_enable(&queue->source, false);
	} else {
		for (frames = 0; frames < FRAMES_AT_ONCE && read_frame(queue); frames++)
			;
		queue->pending = 0;
		/* Its end has gone: nothing will come any more. */
		if (!frames)
			event_source_enable(&queue->source, false);
	}
	pthread_mutex_unlock(&virtio->lock);
}

/* --- transmitting --- */

/* Complete a checksum that the driver left open (§5.1.6.2): from csum_start on, stored csum_offset later. */
static void complete_checksum(uint8_t *frame, size_t size, const struct virtio_net_hdr_v1 *header)
{
	net_checksum_put(frame, size, header->csum_start, size, header->csum_start + header->csum_offset);
}

/* A frame that doesn't reach the link is lost. */
static void transmit(struct network *network, int fd, const struct virtqueue_chain *chain)
{
	struct virtio_net_hdr_v1 header = {.flags = 0};
	size_t head = header_bytes(network), size;
	ssize_t sent;

	if (network->is_down)
		return;
	virtqueue_read(chain, 0, &header, head);
	memcpy(network->sent, &header, sizeof(header));
	size = HEADER_BYTES + virtqueue_read(chain, head, network->sent + HEADER_BYTES,
					     sizeof(network->sent) - HEADER_BYTES);
	if (network->link.has_header) {
		net_capture_frame(network->link.capture, network->sent + HEADER_BYTES, size - HEADER_BYTES);
		sent = write(fd, network->sent, size);
	} else {
		size -= HEADER_BYTES;
		if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			complete_checksum(network->sent + HEADER_BYTES, size, &header);
		net_capture_frame(network->link.capture, network->sent + HEADER_BYTES, size);
		sent = write(fd, network->sent + HEADER_BYTES, size);
	}
	(void)sent;
}

static void transmit_all(struct virtio_device *virtio, unsigned queue)
{
	struct network *network = network_of(virtio);
	struct virtqueue *ring = &virtio->queues[queue].ring;
	int fd = network->queues[queue / 2].source.fd;
	struct virtqueue_filled filled = {NULL, 0};

	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, queue, &filled.chain)) {
			if (filled.chain->readable_bytes > header_bytes(network))
				transmit(network, fd, filled.chain);
			virtqueue_push_all(ring, &filled, 1);
		}
		virtio_interrupt(virtio, queue);
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}

/* --- control (§5.1.6.5) --- */

/* The filter has changed, or the address: whoever has asked for it hears so, once. With the lock held. */
static void note_change(struct network *network)
{
	if (!network->is_watched)
		return;
	network->is_watched = false;
	network->has_changed = true;
	if (network->listener.changed)
		network->listener.changed(network->listener.context);
}

/* A list at *at of the chain, which ends behind it. Whether it is whole. */
static bool read_list(const struct virtqueue_chain *chain, uint64_t *at, struct network_filter_list *list)
{
	uint32_t entries;

	*list = (struct network_filter_list){.count = 0};
	if (virtqueue_read(chain, *at, &entries, sizeof(entries)) < sizeof(entries))
		return false;
	*at += sizeof(entries);
	list->overflows = entries > NET_FILTER_MACS;
	list->count = list->overflows ? 0 : entries;
	virtqueue_read(chain, *at, list->macs, list->count * MAC_BYTES);
	*at += (uint64_t)entries * MAC_BYTES;
	return *at <= chain->readable_bytes;
}

/* Lists of addresses: both whole, or nothing changes. */
static bool set_lists(struct network *network, const struct virtqueue_chain *chain)
{
	uint64_t at = sizeof(struct virtio_net_ctrl_hdr);
	struct network_filter_list unicast, multicast;

	if (!read_list(chain, &at, &unicast) || !read_list(chain, &at, &multicast))
		return false;
	network->filter.unicast = unicast;
	network->filter.multicast = multicast;
	return true;
}

static bool set_mode(struct network *network, uint8_t mode, const struct virtqueue_chain *chain)
{
	uint8_t is_on;

	virtqueue_read(chain, sizeof(struct virtio_net_ctrl_hdr), &is_on, sizeof(is_on));
	return network_filter_set_mode(&network->filter, mode, is_on);
}

static bool set_vlan(struct network *network, bool is_on, const struct virtqueue_chain *chain)
{
	uint16_t vlan;

	virtqueue_read(chain, sizeof(struct virtio_net_ctrl_hdr), &vlan, sizeof(vlan));
	return network_filter_set_vlan(&network->filter, vlan, is_on);
}

static bool set_mac(struct network *network, const struct virtqueue_chain *chain)
{
	uint8_t mac[MAC_BYTES];

	if (virtqueue_read(chain, sizeof(struct virtio_net_ctrl_hdr), mac, MAC_BYTES) < MAC_BYTES)
		return false;
	memcpy(network->mac, mac, MAC_BYTES);
	return true;
}

/* What waits for buffers may wait for those of another queue now. */
static void use_pairs(struct network *network, unsigned pairs)
{
	unsigned i;

	network->used_pairs = pairs;
	for (i = 0; i < network->pairs; i++)
		event_source_enable(&network->queues[i].source, true);
}

static bool set_pairs(struct network *network, const struct virtqueue_chain *chain)
{
	struct virtio_net_ctrl_mq command;

	virtqueue_read(chain, sizeof(struct virtio_net_ctrl_hdr), &command, sizeof(command));
	if (command.virtqueue_pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || command.virtqueue_pairs > network->pairs)
		return false;
	use_pairs(network, command.virtqueue_pairs);
	return true;
}

static bool obey(struct network *network, const struct virtqueue_chain *chain)
{
	uint64_t bytes = chain->readable_bytes - sizeof(struct virtio_net_ctrl_hdr);
	struct virtio_net_ctrl_hdr header;

	virtqueue_read(chain, 0, &header, sizeof(header));
	switch (header.class) {
	case VIRTIO_NET_CTRL_RX: return bytes == 1 && set_mode(network, header.cmd, chain);
	case VIRTIO_NET_CTRL_MAC:
		return header.cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET   ? set_mac(network, chain)
		       : header.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET && set_lists(network, chain);
	case VIRTIO_NET_CTRL_MQ:
		return header.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && bytes == sizeof(struct virtio_net_ctrl_mq) &&
		       virtio_has(&network->virtio, VIRTIO_NET_F_MQ) && set_pairs(network, chain);
	case VIRTIO_NET_CTRL_VLAN:
		return header.cmd <= VIRTIO_NET_CTRL_VLAN_DEL && bytes == 2 &&
		       set_vlan(network, header.cmd == VIRTIO_NET_CTRL_VLAN_ADD, chain);
	default: return false;
	}
}

static void control(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue_chain *chain;
	uint8_t status;

	while (virtio_pop(virtio, queue, &chain)) {
		if (chain->readable_bytes < sizeof(struct virtio_net_ctrl_hdr) ||
		    !chain->writable_bytes) {
			virtio_break(virtio, "a command has no header, or no room for its answer");
			virtqueue_drop(chain);
			return;
		}
		status = obey(network_of(virtio), chain) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		if (status == VIRTIO_NET_OK)
			note_change(network_of(virtio));
		virtqueue_write(chain, 0, &status, sizeof(status));
		virtio_push(virtio, queue, chain, sizeof(status));
	}
	if (virtqueue_want_notices(&virtio->queues[queue].ring, true))
		virtio_notify(virtio, queue);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct network *network = network_of(virtio);
	unsigned control_at = control_queue(network), i;

	if (queue == control_at)
		control(virtio, queue);
	else if (queue < control_at && queue % 2)
		transmit_all(virtio, queue);
	/* There are buffers: the link may go on, with what waits first. */
	for (i = 0; i < network->pairs && queue < control_at; i++)
		if (receive_queue(&network->queues[i]) == queue && receive(&network->queues[i]))
			event_source_enable(&network->queues[i].source, true);
}

/* --- configuration and life --- */

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	struct virtio_net_config config = {.max_virtqueue_pairs = network_of(virtio)->pairs,
					   .mtu = network_of(virtio)->mtu};

	config.status = network_of(virtio)->is_down ? 0 : VIRTIO_NET_S_LINK_UP;
	memcpy(config.mac, network_of(virtio)->mac, MAC_BYTES);
	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

/* A legacy driver without the command writes the address here (§5.1.4.1). */
static void write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	struct network *network = network_of(virtio);

	if (offset >= MAC_BYTES || size > MAC_BYTES - offset || virtio_is_modern(virtio) ||
	    virtio_has(virtio, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return;
	memcpy(network->mac + offset, bytes, size);
	note_change(network);
}

/* What the driver can take is what the other side of the link may send. */
static void started(struct virtio_device *virtio)
{
	struct network *network = network_of(virtio);
	const struct net_offloads offloads = {
		.checksum = virtio_has(virtio, VIRTIO_NET_F_GUEST_CSUM),
		.tso4 = virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO4),
		.tso6 = virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO6),
		.ecn = virtio_has(virtio, VIRTIO_NET_F_GUEST_ECN),
	};

	network->filter.has_vlans = virtio_has(virtio, VIRTIO_NET_F_CTRL_VLAN);
	if (network->link.has_header && net_tap_set_offloads(&network->link, &offloads) < 0)
		virtio_break(virtio, "the tap interface refuses its features");
}

void virtio_network_set_link(struct virtio_device *virtio, bool is_up)
{
	struct network *network = network_of(virtio);

	pthread_mutex_lock(&virtio->lock);
	if (network->is_down == is_up) {
		network->is_down = !is_up;
		virtio_config_changed(virtio);
	}
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_network_read_filter(struct virtio_device *virtio, struct network_filter *filter, uint8_t mac[MAC_BYTES])
{
	struct network *network = network_of(virtio);

	pthread_mutex_lock(&virtio->lock);
	*filter = network->filter;
	memcpy(mac, network->mac, MAC_BYTES);
	network->is_watched = true;
	pthread_mutex_unlock(&virtio->lock);
}

bool virtio_network_take_change(struct virtio_device *virtio)
{
	struct network *network = network_of(virtio);
	bool has_changed;

	pthread_mutex_lock(&virtio->lock);
	has_changed = network->has_changed;
	network->has_changed = false;
	pthread_mutex_unlock(&virtio->lock);
	return has_changed;
}

static void reset(struct virtio_device *virtio)
{
	struct network *network = network_of(virtio);
	unsigned i;

	memcpy(network->mac, network->first_mac, MAC_BYTES);
	network_filter_reset(&network->filter);
	for (i = 0; i < network->pairs; i++)
		network->queues[i].pending = 0;
	use_pairs(network, 1);
}

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct network *network = network_of(virtio);

	if (!state->is_loading)
		memcpy(network->loaded_mac, network->mac, MAC_BYTES);
	state_bytes(state, "mac", network->loaded_mac, MAC_BYTES);
	/* Before there was one, all frames were taken. */
	if (state->is_loading)
		network_filter_reset(&network->loaded_filter);
	else
		network->loaded_filter = network->filter;
	if (state->version >= VIRTIO_STATE_FILTER)
		network_filter_transfer(&network->loaded_filter, state);
	if (network->pairs == 1)
		return;
	if (!state->is_loading)
		network->loaded_pairs = network->used_pairs;
	state_u16(state, "pairs of queues", &network->loaded_pairs);
	state_check(state, "pairs of queues", network->loaded_pairs >= 1 && network->loaded_pairs <= network->pairs);
}

static void loaded(struct virtio_device *virtio)
{
	struct network *network = network_of(virtio);

	memcpy(network->mac, network->loaded_mac, MAC_BYTES);
	network->filter = network->loaded_filter;
	if (network->pairs > 1)
		use_pairs(network, network->loaded_pairs);
}

static void destroy(struct virtio_device *virtio)
{
	struct network *network = network_of(virtio);
	struct link_queue *queues = network->queues;
	struct loop_thread thread;
	unsigned i;

	loop_thread_stop(&network->thread);
	thread = network->thread;
	for (i = 0; i < network->pairs; i++)
		event_loop_remove(&queues[i].source);
	net_link_close(&network->link);
	virtio_destroy(virtio);
	free(queues);
	loop_thread_destroy(&thread);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_NET,
	.name = "virtio-net",
	.read_config = read_config,
	.write_config = write_config,
	.started = started,
	.reset = reset,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = destroy,
};

/* §5.1.3.1: what is left of the features without some of them. */
static uint64_t leave_out(uint64_t features, uint64_t without)
{
	static const struct {
		unsigned needed;
		uint64_t by;
	} needs[] = {
		{VIRTIO_NET_F_CSUM, 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6},
		{VIRTIO_NET_F_GUEST_CSUM, 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6},
		{VIRTIO_NET_F_CTRL_VQ, 1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_VLAN |
					       1ull << VIRTIO_NET_F_CTRL_MAC_ADDR | 1ull << VIRTIO_NET_F_MQ},
		{VIRTIO_NET_F_CTRL_RX, 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA},
	};
	const uint64_t host_tso = 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6;
	const uint64_t guest_tso = 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6;
	unsigned i;

	features &= ~without;
	for (i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (!(features >> needs[i].needed & 1))
			features &= ~needs[i].by;
	/* ECN is for either kind of segments. */
	if (!(features & host_tso))
		features &= ~(1ull << VIRTIO_NET_F_HOST_ECN);
	if (!(features & guest_tso))
		features &= ~(1ull << VIRTIO_NET_F_GUEST_ECN);
	return features;
}

static uint64_t features_of(const struct net_link *link, const struct virtio_network_config *config)
{
	uint64_t features = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
			    1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_CTRL_VQ |
			    1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA |
			    1ull << VIRTIO_NET_F_CTRL_VLAN | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR |
			    1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM;

	if (config->has_mq)
		features |= 1ull << VIRTIO_NET_F_MQ;
	if (config->mtu)
		features |= 1ull << VIRTIO_NET_F_MTU;
	if (link->has_header)
		features |= 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
			    1ull << VIRTIO_NET_F_GUEST_ECN | 1ull << VIRTIO_NET_F_HOST_TSO4 |
			    1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN;
	return leave_out(features, config->without);
}

/* Frames come and go on this loop; on a thread of its own if it has one. 0 or -errno. */
static int watch_link(struct network *network, struct event_loop *loop, struct error *error)
{
	unsigned i;
	int result;

	for (i = 0; i < network->pairs; i++) {
		result = loop ? event_loop_add(loop, &network->queues[i].source) : 0;
		if (result < 0)
			return error_set_errno(error, -result, "cannot watch the network's link");
	}
	return network->thread.loop ? loop_thread_start(&network->thread, error) : 0;
}

struct virtio_device *virtio_network_create(const struct virtio_host *host, const struct net_link *link,
					    const struct virtio_network_config *config, struct error *error)
{
	unsigned pairs = link->more_count + 1, i;
	uint16_t sizes[2 * NET_QUEUES_MAX + 1];
	struct link_queue *queues = calloc(pairs, sizeof(*queues));
	struct virtio_host own_host = *host;
	struct loop_thread thread = {0};
	struct net_link own = *link;
	struct virtio_device *virtio;
	struct network *network;

	if (!queues) {
		error_set_errno(error, ENOMEM, "a network device");
		goto fail;
	}
	for (i = 0; i < 2 * pairs; i++)
		sizes[i] = QUEUE_SIZE;
	sizes[i] = CONTROL_QUEUE_SIZE;
	if (host->has_threads) {
		if (loop_thread_create(&thread, "kvik net", error) < 0)
			goto fail;
		own_host.loop = thread.loop;
	}
	virtio = virtio_device_create(sizeof(struct network), &kind, &own_host, features_of(&own, config),
				      config->mtu ? offsetof(struct virtio_net_config, speed)
						  : offsetof(struct virtio_net_config, mtu), sizes, 2 * pairs + 1, error);
	if (!virtio)
		goto fail;
	network = network_of(virtio);
	network->thread = thread;
	network->link = own;
	network->queues = queues;
	network->pairs = pairs;
	network->used_pairs = 1;
	for (i = 0; i < pairs; i++) {
		queues[i].network = network;
		queues[i].index = i;
		queues[i].source = (struct event_source){
			.fd = i ? own.more_fds[i - 1] : own.fd, .ready = link_ready, .context = &queues[i]};
	}
	network->mtu = config->mtu;
	memcpy(network->first_mac, config->mac, MAC_BYTES);
	memcpy(network->mac, config->mac, MAC_BYTES);
	network_filter_reset(&network->filter);
	network->listener = config->listener;
	if (watch_link(network, own_host.loop, error) == 0)
		return virtio;
	destroy(virtio);
	return NULL;

fail:
	free(queues);
	loop_thread_destroy(&thread);
	net_link_close(&own);
	return NULL;
}
