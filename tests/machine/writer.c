/*
 * A guest without anything below it that writes to a virtio disk until it is killed: batches of writes and of
 * zeroes, all of a batch at once, then a flush. When that is done it prints the batch's number, 8 bytes on port 0xe9;
 * the first one that it prints is that in sector 0, from which it goes on. tests/machine/killed runs it, and knows by a
 * batch's number what it writes.
 */
#include "disk.h"

#define WRITES	     16
#define SLICE	     2000 /* sectors that each write of a batch has for itself */
#define FIRST	     8
#define COUNT_MAX    32
#define ZEROES_COUNT 128
#define ZEROES_UNMAP 1

static uint64_t buffers[WRITES][COUNT_MAX * SECTOR / 8];
static uint64_t head[SECTOR / 8];
static struct {
	uint64_t sector;
	uint32_t count, flags;
} zeroes;

/* splitmix64 */
static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static void tell(uint64_t batch)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		out8(0xe9, batch >> 8 * i);
}

static void prepare(uint64_t batch)
{
	unsigned i, j, count;
	uint64_t sector;

	for (i = 0; i < WRITES; i++) {
		count = 1 + mix(batch * 64 + i) % COUNT_MAX;
		sector = FIRST + i * SLICE + mix(batch * 64 + 32 + i) % (SLICE - COUNT_MAX);
		for (j = 0; j < count * SECTOR / 8; j++)
			buffers[i][j] = batch << 32 | (sector + j / (SECTOR / 8));
		disk_prepare(i, BLK_OUT, sector, buffers[i], count * SECTOR);
	}
	/* Zeroes in the slice of one write, at the end that it is far from. */
	i = mix(batch * 64 + 63) % WRITES;
	zeroes.sector = FIRST + i * SLICE;
	if (requests[i].sector - zeroes.sector < SLICE / 2)
		zeroes.sector += SLICE - ZEROES_COUNT;
	zeroes.count = ZEROES_COUNT;
	zeroes.flags = batch & 1 ? ZEROES_UNMAP : 0;
	disk_prepare(WRITES, BLK_WRITE_ZEROES, 0, &zeroes, sizeof(zeroes));
	for (j = 0; j < SECTOR / 8; j++)
		head[j] = batch;
	disk_prepare(WRITES + 1, BLK_OUT, 0, head, sizeof(head));
}

void guest_main(void)
{
	uint64_t batch;

	disk_start(BLK_F_FLUSH | BLK_F_WRITE_ZEROES);
	disk_prepare(0, BLK_IN, 0, head, sizeof(head));
	disk_run(1);
	batch = head[0];
	tell(batch);
	for (;;) {
		prepare(++batch);
		disk_run(WRITES + 2);
		disk_prepare(0, BLK_FLUSH, 0, 0, 0);
		disk_run(1);
		tell(batch);
	}
}
