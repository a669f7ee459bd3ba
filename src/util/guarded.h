/*
 * Mappings between guards: inaccessible pages on both sides, so that what runs over an end faults and
 * writes into no neighbour.
 */
#ifndef KVIK_UTIL_GUARDED_H
#define KVIK_UTIL_GUARDED_H

#include <stdbool.h>
#include <stddef.h>

/* On each side. Offsets of instructions and small indices do not step over it. */
#define GUARD_BYTES ((size_t)2 << 20)

/*
 * mmap(2) of `size` bytes (whole pages) that begin on a huge page's boundary. `at_random`: not near
 * other mappings, whose addresses then do not tell this one's. NULL and errno on failure.
 */
void *guarded_map(size_t size, int protection, int flags, int fd, bool at_random);

/* What guarded_map returned, guards included; NULL is none. */
void guarded_unmap(void *memory, size_t size);

#endif
