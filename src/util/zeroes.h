/*
 * Large tables of which little may be used: zeroes from the kernel, which cost address space until
 * they are touched. (calloc clears what it finds in its heap, which is where large blocks come from,
 * too, once one was freed.)
 */
#ifndef KVIK_UTIL_ZEROES_H
#define KVIK_UTIL_ZEROES_H

#include <stddef.h>
#include <sys/mman.h>

/* `size` > 0 bytes of zeroes at a page's start, or NULL without memory. The caller unmaps them. */
static inline void *zeroes_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* Where huge pages are for everyone, each touch would cost one. Not all kernels have them. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

/* `memory` is zeroes_map's with this size, or NULL. */
static inline void zeroes_unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}

#endif
