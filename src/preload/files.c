/* The functions by which programs find and open the device. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <unistd.h>

#include "preload/device.h"
#include "preload/next.h"
#include "preload/node.h"

/* Those that <fcntl.h> and <sys/stat.h> do not declare: what _FORTIFY_SOURCE and old programs call. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);
int __xstat(int version, const char *path, struct stat *status);
int __lxstat(int version, const char *path, struct stat *status);
int __fxstat(int version, int fd, struct stat *status);
int __fxstatat(int version, int directory, const char *path, struct stat *status, int flags);
int __xstat64(int version, const char *path, struct stat64 *status);
int __lxstat64(int version, const char *path, struct stat64 *status);
int __fxstat64(int version, int fd, struct stat64 *status);
int __fxstatat64(int version, int directory, const char *path, struct stat64 *status, int flags);

/* Only then is there a mode behind the flags. */
static bool has_mode(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

static int open_any(int directory, const char *path, int flags, mode_t mode)
{
	if (device_is_path(directory, path))
		return device_open(flags);
	return next()->openat(directory, path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
	return has_mode(flags) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return open_any(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return open_any(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return open_any(directory, path, flags | O_LARGEFILE, mode);
}

int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, 0);
}

int __openat_2(int directory, const char *path, int flags)
{
	return open_any(directory, path, flags, 0);
}

int __openat64_2(int directory, const char *path, int flags)
{
	return open_any(directory, path, flags | O_LARGEFILE, 0);
}

int creat(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode);
}

int access(const char *path, int mode)
{
	return device_is_path(AT_FDCWD, path) ? device_access(mode) : next()->access(path, mode);
}

int euidaccess(const char *path, int mode)
{
	return device_is_path(AT_FDCWD, path) ? device_access(mode)
					      : next()->euidaccess(path, mode);
}

int eaccess(const char *path, int mode)
{
	return euidaccess(path, mode);
}

int faccessat(int directory, const char *path, int mode, int flags)
{
	return device_is_path(directory, path) ? device_access(mode)
					       : next()->faccessat(directory, path, mode, flags);
}

/* Whether the call is about the descriptor itself. */
static bool is_descriptor_alone(int directory, const char *path, int flags)
{
	return flags & AT_EMPTY_PATH && path && !*path && directory != AT_FDCWD;
}

int fstatat(int directory, const char *path, struct stat *status, int flags)
{
	if (is_descriptor_alone(directory, path, flags))
		return fstat(directory, status);
	if (!device_is_path(directory, path))
		return next()->fstatat(directory, path, status, flags);
	node_stat(status);
	return 0;
}

int stat(const char *path, struct stat *status)
{
	if (!device_is_path(AT_FDCWD, path))
		return next()->stat(path, status);
	node_stat(status);
	return 0;
}

int lstat(const char *path, struct stat *status)
{
	if (!device_is_path(AT_FDCWD, path))
		return next()->lstat(path, status);
	node_stat(status);
	return 0;
}

int fstat(int fd, struct stat *status)
{
	if (!device_is_descriptor(fd))
		return next()->fstat(fd, status);
	node_stat(status);
	return 0;
}

int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status)
{
	bool is_device = is_descriptor_alone(directory, path, flags)
				 ? device_is_descriptor(directory)
				 : device_is_path(directory, path);

	if (!is_device)
		return next()->statx(directory, path, flags, mask, status);
	node_statx(status);
	return 0;
}

/* On x86-64, struct stat64 is struct stat, and there has been one version of both. */
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "two structs");

int stat64(const char *path, struct stat64 *status)
{
	return stat(path, (struct stat *)status);
}

int lstat64(const char *path, struct stat64 *status)
{
	return lstat(path, (struct stat *)status);
}

int fstat64(int fd, struct stat64 *status)
{
	return fstat(fd, (struct stat *)status);
}

int fstatat64(int directory, const char *path, struct stat64 *status, int flags)
{
	return fstatat(directory, path, (struct stat *)status, flags);
}

int __xstat(int version, const char *path, struct stat *status)
{
	(void)version;
	return stat(path, status);
}

int __lxstat(int version, const char *path, struct stat *status)
{
	(void)version;
	return lstat(path, status);
}

int __fxstat(int version, int fd, struct stat *status)
{
	(void)version;
	return fstat(fd, status);
}

int __fxstatat(int version, int directory, const char *path, struct stat *status, int flags)
{
	(void)version;
	return fstatat(directory, path, status, flags);
}

int __xstat64(int version, const char *path, struct stat64 *status)
{
	(void)version;
	return stat64(path, status);
}

int __lxstat64(int version, const char *path, struct stat64 *status)
{
	(void)version;
	return lstat64(path, status);
}

int __fxstat64(int version, int fd, struct stat64 *status)
{
	(void)version;
	return fstat64(fd, status);
}

int __fxstatat64(int version, int directory, const char *path, struct stat64 *status, int flags)
{
	(void)version;
	return fstatat64(directory, path, status, flags);
}
