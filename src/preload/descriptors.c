/*
 * The functions on descriptors that the engine must hear of: requests, and whatever ends or copies
 * one. What is not here (mmap, poll, recvmsg) works on the engine's descriptors as it is, since they
 * are files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/engine.h"
#include "preload/next.h"

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;
	int result;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	/* Linux takes 32 bits of it; some programs have it sign-extended from an int. */
	request = (unsigned)request;
	if (_IOC_TYPE(request) != KVMIO || engine_handle_kind(fd, true) == ENGINE_HANDLE_NONE)
		return next()->ioctl(fd, request, argument);
	result = engine_ioctl(fd, request, argument);
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

int close(int fd)
{
	int result = engine_close(fd);

	if (result == 0)
		return 0;
	errno = -result;
	return -1;
}

int close_range(unsigned first, unsigned last, int flags)
{
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		engine_forget(first, last);
	return next()->close_range(first, last, flags);
}

void closefrom(int first)
{
	close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

/* A copy counts from now on, and not only once it is used. */
static int copied(int old, int new)
{
	if (new >= 0 && engine_handle_kind(old, false) != ENGINE_HANDLE_NONE)
		engine_handle_kind(new, true);
	return new;
}

/* The new number's descriptor goes, unless the old one is none or the same. */
static void replace(int old, int new)
{
	if (new >= 0 && old != new && fcntl(old, F_GETFD) >= 0)
		engine_forget((unsigned)new, (unsigned)new);
}

int dup(int old)
{
	return copied(old, next()->dup(old));
}

int dup2(int old, int new)
{
	replace(old, new);
	return copied(old, next()->dup2(old, new));
}

int dup3(int old, int new, int flags)
{
	replace(old, new);
	return copied(old, next()->dup3(old, new, flags));
}

static int do_fcntl(int fd, int command, void *argument)
{
	int result = next()->fcntl(fd, command, argument);

	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result;
}

int fcntl(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return do_fcntl(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return do_fcntl(fd, command, argument);
}

/* The sender may close its own before the other side has used the copy. */
static void keep_passed(const struct cmsghdr *header)
{
	size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
		if (engine_handle_kind(fd, false) != ENGINE_HANDLE_NONE)
			engine_keep(fd);
	}
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
	ssize_t result = next()->sendmsg(socket, message, flags);

	if (result < 0 || !message->msg_control)
		return result;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR((struct msghdr *)message, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		    header->cmsg_len >= CMSG_LEN(0))
			keep_passed(header);
	return result;
}
