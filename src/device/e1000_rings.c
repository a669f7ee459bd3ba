/*
 * An 82540EM's rings (manual §3.2 and §3.3): packets go out when all of their descriptors are there; frames come in
 * when they are wanted and there are descriptors for all of one.
 */
#include "device/e1000_parts.h"

#include <string.h>
#include <unistd.h>

/* Receive descriptors (§3.2.3). */
#define RXD_DONE 0x01
#define RXD_EOP	 0x02
#define RXD_IXSM 0x04
#define RXD_VP	 0x08
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

/* --- interrupts and counters; with the lock held --- */

void e1000_update_interrupt(struct e1000 *e1000)
{
	pci_set_intx(&e1000->function, *e1000_at(e1000, ICR) & *e1000_at(e1000, IMS));
}

void e1000_raise(struct e1000 *e1000, uint32_t causes)
{
	*e1000_at(e1000, ICR) |= causes;
	e1000_update_interrupt(e1000);
}

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
	uint64_t one = 1;

	if (write(e1000->kick.fd, &one, sizeof(one)) < 0)
		return; /* full: it is kicked */
}

/* --- rings --- */

static uint64_t ring_at(struct e1000 *e1000, unsigned base, uint32_t index)
{
	return ((uint64_t)*e1000_at(e1000, base + 4) << 32 | *e1000_at(e1000, base)) + (uint64_t)index * DESCRIPTOR_BYTES;
}

/* How many descriptors are there from the head to the tail; 0 of a ring that is none. */
static uint32_t ring_filled(struct e1000 *e1000, unsigned base)
{
	uint32_t size = *e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES;
	uint32_t head = *e1000_at(e1000, base + 0x10), tail = *e1000_at(e1000, base + 0x18);

	if (head >= size || tail >= size)
		return 0;
	return tail >= head ? tail - head : size - head + tail;
}

static void advance(struct e1000 *e1000, unsigned base, uint32_t by)
{
	*e1000_at(e1000, base + 0x10) = (*e1000_at(e1000, base + 0x10) + by) % (*e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES);
}

static uint32_t index_of(struct e1000 *e1000, unsigned base, uint32_t number)
{
	return (*e1000_at(e1000, base + 0x10) + number) % (*e1000_at(e1000, base + 8) / DESCRIPTOR_BYTES);
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
	if (e1000->link.has_header) {
		memcpy(whole, header, sizeof(header));
		memcpy(whole + sizeof(header), frame, size);
		sent = write(e1000->link.fd, whole, size + sizeof(header));
	} else {
		sent = write(e1000->link.fd, frame, size);
	}
	(void)sent;
}

static int read_descriptor(struct e1000 *e1000, uint32_t number, struct e1000_tx_descriptor *descriptor)
{
	return pci_dma_read(&e1000->function, ring_at(e1000, TDBAL, index_of(e1000, TDBAL, number)), descriptor,
			    sizeof(*descriptor));
}

/* Tell the driver that it is done, if it wants to know. Whether it does. */
static bool write_back(struct e1000 *e1000, uint32_t number, const struct e1000_tx_descriptor *descriptor)
{
	uint64_t place = ring_at(e1000, TDBAL, index_of(e1000, TDBAL, number));
	uint32_t status = descriptor->status | E1000_TXD_DONE;

	if (!(descriptor->command & (E1000_TXD_RS | E1000_TXD_RPS)))
		return false;
	pci_dma_write(&e1000->function, place + offsetof(struct e1000_tx_descriptor, status), &status, sizeof(status));
	return true;
}

/* Send a packet of `count` descriptors from the head on, or take a context. Causes of an interrupt. */
static uint32_t send_descriptors(struct e1000 *e1000, const struct e1000_tx_descriptor *descriptors, uint32_t number)
{
	struct e1000_packet packet = {
		.context = &e1000->context,
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
			e1000->context = descriptors[i];
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
		if (write_back(e1000, i, &descriptors[i]))
			causes |= ICR_TXDW;
	return causes;
}

/* The next packet, or context. How many descriptors it has; 0: it isn't whole. */
static uint32_t find_packet(struct e1000 *e1000, struct e1000_tx_descriptor *descriptors)
{
	uint32_t filled = ring_filled(e1000, TDBAL), i;

	for (i = 0; i < filled && i < PACKET_DESCRIPTORS; i++) {
		if (read_descriptor(e1000, i, &descriptors[i]) < 0)
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

/* Whether there may be more. */
bool e1000_transmit(struct e1000 *e1000)
{
	static _Thread_local struct e1000_tx_descriptor descriptors[PACKET_DESCRIPTORS];
	uint32_t causes = 0, number = 0;
	unsigned packets;

	for (packets = 0; packets < PACKETS_AT_ONCE; packets++) {
		if (e1000->is_held || !(*e1000_at(e1000, TCTL) & TCTL_EN))
			break;
		number = find_packet(e1000, descriptors);
		if (!number)
			break;
		causes |= send_descriptors(e1000, descriptors, number);
		advance(e1000, TDBAL, number);
	}
	if (packets && !ring_filled(e1000, TDBAL))
		causes |= ICR_TXQE;
	if (causes)
		e1000_raise(e1000, causes);
	return packets == PACKETS_AT_ONCE;
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

static uint32_t buffer_bytes(struct e1000 *e1000)
{
	uint32_t control = *e1000_at(e1000, RCTL), size = 2048u >> (control >> 16 & 3);

	return control & RCTL_BSEX && size < 2048 ? size * 16 : size;
}

/* Read a frame into `received`, behind a link's header. False: there is none. */
bool e1000_read_frame(struct e1000 *e1000)
{
	size_t skipped = e1000->link.has_header ? 0 : HEADER_BYTES, least = HEADER_BYTES + FRAME_MIN;
	ssize_t size = read(e1000->link.fd, e1000->received + skipped, HEADER_BYTES + NET_FRAME_MAX - skipped);

	if (size <= 0)
		return false;
	size += skipped;
	if ((size_t)size < least) {
		memset(e1000->received + size, 0, least - size);
		size = least;
	}
	e1000->pending = size - HEADER_BYTES;
	return true;
}

/* The frame as it goes to the driver: without its tag if the driver wants that, and with its CRC. */
static uint8_t *finish_frame(struct e1000 *e1000, size_t *size, struct rx_descriptor *last)
{
	uint8_t *frame = e1000->received + HEADER_BYTES;

	*size = e1000->pending;
	*last = (struct rx_descriptor){.status = RXD_DONE | RXD_EOP | RXD_IXSM};
	if ((*e1000_at(e1000, CTRL) & CTRL_VME) && is_tagged(e1000, frame)) {
		last->special = frame[VLAN_AT + 2] << 8 | frame[VLAN_AT + 3];
		last->status |= RXD_VP;
		memmove(frame + VLAN_BYTES, frame, VLAN_AT);
		frame += VLAN_BYTES;
		*size -= VLAN_BYTES;
	}
	if (!(*e1000_at(e1000, RCTL) & RCTL_SECRC)) {
		memset(frame + *size, 0, CRC_BYTES);
		*size += CRC_BYTES;
	}
	return frame;
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

/* Hand the pending frame over. False: it waits for descriptors. */
static bool deliver(struct e1000 *e1000)
{
	uint32_t each = buffer_bytes(e1000), needed, i;
	struct rx_descriptor last, descriptor;
	size_t size, done = 0, part;
	uint64_t place, gpa;
	uint8_t *frame;

	/* What is there before a tag is taken off and a CRC put on is at most as much less. */
	needed = (e1000->pending + CRC_BYTES + each - 1) / each;
	if (ring_filled(e1000, RDBAL) < needed)
		return false;
	count_received(e1000, e1000->received + HEADER_BYTES);
	frame = finish_frame(e1000, &size, &last);
	for (i = 0; done < size; i++, done += part) {
		place = ring_at(e1000, RDBAL, index_of(e1000, RDBAL, i));
		part = size - done < each ? size - done : each;
		descriptor = last;
		if (done + part < size)
			descriptor.status = RXD_DONE;
		descriptor.length = part;
		/* Memory that isn't there swallows it, as a bus does. */
		if (pci_dma_read(&e1000->function, place, &gpa, sizeof(gpa)) == 0) {
			descriptor.address = gpa;
			pci_dma_write(&e1000->function, gpa, frame + done, part);
			pci_dma_write(&e1000->function, place + 8, (uint8_t *)&descriptor + 8, 8);
		}
	}
	advance(e1000, RDBAL, i);
	e1000->pending = 0;
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
		else if (deliver(e1000))
			causes |= ICR_RXT0;
		else
			waits = true;
	}
	/* Descriptors are few: below a half, a quarter or an eighth of the ring (RDMTS). */
	size = *e1000_at(e1000, RDLEN) / DESCRIPTOR_BYTES;
	if (causes && ring_filled(e1000, RDBAL) <= size >> (1 + (*e1000_at(e1000, RCTL) >> 8 & 3)))
		causes |= ICR_RXDMT0;
	if (causes)
		e1000_raise(e1000, causes);
	return !waits;
}
