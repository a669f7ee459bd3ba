/*
 * Fuzz target: images of other programs' formats (VDI, VMDK, VHDX) from a hostile hand.
 *
 * Input: a byte for the format, sixteen that say where to read, and the image in pieces: where (32 bits, inside of
 * FILE_MAX), how long (16 bits), and the bytes. What is between is a hole, so tables that lie megabytes apart make a
 * short input. The checksums of a VHDX are made right, as whoever makes such an image can. It is opened, described
 * and read; all may fail, but must end, touch no other memory, and give the same bytes again.
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

#define STEPS	 16
#define BYTES	 (96u << 10) /* of one request */
#define FILE_MAX (12u << 20)
#define LOOKS	 64

/* [MS-VHDX] §2.2: the headers and the region tables, whose checksum is at byte 4. */
static const struct {
	uint32_t at, size;
} summed[] = {{64u << 10, 4096}, {128u << 10, 4096}, {192u << 10, 64u << 10}, {256u << 10, 64u << 10}};
#define CHECKSUM_AT 4

static uint8_t buffer[BYTES], again[BYTES];

/* A piece of the image. */
static bool put(int fd, struct fuzz_input *input)
{
	static uint8_t bytes[UINT16_MAX];
	uint32_t at = fuzz_u32(input) % FILE_MAX;
	size_t size = fuzz_u16(input);

	if (size > input->size)
		size = input->size;
	fuzz_take(input, bytes, size);
	fuzz_check(pwrite(fd, bytes, size, at) == (ssize_t)size);
	return input->size > 0;
}

static void make_sums_right(int fd)
{
	static uint8_t bytes[64u << 10];
	uint32_t sum;
	unsigned i, j, bit;

	for (i = 0; i < sizeof(summed) / sizeof(summed[0]); i++) {
		/* Most inputs have one of two. */
		if (pread(fd, bytes, summed[i].size, summed[i].at) != (ssize_t)summed[i].size || !bytes[0])
			continue;
		memset(bytes + CHECKSUM_AT, 0, sizeof(sum));
		sum = UINT32_MAX;
		for (j = 0; j < summed[i].size; j++) {
			sum ^= bytes[j];
			for (bit = 0; bit < 8; bit++)
				sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
		}
		sum = ~sum;
		fuzz_check(pwrite(fd, &sum, sizeof(sum), summed[i].at + CHECKSUM_AT) == sizeof(sum));
	}
}

static void look(struct node *image)
{
	struct image_description description;
	struct image_extent extent;
	uint64_t at = 0;
	unsigned i;

	image_describe(image, &description);
	for (i = 0; i < LOOKS && at < image_size(image); i++, at += extent.size) {
		if (image_extent(image, at, image_size(image) - at, 0, &extent) < 0)
			break;
		fuzz_check(extent.size > 0 && extent.size <= image_size(image) - at);
	}
}

/* All over the disk, its end among it. */
static void read_twice(struct node *image, uint8_t where)
{
	uint64_t offset = where & 0x80 ? image_size(image) / 128 * (where & 0x7f) : (uint64_t)where * where * 1500;
	uint64_t size = where & 1 ? 700 : BYTES;

	memset(buffer, 0xa5, size);
	memset(again, 0x5a, size);
	if (image_read(image, offset, buffer, size) == 0 && image_read(image, offset, again, size) == 0)
		fuzz_check(memcmp(buffer, again, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = {"vdi", "vmdk", "vhdx", NULL};
	struct fuzz_input input = {data, size};
	struct block_options options = {.readonly = true, .unlocked = true};
	struct error error = {""};
	struct node *image;
	uint8_t places[STEPS];
	unsigned i;
	int fd;

	if (size < 1 + STEPS)
		return 0;
	log_set_level(LOG_ERROR);
	options.format = formats[fuzz_u8(&input) % 4];
	fuzz_take(&input, places, sizeof(places));
	fd = memfd_create("image", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && ftruncate(fd, FILE_MAX) == 0);
	while (put(fd, &input))
		;
	if (options.format && strcmp(options.format, "vhdx") == 0)
		make_sums_right(fd);
	if (chain_open("image", fd, &options, IMAGE_ALONE, &image, &error) < 0) {
		fuzz_check(error.message[0] != 0);
		close(fd);
		return 0;
	}
	look(image);
	for (i = 0; i < STEPS; i++)
		read_twice(image, places[i]);
	image_close(image);
	close(fd);
	return 0;
}
