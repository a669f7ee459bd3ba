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

/* Binary PPM (netpbm's ppm(5)), or PNG (W3C, "Portable Network Graphics", 2nd edition). */
enum picture_format { PICTURE_PPM, PICTURE_PNG };

/* Write it to a file from its first byte on, and cut the file there if it can be cut. 0 or -errno. */
int picture_write(const struct picture *picture, enum picture_format format, int fd);

#endif
