#include "device/display/picture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static int write_all(int fd, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	ssize_t written;

	while (size) {
		written = write(fd, at, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		at += written;
		size -= written;
	}
	return 0;
}

int picture_write(const struct picture *picture, int fd)
{
	char header[48];
	int length = snprintf(header, sizeof(header), "P6\n%u %u\n255\n", picture->width,
			      picture->height);
	int result;

	/* Pipes have no first byte and no end. */
	if (lseek(fd, 0, SEEK_SET) == 0 && ftruncate(fd, 0) < 0 && errno != EINVAL)
		return -errno;
	result = write_all(fd, header, length);
	return result < 0 ? result
			  : write_all(fd, picture->pixels,
				      3ul * picture->width * picture->height);
}
