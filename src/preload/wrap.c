/* What the engine calls where it names a function that this library exports: see next.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "preload/device.h"
#include "preload/next.h"

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_close(int fd);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fstat(int fd, struct stat *status);
int __wrap_fstat64(int fd, struct stat *status);
int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *previous);
long __wrap_syscall(long number, ...);

/* The engine creates no files. It would ask the host's KVM, where there is one, what is known of the
 * processor; here nothing reaches that. */
int __wrap_open(const char *path, int flags, ...)
{
	if (device_is_path(AT_FDCWD, path)) {
		errno = ENOENT;
		return -1;
	}
	return next()->open(path, flags);
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return next()->ioctl(fd, request, argument);
}

int __wrap_close(int fd)
{
	return next()->close(fd);
}

int __wrap_fcntl64(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return next()->fcntl(fd, command, argument);
}

int __wrap_fstat(int fd, struct stat *status)
{
	return next()->fstat(fd, status);
}

/* The same struct on this architecture. */
int __wrap_fstat64(int fd, struct stat *status)
{
	return next()->fstat(fd, status);
}

int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *previous)
{
	return next()->sigaction(number, action, previous);
}

long __wrap_syscall(long number, ...)
{
	long arguments[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	return next()->syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
			       arguments[4], arguments[5]);
}
