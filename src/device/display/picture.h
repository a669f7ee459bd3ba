/* A picture of a screen: rows from the top, three bytes a pixel (red, green, blue). */
#ifndef KVIK_DEVICE_DISPLAY_PICTURE_H
#define KVIK_DEVICE_DISPLAY_PICTURE_H

#include <stdint.h>

struct picture {
	unsigned width, height;
	uint8_t *pixels; /* owned */
};

/* All black. 0 or -ENOMEM. */
int picture_create(struct picture *picture, unsigned width, unsigned height);
void picture_free(struct picture *picture);

/* Write it to a file from its first byte on, as a binary PPM (netpbm's ppm(5)), and cut the file there if it
 * can be cut. 0 or -errno. */
int picture_write(const struct picture *picture, int fd);

#endif
