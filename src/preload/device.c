/*
 * The device behind the path. What is chosen for the engine comes from the environment, since the
 * program knows nothing of it:
 *
 *   KVIK_ENGINE      auto, interp or jit, as kvik run's --engine
 *   KVIK_CODE_CACHE  bytes of translated code for each VM, as kvik run's --code-cache
 */
#include "preload/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/engine.h"
#include "preload/next.h"

#define DEVICE_PATH  "/dev/kvm"
#define DEVICE_MAJOR 10  /* misc devices */
#define DEVICE_MINOR 232 /* Linux's KVM_MINOR */
#define DEVICE_MODE  (S_IFCHR | 0666)

/* Append to a path the components of another, without "." and with ".." resolved by name. `out` has
 * PATH_MAX bytes; false when that is too little. */
static bool append(char *out, const char *path)
{
	size_t length = strlen(out);

	while (*path) {
		size_t size = strcspn(path, "/");

		if (size == 2 && path[0] == '.' && path[1] == '.') {
			while (length && out[--length] != '/')
				;
		} else if (size && !(size == 1 && path[0] == '.')) {
			if (length + size + 2 > PATH_MAX)
				return false;
			out[length++] = '/';
			memcpy(out + length, path, size);
			length += size;
		}
		out[length] = 0;
		path += size;
		path += strspn(path, "/");
	}
	return true;
}

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
	char base[PATH_MAX] = "", whole[PATH_MAX] = "";
	size_t length = path ? strlen(path) : 0;
	int code = errno;
	bool is_device;

	/* Most paths end otherwise, and cost no more than this. */
	if (length < 3 || strcmp(path + length - 3, "kvm") != 0)
		return false;
	if (path[0] != '/' && !directory_name(directory, base)) {
		errno = code;
		return false;
	}
	is_device = append(whole, base) && append(whole, path) && strcmp(whole, DEVICE_PATH) == 0;
	errno = code;
	return is_device;
}

static void choose(struct engine_options *options)
{
	static const struct {
		const char *name;
		enum engine_tier tier;
	} tiers[] = {
		{ "auto", ENGINE_TIER_AUTO },
		{ "interp", ENGINE_TIER_INTERPRETER },
		{ "jit", ENGINE_TIER_TRANSLATOR },
	};
	const char *engine = getenv("KVIK_ENGINE"), *cache = getenv("KVIK_CODE_CACHE");

	for (size_t i = 0; engine && i < sizeof(tiers) / sizeof(tiers[0]); i++)
		if (strcmp(engine, tiers[i].name) == 0)
			options->tier = tiers[i].tier;
	if (cache)
		options->code_cache_bytes = strtoull(cache, NULL, 0);
}

int device_open(int flags)
{
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;
	int fd;

	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
		errno = EEXIST;
		return -1;
	}
	if (flags & O_DIRECTORY) {
		errno = ENOTDIR;
		return -1;
	}
	choose(&options);
	fd = engine_open(&options);
	if (fd < 0) {
		errno = -fd;
		return -1;
	}
	if (!(flags & O_CLOEXEC))
		fcntl(fd, F_SETFD, 0);
	return fd;
}

int device_access(int mode)
{
	if (!(mode & X_OK))
		return 0;
	errno = EACCES;
	return -1;
}

void device_stat(struct stat *status)
{
	memset(status, 0, sizeof(*status));
	status->st_ino = DEVICE_MINOR;
	status->st_mode = DEVICE_MODE;
	status->st_nlink = 1;
	status->st_rdev = makedev(DEVICE_MAJOR, DEVICE_MINOR);
	status->st_blksize = 4096;
}

void device_statx(struct statx *status)
{
	memset(status, 0, sizeof(*status));
	status->stx_mask = STATX_BASIC_STATS;
	status->stx_ino = DEVICE_MINOR;
	status->stx_mode = DEVICE_MODE;
	status->stx_nlink = 1;
	status->stx_rdev_major = DEVICE_MAJOR;
	status->stx_rdev_minor = DEVICE_MINOR;
	status->stx_blksize = 4096;
}

bool device_is_descriptor(int fd)
{
	return engine_handle_kind(fd, false) == ENGINE_HANDLE_SYSTEM;
}
