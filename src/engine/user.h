/*
 * Arguments of requests: structs in the caller's memory, copied as Linux copies them, so that a wild
 * pointer gets EFAULT.
 *
 * The caller lives in the same address space, but what it points to may not be mapped, or be taken away
 * by another of its threads right now. So the kernel copies: process_vm_readv(2) on this very process
 * needs no privilege, and fails where a load would fault. Where the host forbids it (an old container's
 * filter of system calls), copies are plain, and only addresses that never can be memory get EFAULT.
 *
 * Nothing of the engine's dereferences a caller's pointer: not the argument, nor one inside it.
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

/* Addresses that can be memory: 0 or -EFAULT. */
static inline int user_check(const void *user, size_t size)
{
	uint64_t address = (uintptr_t)user;

	if (address < USER_ADDRESS_MIN || address >= USER_ADDRESS_MAX ||
	    size > USER_ADDRESS_MAX - address)
		return -EFAULT;
	return 0;
}

/* Copy from or to user space: 0 or -EFAULT, when a part may have been copied. Nothing of `size` 0. */
int user_read(void *to, const void *user, size_t size);
int user_write(void *user, const void *from, size_t size);

/* The same for requests that are made too often for a system call: interrupt lines. A pointer that
 * could be memory and is not is the caller's own fault. */
static inline int user_read_plain(void *to, const void *user, size_t size)
{
	int result = user_check(user, size);

	if (result == 0)
		memcpy(to, user, size);
	return result;
}

static inline int user_write_plain(void *user, const void *from, size_t size)
{
	int result = user_check(user, size);

	if (result == 0)
		memcpy(user, from, size);
	return result;
}

#define USER_MSRS_MAX 256 /* Linux's MAX_IO_MSRS: there are fewer in a list */

/* Copy a list of MSRs in: their number, or -EFAULT, -E2BIG. */
int user_read_msrs(struct kvm_msr_entry entries[USER_MSRS_MAX], const struct kvm_msrs *user);
/* And back out, all `count` of the list. */
int user_write_msrs(struct kvm_msrs *user, const struct kvm_msr_entry *entries, int count);

#endif
