/*
 * Large tables of which little may be used: zeroes from the kernel, which cost address space until
 * they are touched. (calloc clears what it finds in its heap, which is where large blocks come from,
 * too, once one was freed.)
 */
#ifndef KVIK_UTIL_ZEROES_H
#define KVIK_UTIL_ZEROES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

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

/*
 * Have the whole pages among them, all of which will be used, at once. One that is read before it is written costs two page faults, and the
 * second interrupts the processors of the process's other threads. No matter if the host cannot.
 */
static inline void zeroes_touch(void *memory, size_t size)
{
	uintptr_t page = 4096, from = ((uintptr_t)memory + page - 1) & -page, end = ((uintptr_t)memory + size) & -page;
	int code = errno;

	if (from < end)
		madvise((void *)from, end - from, MADV_POPULATE_WRITE);
	errno = code;
}

/* `memory` is zeroes_map's with this size, or NULL. */
static inline void zeroes_unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}

#endif
