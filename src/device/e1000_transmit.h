/* What an 82540EM does to a frame on its way out (manual §3.3 to §3.5): descriptors, segments, checksums. */
#ifndef KVIK_DEVICE_E1000_TRANSMIT_H
#define KVIK_DEVICE_E1000_TRANSMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define E1000_TX_MAX (65535 + 256) /* a segment of 64 KiB with its headers */

/* A descriptor of 16 bytes (§3.3.3, §3.3.6, §3.3.7). */
struct e1000_tx_descriptor {
	uint64_t address; /* or a context's first 8 bytes */
	uint32_t command;
	uint32_t status;
};

#define E1000_TXD_EOP	0x01000000u
#define E1000_TXD_IC	0x04000000u /* legacy: insert a checksum */
#define E1000_TXD_TSE	0x04000000u /* extended: segment it */
#define E1000_TXD_RS	0x08000000u
#define E1000_TXD_RPS	0x10000000u
#define E1000_TXD_DEXT	0x20000000u
#define E1000_TXD_VLE	0x40000000u
#define E1000_TXD_TYPE	0x00f00000u
#define E1000_TXD_DONE	0x00000001u /* of `status` */

static inline bool e1000_is_context(const struct e1000_tx_descriptor *descriptor)
{
	return (descriptor->command & (E1000_TXD_DEXT | E1000_TXD_TYPE)) == E1000_TXD_DEXT;
}

static inline uint32_t e1000_tx_length(const struct e1000_tx_descriptor *descriptor)
{
	return descriptor->command & (descriptor->command & E1000_TXD_DEXT ? 0xfffff : 0xffff);
}

/*
 * A packet that is whole, as its descriptors say: the last context before it, the first one's and the last one's fields. It is
 * sent as one frame, or cut up. `frame` has `size` bytes and room for E1000_TX_MAX.
 */
struct e1000_packet {
	const struct e1000_tx_descriptor *context, *first, *last;
	uint16_t vlan_type; /* VET */
	uint8_t *frame;
	size_t size;
};

void e1000_send_packet(struct e1000_packet *packet, void (*send)(void *to, uint8_t *frame, size_t size),
		       void *to);

#endif
