/*
 * An 82574L's own receive descriptors (82574 datasheet §7.1.4 and §7.1.5): extended ones, and with RCTL.DTYP those with four
 * buffers, into which a packet goes one after the other without headers being set apart. What was found of checksums goes with
 * the last one. Without RFCTL.EXTEN they are legacy ones. All frames go to the first queue, with a hash of 0.
 */
#include "device/e1000e_parts.h"

#include "device/net_checksum.h"

#define RCTL_DTYP	0x0c00
#define RCTL_DTYP_SPLIT 0x0400
#define RCTL_FLXBUF_AT	27

/* PSRCTL (§10.2.5.4): the first buffer in 128 bytes, others in 1 KiB. */
#define BUFFERS	       4
#define BUFFER0_BYTES  128
#define BUFFER_BYTES   1024
#define SPLIT_BUFFERS  0x3f
#define SPLIT_BUFFER0  0x7f

#define UNIT_BYTES 16 /* what heads and tails count */

/* Extended status and errors (§7.1.4.2), beyond what legacy descriptors have. */
#define RXE_UDPCS   0x10
#define RXE_TCPCS   0x20
#define RXE_IPCS    0x40
#define RXE_BAD_TCP 0x20000000
#define RXE_BAD_IP  0x40000000

#define ETHERNET_BYTES 14
#define VLAN_TYPE      0x8100
#define IP4_TYPE       0x0800
#define IP6_TYPE       0x86dd
#define IP4_BYTES      20
#define IP4_FRAGMENT   0x3fff
#define IP6_BYTES      40
#define TCP	       6
#define TCP_BYTES      20
#define UDP	       17
#define UDP_BYTES      8
#define UDP_SUM_AT     6

/* What is written back; of those with one buffer the first half. */
struct rx_written {
	uint32_t multiple_receive;
	uint32_t hash; /* or the packet's checksum, with RXCSUM.PCSD clear: none is taken */
	uint32_t status;
	uint16_t length, tag;
	uint16_t header_status;
	uint16_t lengths[BUFFERS - 1];
	uint64_t reserved;
};

/* How an entry is laid out: its buffers, and how many units it has. */
struct layout {
	size_t buffers[BUFFERS], total;
	unsigned count, units;
};

static struct layout layout_of(struct e1000 *e1000)
{
	uint32_t control = *e1000_at(e1000, RCTL), split = *e1000_at(e1000, PSRCTL), flexible = control >> RCTL_FLXBUF_AT & 0xf;
	struct layout layout = {.count = 1, .units = 1};
	unsigned i;

	if ((control & RCTL_DTYP) == RCTL_DTYP_SPLIT) {
		layout.count = BUFFERS;
		layout.units = sizeof(struct rx_written) / UNIT_BYTES;
		layout.buffers[0] = (split & SPLIT_BUFFER0) * BUFFER0_BYTES;
		for (i = 1; i < BUFFERS; i++)
			layout.buffers[i] = (split >> 8 * i & SPLIT_BUFFERS) * BUFFER_BYTES;
	} else {
		layout.buffers[0] = flexible ? flexible * BUFFER_BYTES : e1000_buffer_bytes(e1000);
	}
	for (i = 0; i < layout.count; i++)
		layout.total += layout.buffers[i];
	return layout;
}

/* --- checksums --- */

static unsigned get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

/* TCP's or UDP's, of `size` bytes behind a pseudo-header with these addresses. */
static uint32_t check_transport(const uint8_t *addresses, size_t address_bytes, unsigned protocol, const uint8_t *bytes,
				size_t size)
{
	uint32_t done = protocol == UDP ? RXE_UDPCS | RXE_TCPCS : RXE_TCPCS, sum;

	if (size < (protocol == UDP ? UDP_BYTES : TCP_BYTES))
		return 0;
	/* Whoever sent it took none. */
	if (protocol == UDP && !get16(bytes + UDP_SUM_AT))
		return 0;
	sum = net_checksum_sum(addresses, address_bytes, protocol + size);
	return net_checksum_sum(bytes, size, sum) == 0xffff ? done : done | RXE_BAD_TCP;
}

static uint32_t check_ip4(uint32_t wanted, const uint8_t *ip, size_t size)
{
	size_t header = (ip[0] & 0xf) * 4, total = get16(ip + 2);
	uint32_t status = 0;

	if (ip[0] >> 4 != 4 || header < IP4_BYTES || header > size || total < header || total > size)
		return 0;
	if (wanted & RXCSUM_IPOFL)
		status |= net_checksum_sum(ip, header, 0) == 0xffff ? RXE_IPCS : RXE_IPCS | RXE_BAD_IP;
	if ((wanted & RXCSUM_TUOFL) && !(get16(ip + 6) & IP4_FRAGMENT) && (ip[9] == TCP || ip[9] == UDP))
		status |= check_transport(ip + 12, 8, ip[9], ip + header, total - header);
	return status;
}

static uint32_t check_ip6(uint32_t wanted, const uint8_t *ip, size_t size)
{
	size_t payload = get16(ip + 4);

	if (ip[0] >> 4 != 6 || payload > size - IP6_BYTES || !(wanted & RXCSUM_TUOFL) || (ip[6] != TCP && ip[6] != UDP))
		return 0;
	return check_transport(ip + 8, 32, ip[6], ip + IP6_BYTES, payload);
}

/* What is known of the checksums of a frame, which has FRAME_MIN bytes. */
static uint32_t check_frame(struct e1000 *e1000, const uint8_t *frame, size_t size)
{
	uint32_t wanted = *e1000_at(e1000, RXCSUM), status = 0;
	size_t at = ETHERNET_BYTES;

	if (get16(frame + at - 2) == VLAN_TYPE)
		at += VLAN_BYTES;
	if (get16(frame + at - 2) == IP4_TYPE && size >= at + IP4_BYTES)
		status = check_ip4(wanted, frame + at, size - at);
	else if (get16(frame + at - 2) == IP6_TYPE && size >= at + IP6_BYTES)
		status = check_ip6(wanted, frame + at, size - at);
	return status ? status : RXD_IXSM;
}

/* --- descriptors --- */

/* Fill the buffers of one entry. How much of the frame is in them. */
static size_t fill(struct e1000 *e1000, const struct layout *layout, const uint64_t *addresses, const uint8_t *bytes,
		   size_t size, struct rx_written *written)
{
	size_t done = 0, part;
	unsigned i;

	for (i = 0; i < layout->count && done < size; i++, done += part) {
		part = size - done < layout->buffers[i] ? size - done : layout->buffers[i];
		*(i ? &written->lengths[i - 1] : &written->length) = part;
		if (part)
			pci_dma_write(&e1000->function, addresses[i], bytes + done, part);
	}
	return done;
}

bool e1000e_deliver(struct e1000 *e1000)
{
	struct layout layout = layout_of(e1000);
	uint64_t addresses[BUFFERS], place;
	struct e1000_frame frame;
	struct rx_written written;
	uint32_t status, number;
	size_t done = 0, needed, bytes = layout.units * UNIT_BYTES;

	if (!(*e1000_at(e1000, RFCTL) & RFCTL_EXTEN))
		return e1000_deliver(e1000);
	/* Into buffers that are none, nothing goes, and it is lost. */
	needed = layout.total ? (e1000_frame_room(e1000) + layout.total - 1) / layout.total * layout.units : 0;
	if (e1000_ring_filled(e1000, RDBAL) < needed)
		return false;
	status = check_frame(e1000, e1000->received + HEADER_BYTES, e1000->pending);
	frame = e1000_take_frame(e1000);
	for (number = 0; number < needed && done < frame.size; number += layout.units) {
		place = e1000_ring_entry(e1000, RDBAL, number);
		/* Memory that isn't there swallows it, as a bus does. */
		if (pci_dma_read(&e1000->function, place, addresses, layout.count * sizeof(addresses[0])) < 0) {
			done += layout.total;
			continue;
		}
		written = (struct rx_written){.status = RXD_DONE, .tag = frame.tag};
		done += fill(e1000, &layout, addresses, frame.bytes + done, frame.size - done, &written);
		if (done == frame.size)
			written.status |= RXD_EOP | frame.status | status;
		pci_dma_write(&e1000->function, place, &written, bytes);
	}
	if (number)
		e1000_ring_advance(e1000, RDBAL, number);
	return true;
}
