/*
 * The rings of Intel's gigabit cards (82540EM's manual §3.2 and §3.3): packets go out when all of their descriptors are
 * there; frames come in when they are wanted and there are descriptors for all of one.
 */
#include "device/e1000_parts.h"

#include <string.h>
#include <unistd.h>

#define DESCRIPTOR_BYTES 16
#define FRAME_STANDARD	 1514
#define VLAN_AT		 12
#define PACKET_DESCRIPTORS 1024 /* of one packet to be sent */

struct rx_descriptor {
	uint64_t address;
	uint16_t length, checksum;
	uint8_t status, errors;
	uint16_t special;
};

/* --- counters; with the lock held --- */

/* Counters stay at their end (§13.7). */
static void count(struct e1000 *e1000, unsigned offset)
{
	if (*e1000_at(e1000, offset) != ~0u)
		++*e1000_at(e1000, offset);
}

static void count_bytes(struct e1000 *e1000, unsigned offset, size_t bytes)
{
	uint64_t sum = ((uint64_t)*e1000_at(e1000, offset + 4) << 32 | *e1000_at(e1000, offset)) + bytes;

	*e1000_at(e1000, offset) = sum;
	*e1000_at(e1000, offset + 4) = sum >> 32;
}

void e1000_kick(struct e1000 *e1000)
{
	event_signal_raise(&e1000->kick);
}

/* --- rings --- */

uint32_t e1000_ring_filled(struct e1000 *e1000, unsigned base)
{
	uint32_t size = *e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES;
	uint32_t head = *e1000_at(e1000, base + 0x10), tail = *e1000_at(e1000, base + 0x18);

	if (head >= size || tail >= size)
		return 0;
	return tail >= head ? tail - head : size - head + tail;
}

uint64_t e1000_ring_entry(struct e1000 *e1000, unsigned base, uint32_t number)
{
	uint32_t size = *e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES;
	uint32_t index = (*e1000_at(e1000, base + 0x10) + number) % size;

	return ((uint64_t)*e1000_at(e1000, base + 4) << 32 | *e1000_at(e1000, base)) + (uint64_t)index * DESCRIPTOR_BYTES;
}

void e1000_ring_advance(struct e1000 *e1000, unsigned base, uint32_t by)
{
	*e1000_at(e1000, base + 0x10) = (*e1000_at(e1000, base + 0x10) + by) % (*e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES);
}

/* --- transmitting; with the lock held --- */

static void send_frame(void *to, uint8_t *frame, size_t size)
{
	static const uint8_t header[HEADER_BYTES];
	struct e1000 *e1000 = to;
	static _Thread_local uint8_t whole[HEADER_BYTES + E1000_TX_MAX + VLAN_BYTES];
	ssize_t sent;

	count(e1000, TPT);
	count(e1000, GPTC);
	count_bytes(e1000, GOTCL, size + CRC_BYTES);
	count_bytes(e1000, TOTL, size + CRC_BYTES);
	/* What doesn't reach the link is lost, as on any network. */
	if (e1000->is_down)
		return;
	net_capture_frame(e1000->link.capture, frame, size);
	if (e1000->link.has_header) {
		memcpy(whole, header, sizeof(header));
		memcpy(whole + sizeof(header), frame, size);
		sent = write(e1000->link.fd, whole, size + sizeof(header));
	} else {
		sent = write(e1000->link.fd, frame, size);
	}
	(void)sent;
}

/* Tell the driver that it is done, if it wants to know. Whether it does. */
static bool write_back(struct e1000 *e1000, uint64_t place, const struct e1000_tx_descriptor *descriptor)
{
	uint32_t status = descriptor->status | E1000_TXD_DONE;

	if (!(descriptor->command & (E1000_TXD_RS | E1000_TXD_RPS)))
		return false;
	pci_dma_write(&e1000->function, place + offsetof(struct e1000_tx_descriptor, status), &status, sizeof(status));
	return true;
}

/* Send a packet of `number` descriptors from a queue's head on, or take a context. Causes of an interrupt. */
static uint32_t send_descriptors(struct e1000 *e1000, unsigned queue, const struct e1000_tx_descriptor *descriptors,
				 uint32_t number)
{
	struct e1000_packet packet = {
		.context = &e1000->contexts[queue],
		.first = descriptors,
		.last = &descriptors[number - 1],
		.vlan_type = *e1000_at(e1000, VET),
		.frame = e1000->sent,
	};
	uint32_t causes = 0, length, i;
	bool is_lost = false;

	for (i = 0; i < number; i++) {
		length = e1000_tx_length(&descriptors[i]);
		if (e1000_is_context(&descriptors[i])) {
			e1000->contexts[queue] = descriptors[i];
		} else if (length > E1000_TX_MAX - packet.size ||
			   (length && pci_dma_read(&e1000->function, descriptors[i].address,
						   packet.frame + packet.size, length) < 0)) {
			is_lost = true;
		} else {
			packet.size += length;
		}
	}
	if (!is_lost)
		e1000_send_packet(&packet, send_frame, e1000);
	for (i = 0; i < number; i++)
		if (write_back(e1000, e1000_ring_entry(e1000, TDBAL + queue * QUEUE_BYTES, i), &descriptors[i]))
			causes |= ICR_TXDW;
	return causes;
}

/* The next packet, or context. How many descriptors it has; 0: it isn't whole. */
static uint32_t find_packet(struct e1000 *e1000, unsigned base, struct e1000_tx_descriptor *descriptors)
{
	uint32_t filled = e1000_ring_filled(e1000, base), i;

	for (i = 0; i < filled && i < PACKET_DESCRIPTORS; i++) {
		if (pci_dma_read(&e1000->function, e1000_ring_entry(e1000, base, i), &descriptors[i],
				 sizeof(descriptors[i])) < 0)
			return 0;
		/* A context may stand before a packet, alone. */
		if (i == 0 && e1000_is_context(&descriptors[0]))
			return 1;
		if (descriptors[i].command & E1000_TXD_EOP)
			return i + 1;
	}
	/* Longer than any packet: it is lost. */
	return i == PACKET_DESCRIPTORS ? i : 0;
}

static bool transmit(struct e1000 *e1000, unsigned queue)
{
	static _Thread_local struct e1000_tx_descriptor descriptors[PACKET_DESCRIPTORS];
	unsigned base = TDBAL + queue * QUEUE_BYTES, packets;
	uint32_t causes = 0, number = 0;

	for (packets = 0; packets < PACKETS_AT_ONCE; packets++) {
		if (e1000->is_held || !(*e1000_at(e1000, TCTL) & TCTL_EN))
			break;
		number = find_packet(e1000, base, descriptors);
		if (!number)
			break;
		causes |= send_descriptors(e1000, queue, descriptors, number);
		e1000_ring_advance(e1000, base, number);
	}
	if (packets && !e1000_ring_filled(e1000, base))
		causes |= ICR_TXQE;
	if (causes)
		e1000->model->raise(e1000, causes, queue);
	return packets == PACKETS_AT_ONCE;
}

bool e1000_transmit(struct e1000 *e1000)
{
	bool may_have_more = false;
	unsigned i;

	for (i = 0; i < e1000->model->queues; i++)
		may_have_more |= transmit(e1000, i);
	return may_have_more;
}

/* --- receiving; with the lock held --- */

static bool is_tagged(struct e1000 *e1000, const uint8_t *frame)
{
	uint32_t type = *e1000_at(e1000, VET) & 0xffff;

	return (frame[VLAN_AT] << 8 | frame[VLAN_AT + 1]) == (int)type;
}

/* Whether the driver wants a frame (§3.2.1). */
static bool is_wanted(struct e1000 *e1000, const uint8_t *frame)
{
	static const uint8_t broadcast[E1000_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t shifts[] = {4, 3, 2, 0};
	uint32_t control = *e1000_at(e1000, RCTL), hash, high;
	unsigned i, tag;

	if ((control & RCTL_VFE) && is_tagged(e1000, frame)) {
		tag = (frame[VLAN_AT + 2] << 8 | frame[VLAN_AT + 3]) & 0xfff;
		if (!(*e1000_at(e1000, VFTA + tag / 32 * 4) >> tag % 32 & 1))
			return false;
	}
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0 && (control & RCTL_BAM))
		return true;
	if (control & (frame[0] & 1 ? RCTL_MPE : RCTL_UPE))
		return true;
	for (i = 0; i < ADDRESSES; i++) {
		high = *e1000_at(e1000, RAL + 8 * i + 4);
		if ((high & RAH_VALID) && memcmp(e1000_at(e1000, RAL + 8 * i), frame, 4) == 0 &&
		    (high & 0xffff) == (frame[4] | (uint32_t)frame[5] << 8))
			return true;
	}
	/* Twelve bits of the address choose one of the table's. */
	hash = (frame[4] | (uint32_t)frame[5] << 8) >> shifts[control >> 12 & 3] & 0xfff;
	return (frame[0] & 1) && (*e1000_at(e1000, MTA + hash / 32 * 4) >> hash % 32 & 1);
}

uint32_t e1000_buffer_bytes(struct e1000 *e1000)
{
	uint32_t control = *e1000_at(e1000, RCTL), size = 2048u >> (control >> 16 & 3);

	return control & RCTL_BSEX && size < 2048 ? size * 16 : size;
}

bool e1000_read_frame(struct e1000 *e1000)
{
	size_t skipped = e1000->link.has_header ? 0 : HEADER_BYTES, least = HEADER_BYTES + FRAME_MIN;
	ssize_t size = read(e1000->link.fd, e1000->received + skipped, HEADER_BYTES + NET_FRAME_MAX - skipped);

	if (size <= 0)
		return false;
	size += skipped;
	if (size > HEADER_BYTES)
		net_capture_frame(e1000->link.capture, e1000->received + HEADER_BYTES, size - HEADER_BYTES);
	if ((size_t)size < least) {
		memset(e1000->received + size, 0, least - size);
		size = least;
	}
	e1000->pending = size - HEADER_BYTES;
	return true;
}

static void count_received(struct e1000 *e1000, const uint8_t *frame)
{
	count(e1000, TPR);
	count(e1000, GPRC);
	if (frame[0] & 1)
		count(e1000, frame[0] == 0xff ? BPRC : MPRC);
	count_bytes(e1000, GORCL, e1000->pending + CRC_BYTES);
	count_bytes(e1000, TORL, e1000->pending + CRC_BYTES);
}

size_t e1000_frame_room(const struct e1000 *e1000)
{
	return e1000->pending + CRC_BYTES;
}

struct e1000_frame e1000_take_frame(struct e1000 *e1000)
{
	struct e1000_frame frame = {.bytes = e1000->received + HEADER_BYTES, .size = e1000->pending};

	count_received(e1000, frame.bytes);
	if ((*e1000_at(e1000, CTRL) & CTRL_VME) && is_tagged(e1000, frame.bytes)) {
		frame.tag = frame.bytes[VLAN_AT + 2] << 8 | frame.bytes[VLAN_AT + 3];
		frame.status = RXD_VP;
		memmove(frame.bytes + VLAN_BYTES, frame.bytes, VLAN_AT);
		frame.bytes += VLAN_BYTES;
		frame.size -= VLAN_BYTES;
	}
	if (!(*e1000_at(e1000, RCTL) & RCTL_SECRC)) {
		memset(frame.bytes + frame.size, 0, CRC_BYTES);
		frame.size += CRC_BYTES;
	}
	e1000->pending = 0;
	return frame;
}

bool e1000_deliver(struct e1000 *e1000)
{
	uint32_t each = e1000_buffer_bytes(e1000), i;
	struct rx_descriptor descriptor;
	struct e1000_frame frame;
	size_t done = 0, part;
	uint64_t place;

	if (e1000_ring_filled(e1000, RDBAL) < (e1000_frame_room(e1000) + each - 1) / each)
		return false;
	frame = e1000_take_frame(e1000);
	for (i = 0; done < frame.size; i++, done += part) {
		place = e1000_ring_entry(e1000, RDBAL, i);
		part = frame.size - done < each ? frame.size - done : each;
		descriptor = (struct rx_descriptor){.length = part, .status = RXD_DONE};
		if (done + part == frame.size)
			descriptor.status |= RXD_EOP | RXD_IXSM | frame.status;
		descriptor.special = frame.tag;
		/* Memory that isn't there swallows it, as a bus does. */
		if (pci_dma_read(&e1000->function, place, &descriptor.address, sizeof(descriptor.address)) == 0) {
			pci_dma_write(&e1000->function, descriptor.address, frame.bytes + done, part);
			pci_dma_write(&e1000->function, place + 8, (uint8_t *)&descriptor + 8, 8);
		}
	}
	e1000_ring_advance(e1000, RDBAL, i);
	return true;
}

bool e1000_is_receiving(struct e1000 *e1000)
{
	return !e1000->is_held && (*e1000_at(e1000, RCTL) & RCTL_EN);
}

static bool fits(struct e1000 *e1000)
{
	const uint8_t *frame = e1000->received + HEADER_BYTES;

	return e1000->pending <= FRAME_STANDARD + (is_tagged(e1000, frame) ? VLAN_BYTES : 0) ||
	       (*e1000_at(e1000, RCTL) & RCTL_LPE);
}

/* Whether the link is to be looked at again. */
bool e1000_receive(struct e1000 *e1000)
{
	uint32_t causes = 0, size;
	unsigned frames;
	bool waits = false;

	for (frames = 0; frames < PACKETS_AT_ONCE && e1000_is_receiving(e1000) && !waits; frames++) {
		if (!e1000->pending && !e1000_read_frame(e1000))
			break;
		if (e1000->is_down || !fits(e1000) || !is_wanted(e1000, e1000->received + HEADER_BYTES))
			e1000->pending = 0;
		else if (e1000->model->deliver(e1000))
			causes |= ICR_RXT0;
		else
			waits = true;
	}
	/* Descriptors are few: below a half, a quarter or an eighth of the ring (RDMTS). */
	size = *e1000_at(e1000, RDLEN) / DESCRIPTOR_BYTES;
	if (causes && e1000_ring_filled(e1000, RDBAL) <= size >> (1 + (*e1000_at(e1000, RCTL) >> 8 & 3)))
		causes |= ICR_RXDMT0;
	if (causes)
		e1000->model->raise(e1000, causes, 0);
	return !waits;
}
