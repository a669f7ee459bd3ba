#include "device/display/picture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

int picture_write(const struct picture *picture, int fd)
{
	char header[48];
	int length = snprintf(header, sizeof(header), "P6\n%u %u\n255\n", picture->width,
			      picture->height);
	int result;

	/* Pipes have no first byte and no end. */
	if (lseek(fd, 0, SEEK_SET) == 0 && ftruncate(fd, 0) < 0 && errno != EINVAL)
		return -errno;
	result = file_write_all(fd, header, length);
	return result < 0 ? result
			  : file_write_all(fd, picture->pixels,
				      3ul * picture->width * picture->height);
}
