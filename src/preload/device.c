/* The device behind the path: what node.h says of it, as C library calls. */
#include "preload/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "preload/next.h"
#include "preload/node.h"

static bool directory_name(int directory, char *out)
{
	char link[32];
	ssize_t length;

	if (directory == AT_FDCWD)
		return getcwd(out, PATH_MAX) != NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", directory);
	length = readlink(link, out, PATH_MAX - 1);
	if (length < 0)
		return false;
	out[length] = 0;
	return true;
}

bool device_is_path(int directory, const char *path)
{
	char base[PATH_MAX] = "";
	int code = errno;
	bool is_known;

	if (!node_may_be(path))
		return false;
	is_known = path[0] == '/' || directory_name(directory, base);
	errno = code;
	return is_known && node_is(base, path);
}

static int fail(int result)
{
	errno = -result;
	return -1;
}

int device_open(int flags)
{
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;
	int fd = node_check_open(flags);

	if (fd < 0)
		return fail(fd);
	node_choose_engine(&options);
	fd = engine_open(&options);
	if (fd < 0)
		return fail(fd);
	if (!(flags & O_CLOEXEC))
		fcntl(fd, F_SETFD, 0);
	return fd;
}

int device_access(int mode)
{
	int result = node_check_access(mode);

	return result < 0 ? fail(result) : 0;
}

bool device_is_descriptor(int fd)
{
	return engine_handle_kind(fd, false) == ENGINE_HANDLE_SYSTEM;
}
