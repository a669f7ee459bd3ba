/*
 * Limits of what is asked of disks: bytes and operations a second, of reads, writes and both, with bursts, as QEMU has
 * them (docs/throttle.txt). A throttle is one disk's, or shared by several, which then have the limits together.
 */
#ifndef KVIK_BLOCK_THROTTLE_H
#define KVIK_BLOCK_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

struct block;
struct block_request;

enum block_rate_of { BLOCK_RATE_TOTAL, BLOCK_RATE_READ, BLOCK_RATE_WRITE, BLOCK_RATES };
#define BLOCK_RATE_MAX 1000000000000000ull

/* A second; 0: no limit. Without a burst a tenth of a second's share can come at once. */
struct block_rate {
	uint64_t average;
	uint64_t burst;		/* for a while; 0: none */
	uint64_t burst_seconds; /* how long; 0: 1 */
};
struct block_limits {
	struct block_rate bytes[BLOCK_RATES], operations[BLOCK_RATES];
	uint64_t operation_bytes; /* what is larger counts as several operations; 0: nothing does */
};

struct block_throttle;

bool block_limits_any(const struct block_limits *limits);

/* The disk's own throttle, or one that is shared with the disk `other`. What waits goes on by the new limits. On the thread
 * that closes disks; requests may go on. 0, or -errno and `error`: -EINVAL of limits that contradict one another. */
int block_set_limits(struct block *block, const struct block_limits *limits, struct block *other, struct error *error);
/* NULL: no limits. */
const struct block_limits *block_read_limits(const struct block *block);

#endif
