/*
 * Fuzz target: qcow2 images from a hostile hand.
 *
 * Input: sixteen bytes, each something to do with the image (what in the upper four bits, where in the
 * lower), and the image. It is opened for reading or for writing, as a disk or to be checked; whatever
 * is done may fail, but must end, touch no other memory, and leave a file that can be opened or is
 * refused. What was made zeroes must be read as zeroes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/chain.h"
#include "block/image.h"
#include "block/node.h"
#include "fuzz.h"
#include "util/log.h"

#define STEPS 16
#define BYTES (96u << 10) /* of one request */

static uint8_t buffer[BYTES], again[BYTES];

/* Places all over the disk, its end among them. */
static uint64_t place(const struct node *image, unsigned where)
{
	uint64_t size = image_size(image), offset;

	switch (where) {
	case 0: return 0;
	case 1: return size > 1000 ? size - 1000 : 0;
	case 2: return size / 2;
	default:
		offset = (uint64_t)where * where * 1500;
		return offset < size ? offset : size;
	}
}

static void write_and_read(struct node *image, uint64_t offset, uint64_t size)
{
	uint64_t i;

	for (i = 0; i < size; i++)
		buffer[i] = i * 7 + offset;
	/* Not compared: two clusters of the disk may claim one of the file. */
	if (image_write(image, offset, buffer, size) == 0)
		image_read(image, offset, again, size);
}

static void zero_and_read(struct node *image, uint64_t offset, uint64_t size, bool may_unmap)
{
	uint64_t i;

	if (image_zero(image, offset, size, may_unmap) < 0 ||
	    image_read(image, offset, again, size) < 0)
		return;
	for (i = 0; i < size; i++)
		fuzz_check(again[i] == 0);
}

static void look(struct node *image)
{
	struct image_description description;
	struct block_snapshot snapshot;
	struct image_bitmap bitmap;
	struct image_extent extent;
	uint64_t at = 0;
	unsigned i;

	image_describe(image, &description);
	for (i = 0; i < description.snapshot_count; i++)
		image_snapshot_describe(image, i, &snapshot);
	for (i = 0; i < description.bitmap_count; i++)
		image_bitmap_describe(image, i, &bitmap);
	for (i = 0; i < 64 && at < image_size(image); i++, at += extent.size) {
		if (image_extent(image, at, image_size(image) - at, 0, &extent) < 0)
			break;
		fuzz_check(extent.size > 0 && extent.size <= image_size(image) - at);
	}
}

static void change_bitmap(struct node *image, unsigned what)
{
	struct image_description description;
	struct image_bitmap bitmap = {.name = "new"};
	struct error error;

	image_describe(image, &description);
	if (what & 1 && description.bitmap_count > 0)
		image_bitmap_describe(image, 0, &bitmap);
	switch (what >> 1) {
	case 0: image_bitmap_change(image, IMAGE_BITMAP_ADD, "new", 4096, &error); break;
	case 1: image_bitmap_change(image, IMAGE_BITMAP_REMOVE, bitmap.name, 0, &error); break;
	case 2: image_bitmap_merge(image, "new", image, bitmap.name, &error); break;
	case 3: image_amend(image,
			    &(struct image_amendment){3, 1u << (what >> 1 & 7), what & 1, what & 0x10, what & 0x20 ? "d" : NULL}, &error);
		break;
	}
	image_measure_bitmaps(image, 4096);
}

static void step(struct node *image, uint8_t what)
{
	uint64_t offset = place(image, what & 15), left = image_size(image) - offset, size = BYTES;
	struct image_check check;
	struct error error;

	if (size > left)
		size = left;
	switch (what >> 4) {
	case 0: image_read(image, offset, buffer, BYTES); break;
	case 1: write_and_read(image, offset, size < 600 ? size : 600); break;
	case 2: write_and_read(image, offset, size); break;
	case 3: zero_and_read(image, offset, size, false); break;
	case 4: zero_and_read(image, offset, size, true); break;
	case 5: image->driver->discard(image, offset, size); break;
	case 6: image_flush(image); break;
	case 7:
		if (what & 8)
			change_bitmap(image, what & 7);
		else
			image_snapshot_create(image, "new", &error);
		break;
	case 8: image_snapshot_apply(image, what & 1 ? "1" : "new", &error); break;
	case 9: image_snapshot_delete(image, what & 1 ? "1" : "new", &error); break;
	case 10:
		image_check(image, what & 3 ? IMAGE_REPAIR_NONE : IMAGE_REPAIR_ALL, &check, NULL, NULL,
			    &error);
		break;
	case 11: image_resize(image, offset & ~511ull, IMAGE_PREALLOCATION_OFF, &error); break;
	case 12:
		image_resize(image, image_size(image) + (what & 15) * 70000 * 512,
			     IMAGE_PREALLOCATION_OFF, &error);
		break;
	case 13: look(image); break;
	case 14:
		memset(buffer, what, BYTES);
		image_write_compressed(image, offset & ~0xffffull, buffer,
				       left < 65536 ? left : 65536);
		image_write_compressed(image, offset & ~0x1ffull, buffer, left < 512 ? left : 512);
		break;
	case 15: image_set_backing(image, what & 1 ? "base" : NULL, "raw", &error); break;
	}
}

static void use(int fd, const uint8_t *steps, bool readonly, unsigned flags)
{
	struct block_options options = {.format = "qcow2",
					.readonly = readonly,
					.discard = true,
					.cache = BLOCK_CACHE_UNSAFE,
					.unlocked = true};
	struct error error = {""};
	struct node *image;
	unsigned i;

	if (chain_open("image", fd, &options, flags | IMAGE_ALONE, &image, &error) < 0) {
		fuzz_check(error.message[0] != 0);
		return;
	}
	for (i = 0; i < STEPS; i++)
		step(image, steps[i]);
	image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t reads[STEPS] = {0xd0, 0x00, 0x01, 0x02, 0x05, 0xa1, 0x09, 0x0f};
	int fd;

	if (size < STEPS)
		return 0;
	log_set_level(LOG_ERROR);
	fd = memfd_create("image", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data + STEPS, size - STEPS) != (ssize_t)(size - STEPS))
		abort();
	use(fd, reads, true, 0);
	use(fd, data, false, data[0] & 1 ? IMAGE_FOR_CHECK : 0);
	/* What it left behind. */
	use(fd, reads, true, IMAGE_FOR_CHECK);
	close(fd);
	return 0;
}
