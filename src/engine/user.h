/*
 * Arguments of requests: structs in the caller's memory.
 *
 * The caller lives in the same address space, so copies are plain. Addresses that can never be
 * memory (the first page, the kernel's half) get EFAULT as from Linux; any other wild pointer is
 * the caller's own fault, as with every library.
 */
#ifndef KVIK_ENGINE_USER_H
#define KVIK_ENGINE_USER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define USER_ADDRESS_MIN UINT64_C(0x1000)
#define USER_ADDRESS_MAX UINT64_C(0x7ffffffff000)

static inline int user_check(const void *user, size_t size)
{
	uint64_t address = (uintptr_t)user;

	if (address < USER_ADDRESS_MIN || address >= USER_ADDRESS_MAX ||
	    size > USER_ADDRESS_MAX - address)
		return -EFAULT;
	return 0;
}

static inline int user_read(void *to, const void *user, size_t size)
{
	int result = user_check(user, size);

	if (result == 0 && size)
		memcpy(to, user, size);
	return result;
}

static inline int user_write(void *user, const void *from, size_t size)
{
	int result = user_check(user, size);

	if (result == 0 && size)
		memcpy(user, from, size);
	return result;
}

#endif
