#include "device/net_checksum.h"

void net_checksum_put(uint8_t *frame, size_t size, size_t start, size_t end, size_t at)
{
	uint64_t sum = 0;
	uint16_t value;
	size_t i;

	if (end > size)
		end = size;
	if (at + 2 > size || start > end)
		return;
	for (i = start; i + 1 < end; i += 2)
		sum += frame[i] << 8 | frame[i + 1];
	if (i < end)
		sum += frame[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	value = ~sum;
	/* UDP has no checksum 0 (RFC 768), and for TCP this is the same. */
	if (!value)
		value = 0xffff;
	frame[at] = value >> 8;
	frame[at + 1] = value;
}
