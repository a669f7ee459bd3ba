/*
 * A guest without anything below it that drives a virtio disk, one request at a time. tests/machine/virtio runs it,
 * and knows what it has to read and write.
 */
#include "disk.h"

#define SECTORS	 8 /* in each request */
#define REQUESTS 100

static uint8_t data[SECTORS * SECTOR];

static void ask(uint32_t type, uint64_t sector)
{
	disk_prepare(0, type, sector, data, type == BLK_FLUSH ? 0 : sizeof(data));
	disk_run(1);
}

void guest_main(void)
{
	unsigned round, i;

	disk_start(BLK_F_FLUSH);
	ask(BLK_IN, 0);
	for (i = 0; data[i]; i++)
		out8(0xe9, data[i]);
	for (round = 1; round <= REQUESTS; round++) {
		for (i = 0; i < sizeof(data); i++)
			data[i] = round * 7 + i * 13 + i / SECTOR;
		ask(BLK_OUT, round * SECTORS);
	}
	ask(BLK_FLUSH, 0);
	for (round = 1; round <= REQUESTS; round++) {
		ask(BLK_IN, round * SECTORS);
		for (i = 0; i < sizeof(data); i++)
			if (data[i] != (uint8_t)(round * 7 + i * 13 + i / SECTOR))
				finish("other bytes are read than were written\n", 1);
	}
	if (interrupts != 2 * REQUESTS + 2)
		finish("there were other interrupts\n", 1);
	finish("done\n", 20);
}
