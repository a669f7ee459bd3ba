/* The Internet's checksum (RFC 1071), as network devices complete it in frames. */
#ifndef KVIK_DEVICE_NET_CHECKSUM_H
#define KVIK_DEVICE_NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The ones' complement sum of big-endian words, added to `sum`. What holds its own checksum has a sum of 0xffff. */
uint16_t net_checksum_sum(const uint8_t *bytes, size_t size, uint64_t sum);

/*
 * Put the checksum of [start, end) of a frame of `size` bytes at `at`, big-endian; what is there already (of a
 * pseudo-header) counts, if it lies in between. Outside of the frame nothing is done.
 */
void net_checksum_put(uint8_t *frame, size_t size, size_t start, size_t end, size_t at);

#endif
