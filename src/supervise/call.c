#include "supervise/call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervise/supervisor.h"
#include "util/page.h"

int call_read(const struct call *call, void *to, uint64_t address, size_t size)
{
	struct iovec here = {to, size}, there = {(void *)(uintptr_t)address, size};

	if (size == 0)
		return 0;
	return process_vm_readv(call->thread, &here, 1, &there, 1, 0) == (ssize_t)size ? 0
	                                                                               : -EFAULT;
}

int call_write(const struct call *call, uint64_t address, const void *from, size_t size)
{
	struct iovec here = {(void *)(uintptr_t)from, size};
	struct iovec there = {(void *)(uintptr_t)address, size};

	if (size == 0)
		return 0;
	return process_vm_writev(call->thread, &here, 1, &there, 1, 0) == (ssize_t)size ? 0
	                                                                                : -EFAULT;
}

int call_read_string(const struct call *call, char *to, uint64_t address, size_t size)
{
	for (size_t length = 0; length < size;) {
		/* What is behind the string's page may not be there. */
		size_t part = PAGE_SIZE - (address + length) % PAGE_SIZE;

		if (part > size - length)
			part = size - length;
		if (call_read(call, to + length, address + length, part) < 0)
			return -EFAULT;
		if (memchr(to + length, 0, part))
			return 0;
		length += part;
	}
	return -ENAMETOOLONG;
}

bool call_is_waiting(const struct call *call)
{
	uint64_t id = call->id;

	return ioctl(call->supervisor->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static bool send_answer(const struct call *call, struct seccomp_notif_resp *answer)
{
	answer->id = call->id;
	return ioctl(call->supervisor->listener, SECCOMP_IOCTL_NOTIF_SEND, answer) == 0;
}

bool call_answer(const struct call *call, int64_t result)
{
	struct seccomp_notif_resp answer = {0};

	if (result < 0)
		answer.error = (int)result;
	else
		answer.val = result;
	return send_answer(call, &answer);
}

bool call_pass(const struct call *call)
{
	struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return send_answer(call, &answer);
}

bool call_answer_descriptor(const struct call *call, int fd, bool closes_on_exec)
{
	struct seccomp_notif_addfd add = {.id = call->id,
	                                  .flags = SECCOMP_ADDFD_FLAG_SEND,
	                                  .srcfd = (unsigned)fd,
	                                  .newfd_flags = closes_on_exec ? O_CLOEXEC : 0};

	if (ioctl(call->supervisor->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0)
		return true;
	/* Its table may be full: the answer is the errno. */
	call_answer(call, -errno);
	return false;
}

int call_add_descriptor(const struct call *call, int fd)
{
	struct seccomp_notif_addfd add = {
	    .id = call->id, .srcfd = (unsigned)fd, .newfd_flags = O_CLOEXEC};
	int result = ioctl(call->supervisor->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	return result < 0 ? -errno : result;
}

int call_take_descriptor(const struct call *call, int fd)
{
	pid_t process = process_of(call->thread);
	int handle, result;

	if (process < 0)
		return process;
	handle = (int)syscall(SYS_pidfd_open, process, 0);
	if (handle < 0)
		return -errno;
	result = (int)syscall(SYS_pidfd_getfd, handle, fd, 0);
	if (result < 0)
		result = -errno;
	close(handle);
	return result;
}

pid_t process_of(pid_t thread)
{
	char path[40], text[512];
	const char *field;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length < 0)
		return -ESRCH;
	text[length] = 0;
	field = strstr(text, "\nTgid:");
	return field ? atoi(field + 6) : -ESRCH;
}
