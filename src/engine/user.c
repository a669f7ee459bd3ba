/* Copies from and to the caller's memory: user.h. */
#include "engine/user.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <unistd.h>

/* The host has no process_vm_readv for us. */
static _Atomic bool is_forbidden;

typedef ssize_t copy_function(pid_t pid, const struct iovec *ours, unsigned long our_count,
			      const struct iovec *theirs, unsigned long their_count,
			      unsigned long flags);

/* 0, -EFAULT, or -ENOSYS: copy in another way. */
static int copy(copy_function *function, void *ours, void *user, size_t size)
{
	struct iovec local = { ours, size }, remote = { user, size };
	ssize_t copied;

	if (atomic_load_explicit(&is_forbidden, memory_order_relaxed))
		return -ENOSYS;
	copied = function(getpid(), &local, 1, &remote, 1, 0);
	if (copied == (ssize_t)size)
		return 0;
	if (copied >= 0 || (errno != ENOSYS && errno != EPERM && errno != EACCES))
		return -EFAULT;
	atomic_store_explicit(&is_forbidden, true, memory_order_relaxed);
	return -ENOSYS;
}

int user_read(void *to, const void *user, size_t size)
{
	int result;

	if (!size)
		return 0;
	if (user_check(user, size) < 0)
		return -EFAULT;
	result = copy(process_vm_readv, to, (void *)user, size);
	return result == -ENOSYS ? user_read_plain(to, user, size) : result;
}

int user_write(void *user, const void *from, size_t size)
{
	int result;

	if (!size)
		return 0;
	if (user_check(user, size) < 0)
		return -EFAULT;
	result = copy(process_vm_writev, (void *)from, user, size);
	return result == -ENOSYS ? user_write_plain(user, from, size) : result;
}

int user_read_msrs(struct kvm_msr_entry entries[USER_MSRS_MAX], const struct kvm_msrs *user)
{
	struct kvm_msrs header;
	int result = user_read(&header, user, sizeof(header));

	if (result < 0)
		return result;
	if (header.nmsrs >= USER_MSRS_MAX)
		return -E2BIG;
	result = user_read(entries, user->entries, header.nmsrs * sizeof(entries[0]));
	return result < 0 ? result : (int)header.nmsrs;
}

int user_write_msrs(struct kvm_msrs *user, const struct kvm_msr_entry *entries, int count)
{
	return user_write(user->entries, entries, (size_t)count * sizeof(entries[0]));
}
