/* Which format a file is of. */
#ifndef KVIK_BLOCK_PROBE_H
#define KVIK_BLOCK_PROBE_H

#include <stddef.h>
#include <stdint.h>

/* The format that an image's first bytes (512 tell) are of; "raw" when it is none that is known. */
const char *image_probe(const uint8_t *start, size_t size);

#endif
