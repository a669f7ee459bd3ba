/*
 * syscall(3): for programs that name the call instead of the function. Those that have a system call
 * instruction of their own do not come by here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/device.h"
#include "preload/interposed.h"
#include "preload/next.h"

static long openat2(const long *arguments)
{
	const struct open_how *how = (const struct open_how *)arguments[2];

	if (device_is_path((int)arguments[0], (const char *)arguments[1]))
		return device_open((int)how->flags);
	return next()->syscall(SYS_openat2, arguments[0], arguments[1], arguments[2], arguments[3]);
}

long syscall(long number, ...)
{
	const char *path;
	long arguments[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	path = (const char *)arguments[0];
	switch (number) {
	case SYS_open: return interposed_open(path, (int)arguments[1], (mode_t)arguments[2]);
	case SYS_creat: return creat(path, (mode_t)arguments[1]);
	case SYS_openat:
		return openat((int)arguments[0], (const char *)arguments[1], (int)arguments[2],
			      (mode_t)arguments[3]);
	case SYS_openat2: return openat2(arguments);
	case SYS_access: return access(path, (int)arguments[1]);
	case SYS_faccessat:
		return faccessat((int)arguments[0], (const char *)arguments[1], (int)arguments[2], 0);
	case SYS_faccessat2:
		return faccessat((int)arguments[0], (const char *)arguments[1], (int)arguments[2],
				 (int)arguments[3]);
	/* The kernel's struct stat is the C library's on x86-64. */
	case SYS_stat: return stat(path, (struct stat *)arguments[1]);
	case SYS_lstat: return lstat(path, (struct stat *)arguments[1]);
	case SYS_fstat: return interposed_fstat((int)arguments[0], (struct stat *)arguments[1]);
	case SYS_newfstatat:
		return fstatat((int)arguments[0], (const char *)arguments[1],
			       (struct stat *)arguments[2], (int)arguments[3]);
	case SYS_statx:
		return statx((int)arguments[0], (const char *)arguments[1], (int)arguments[2],
			     (unsigned)arguments[3], (struct statx *)arguments[4]);
	case SYS_ioctl:
		return interposed_ioctl((int)arguments[0], (unsigned long)arguments[1], (void *)arguments[2]);
	case SYS_close: return interposed_close((int)arguments[0]);
	case SYS_close_range:
		return close_range((unsigned)arguments[0], (unsigned)arguments[1],
				   (int)arguments[2]);
	case SYS_dup: return dup((int)arguments[0]);
	case SYS_fcntl: return fcntl((int)arguments[0], (int)arguments[1], (void *)arguments[2]);
	case SYS_sendmsg:
		return sendmsg((int)arguments[0], (const struct msghdr *)arguments[1],
			       (int)arguments[2]);
	case SYS_dup2: return dup2((int)arguments[0], (int)arguments[1]);
	case SYS_dup3: return dup3((int)arguments[0], (int)arguments[1], (int)arguments[2]);
	default:
		return next()->syscall(number, arguments[0], arguments[1], arguments[2],
				       arguments[3], arguments[4], arguments[5]);
	}
}
