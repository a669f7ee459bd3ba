#include "device/e1000_transmit.h"

#include <string.h>

#include "device/net_checksum.h"

#define POPTS_IP  0x100 /* of a data descriptor's status dword: insert the IP header's checksum, */
#define POPTS_TCP 0x200 /* TCP's or UDP's */

/* A context's command bits (§3.3.6). */
#define CONTEXT_TCP 0x01000000u
#define CONTEXT_IP4 0x02000000u

#define IP6_HEADER_BYTES 40
#define TCP_FLAGS	 13
#define TCP_FIN_PSH	 0x09
#define TCP_CWR		 0x80
#define VLAN_AT		 12 /* behind both addresses */
#define VLAN_BYTES	 4

/* A context: offsets from the frame's start (§3.3.6). */
struct context {
	uint8_t ip_start, ip_at, tcp_start, tcp_at;
	uint16_t ip_last, tcp_last; /* the last byte of what is summed; 0: the packet's */
	uint32_t payload, header;
	uint16_t mss;
	bool is_tcp, is_ip4;
};

static struct context context_of(const struct e1000_tx_descriptor *descriptor)
{
	uint64_t low = descriptor->address;

	return (struct context){
		.ip_start = low,
		.ip_at = low >> 8,
		.ip_last = low >> 16,
		.tcp_start = low >> 32,
		.tcp_at = low >> 40,
		.tcp_last = low >> 48,
		.payload = descriptor->command & 0xfffff,
		.is_tcp = descriptor->command & CONTEXT_TCP,
		.is_ip4 = descriptor->command & CONTEXT_IP4,
		.header = descriptor->status >> 8 & 0xff,
		.mss = descriptor->status >> 16,
	};
}

static uint32_t get(const uint8_t *at, unsigned bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

static void put(uint8_t *at, unsigned bytes, uint32_t value)
{
	while (bytes--) {
		at[bytes] = value;
		value >>= 8;
	}
}

static void add_checksums(uint8_t *frame, size_t size, const struct context *context, uint32_t options)
{
	if (options & POPTS_TCP)
		net_checksum_put(frame, size, context->tcp_start,
				 context->tcp_last ? context->tcp_last + 1u : size, context->tcp_at);
	if (options & POPTS_IP)
		net_checksum_put(frame, size, context->ip_start,
				 context->ip_last ? context->ip_last + 1u : size, context->ip_at);
}

/* Make the headers those of segment `number`, whose payload begins at `done` (§3.5.7). All of them lie in the frame. */
static void fix_headers(uint8_t *frame, size_t size, const struct context *context, unsigned number,
			size_t done, bool is_last)
{
	uint8_t *ip = frame + context->ip_start, *tcp = frame + context->tcp_start;
	uint8_t *sum = frame + context->tcp_at;
	uint32_t total;

	if (context->is_ip4) {
		put(ip + 2, 2, size - context->ip_start);
		put(ip + 4, 2, get(ip + 4, 2) + number);
	} else {
		put(ip + 4, 2, size - context->ip_start - IP6_HEADER_BYTES);
	}
	if (context->is_tcp) {
		put(tcp + 4, 4, get(tcp + 4, 4) + done);
		if (!is_last)
			tcp[TCP_FLAGS] &= ~TCP_FIN_PSH;
		if (number)
			tcp[TCP_FLAGS] &= ~TCP_CWR;
	} else {
		put(tcp + 4, 2, size - context->tcp_start);
	}
	/* The driver's sum of the pseudo-header has no length. */
	total = get(sum, 2) + (size - context->tcp_start);
	put(sum, 2, (total & 0xffff) + (total >> 16));
}

/* Put a tag behind the addresses (§9.2). */
static size_t add_tag(const struct e1000_packet *packet, uint8_t *frame, size_t size)
{
	if (!(packet->last->command & E1000_TXD_VLE) || size < VLAN_AT)
		return size;
	memmove(frame + VLAN_AT + VLAN_BYTES, frame + VLAN_AT, size - VLAN_AT);
	put(frame + VLAN_AT, 2, packet->vlan_type);
	put(frame + VLAN_AT + 2, 2, packet->last->status >> 16);
	return size + VLAN_BYTES;
}

static bool can_be_cut(const struct e1000_packet *packet, const struct context *context)
{
	unsigned tcp_bytes = context->is_tcp ? 20 : 8;

	return context->mss && context->header && context->header <= packet->size &&
	       context->ip_start + 20u <= context->header && context->tcp_start >= context->ip_start &&
	       context->tcp_start + tcp_bytes <= context->header && context->tcp_at + 2u <= context->header;
}

static void send_segments(struct e1000_packet *packet, const struct context *context,
			  void (*send)(void *to, uint8_t *frame, size_t size), void *to)
{
	static _Thread_local uint8_t segment[E1000_TX_MAX + VLAN_BYTES];
	size_t payload = packet->size - context->header, done, part, size;
	unsigned number = 0;

	for (done = 0; done < payload; done += part, number++) {
		part = payload - done < context->mss ? payload - done : context->mss;
		size = context->header + part;
		memcpy(segment, packet->frame, context->header);
		memcpy(segment + context->header, packet->frame + context->header + done, part);
		fix_headers(segment, size, context, number, done, done + part == payload);
		add_checksums(segment, size, context, packet->first->status);
		send(to, segment, add_tag(packet, segment, size));
	}
}

void e1000_send_packet(struct e1000_packet *packet, void (*send)(void *to, uint8_t *frame, size_t size), void *to)
{
	struct context context = context_of(packet->context);
	uint32_t command = packet->first->command;

	if (!packet->size)
		return;
	if ((command & E1000_TXD_DEXT) && (command & E1000_TXD_TSE)) {
		/* What cannot be is lost. */
		if (can_be_cut(packet, &context))
			send_segments(packet, &context, send, to);
		return;
	}
	if (command & E1000_TXD_DEXT)
		add_checksums(packet->frame, packet->size, &context, packet->first->status);
	else if (packet->last->command & E1000_TXD_IC)
		net_checksum_put(packet->frame, packet->size, packet->last->status >> 8 & 0xff, packet->size,
				 packet->last->command >> 16 & 0xff);
	send(to, packet->frame, add_tag(packet, packet->frame, packet->size));
}
