#include "device/display/picture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "util/endian.h"
#include "util/file.h"

int picture_create(struct picture *picture, unsigned width, unsigned height)
{
	*picture = (struct picture){width, height, calloc(height ? height : 1, 3 * (width + 1ul))};
	return picture->pixels ? 0 : -ENOMEM;
}

void picture_free(struct picture *picture)
{
	free(picture->pixels);
	picture->pixels = NULL;
}

static int write_ppm(const struct picture *picture, int fd)
{
	char header[48];
	int length = snprintf(header, sizeof(header), "P6\n%u %u\n255\n", picture->width,
			      picture->height);
	int result = file_write_all(fd, header, length);

	return result < 0 ? result
			  : file_write_all(fd, picture->pixels,
				      3ul * picture->width * picture->height);
}

/* PNG §5.3: length, type, data, and a CRC over the last two. */
static int write_chunk(int fd, const char *type, const uint8_t *data, uint32_t size)
{
	uint8_t number[4];
	uint32_t crc = crc32(0, (const uint8_t *)type, 4);
	int result;

	if (size) /* no data begins another sum */
		crc = crc32(crc, data, size);

	put_be32(number, size);
	result = file_write_all(fd, number, 4);
	if (result == 0)
		result = file_write_all(fd, type, 4);
	if (result == 0 && size)
		result = file_write_all(fd, data, size);
	put_be32(number, crc);
	return result == 0 ? file_write_all(fd, number, 4) : result;
}

/* The rows, each behind a byte that says how it is filtered (0: not), compressed as one stream. The caller
 * frees. */
static uint8_t *compress_rows(const struct picture *picture, uLongf *size)
{
	size_t row = 3ul * picture->width, all = (row + 1) * picture->height;
	uint8_t *rows = calloc(1, all + 1), *packed;
	unsigned y;

	*size = compressBound(all);
	packed = malloc(*size);
	for (y = 0; rows && y < picture->height; y++)
		memcpy(rows + y * (row + 1) + 1, picture->pixels + y * row, row);
	if (!rows || !packed || compress2(packed, size, rows, all, 6) != Z_OK) {
		free(packed);
		packed = NULL;
	}
	free(rows);
	return packed;
}

static int write_png(const struct picture *picture, int fd)
{
	/* Then: eight bits a sample, red, green and blue, and the only ways there are. */
	uint8_t header[13] = {[8] = 8, [9] = 2};
	uLongf size;
	uint8_t *packed = compress_rows(picture, &size);
	int result;

	if (!packed)
		return -ENOMEM;
	put_be32(header, picture->width);
	put_be32(header + 4, picture->height);
	result = file_write_all(fd, "\x89PNG\r\n\x1a\n", 8);
	if (result == 0)
		result = write_chunk(fd, "IHDR", header, sizeof(header));
	if (result == 0)
		result = write_chunk(fd, "IDAT", packed, size);
	if (result == 0)
		result = write_chunk(fd, "IEND", NULL, 0);
	free(packed);
	return result;
}

int picture_write(const struct picture *picture, enum picture_format format, int fd)
{
	/* Pipes have no first byte and no end. */
	if (lseek(fd, 0, SEEK_SET) == 0 && ftruncate(fd, 0) < 0 && errno != EINVAL)
		return -errno;
	return format == PICTURE_PNG ? write_png(picture, fd) : write_ppm(picture, fd);
}
