/*
 * Images as files: what tools need that make, look at and change them while no guest uses them.
 * Everything here waits for the medium, and is called on one thread at a time.
 */
#ifndef KVIK_BLOCK_IMAGE_H
#define KVIK_BLOCK_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* The format that an image's first bytes (512 tell) are of; "raw" when it is none that is known. */
const char *image_probe(const uint8_t *start, size_t size);

#endif
