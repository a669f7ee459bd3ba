#include "util/guarded.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* User space ends at 2^47 where nobody asks for more; its first 4 GiB are for those who need them. */
#define LOWEST_RANDOM  ((uintptr_t)1 << 32)
#define HIGHEST_RANDOM ((uintptr_t)1 << 47)
#define RANDOM_TRIES   32

#define RESERVED_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* `size` inaccessible bytes on a huge page's boundary; NULL and errno. */
static uint8_t *reserve(size_t size)
{
	size_t slack = HUGE_PAGE_BYTES;
	uint8_t *start = mmap(NULL, size + slack, PROT_NONE, RESERVED_FLAGS, -1, 0);
	size_t before;

	if (start == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)start % HUGE_PAGE_BYTES;
	if (before)
		munmap(start, before);
	munmap(start + before + size, slack - before);
	return start + before;
}

static uint8_t *reserve_at_random(size_t size)
{
	uintptr_t address, *hint = &address;
	unsigned tries;
	void *start;

	for (tries = 0; tries < RANDOM_TRIES; tries++) {
		if (getrandom(hint, sizeof(*hint), 0) != sizeof(*hint))
			break;
		address = (address % HIGHEST_RANDOM) & ~(HUGE_PAGE_BYTES - 1);
		if (address < LOWEST_RANDOM || size > HIGHEST_RANDOM - address)
			continue;
		start = mmap((void *)address, size, PROT_NONE, RESERVED_FLAGS | MAP_FIXED_NOREPLACE,
			     -1, 0);
		if (start == (void *)address)
			return start;
		/* Kernels before 4.17 take the address for a hint. */
		if (start != MAP_FAILED)
			munmap(start, size);
	}
	return reserve(size);
}

void *guarded_map(size_t size, int protection, int flags, int fd, bool at_random)
{
	size_t total = size + 2 * GUARD_BYTES;
	uint8_t *start;

	if (total < size) {
		errno = ENOMEM;
		return NULL;
	}
	start = at_random ? reserve_at_random(total) : reserve(total);
	if (!start)
		return NULL;
	if (mmap(start + GUARD_BYTES, size, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		int code = errno;

		munmap(start, total);
		errno = code;
		return NULL;
	}
	return start + GUARD_BYTES;
}

void guarded_unmap(void *memory, size_t size)
{
	if (memory)
		munmap((uint8_t *)memory - GUARD_BYTES, size + 2 * GUARD_BYTES);
}
