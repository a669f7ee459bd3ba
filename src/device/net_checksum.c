#include "device/net_checksum.h"

uint16_t net_checksum_sum(const uint8_t *bytes, size_t size, uint64_t sum)
{
	size_t i;

	for (i = 0; i + 1 < size; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	if (i < size)
		sum += bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

void net_checksum_put(uint8_t *frame, size_t size, size_t start, size_t end, size_t at)
{
	uint16_t value;

	if (end > size)
		end = size;
	if (at + 2 > size || start > end)
		return;
	value = ~net_checksum_sum(frame + start, end - start, 0);
	/* UDP has no checksum 0 (RFC 768), and for TCP this is the same. */
	if (!value)
		value = 0xffff;
	frame[at] = value >> 8;
	frame[at + 1] = value;
}
