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
#include <linux/kvm.h>
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

#define USER_MSRS_MAX 256 /* Linux's MAX_IO_MSRS */

/* The number of entries in user space's list, which may be accessed then: or -EFAULT, -E2BIG. */
static inline int user_check_msrs(const struct kvm_msrs *user)
{
	struct kvm_msrs header;
	int result = user_read(&header, user, sizeof(header));

	if (result < 0)
		return result;
	if (header.nmsrs >= USER_MSRS_MAX)
		return -E2BIG;
	result = user_check(user->entries, header.nmsrs * sizeof(user->entries[0]));
	return result < 0 ? result : (int)header.nmsrs;
}

#endif
