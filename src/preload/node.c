#include "preload/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NODE_PATH  "/dev/kvm"
#define NODE_MAJOR 10  /* misc devices */
#define NODE_MINOR 232 /* Linux's KVM_MINOR */
#define NODE_MODE  (S_IFCHR | 0666)

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

bool node_may_be(const char *path)
{
	size_t length = path ? strlen(path) : 0;

	return length >= 3 && strcmp(path + length - 3, "kvm") == 0;
}

bool node_is(const char *base, const char *path)
{
	char whole[PATH_MAX] = "";

	if (path[0] != '/' && !append(whole, base))
		return false;
	return append(whole, path) && strcmp(whole, NODE_PATH) == 0;
}

void node_choose_engine(struct engine_options *options)
{
	static const struct {
		const char *name;
		enum engine_tier tier;
	} tiers[] = {
	    {"auto", ENGINE_TIER_AUTO},
	    {"interp", ENGINE_TIER_INTERPRETER},
	    {"jit", ENGINE_TIER_TRANSLATOR},
	};
	const char *engine = getenv("KVIK_ENGINE"), *cache = getenv("KVIK_CODE_CACHE");

	for (size_t i = 0; engine && i < sizeof(tiers) / sizeof(tiers[0]); i++)
		if (strcmp(engine, tiers[i].name) == 0)
			options->tier = tiers[i].tier;
	if (cache)
		options->code_cache_bytes = strtoull(cache, NULL, 0);
}

int node_check_open(int flags)
{
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	return flags & O_DIRECTORY ? -ENOTDIR : 0;
}

int node_check_access(int mode)
{
	return mode & X_OK ? -EACCES : 0;
}

void node_stat(struct stat *status)
{
	memset(status, 0, sizeof(*status));
	status->st_ino = NODE_MINOR;
	status->st_mode = NODE_MODE;
	status->st_nlink = 1;
	status->st_rdev = makedev(NODE_MAJOR, NODE_MINOR);
	status->st_blksize = 4096;
}

void node_statx(struct statx *status)
{
	memset(status, 0, sizeof(*status));
	status->stx_mask = STATX_BASIC_STATS;
	status->stx_ino = NODE_MINOR;
	status->stx_mode = NODE_MODE;
	status->stx_nlink = 1;
	status->stx_rdev_major = NODE_MAJOR;
	status->stx_rdev_minor = NODE_MINOR;
	status->stx_blksize = 4096;
}
