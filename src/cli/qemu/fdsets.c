#include "cli/qemu/fdsets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/keyval.h"

#define PREFIX "/dev/fdset/"

int fdsets_add(struct fdsets *fdsets, const json_t *options, struct error *error)
{
	uint64_t set = UINT64_MAX, fd = UINT64_MAX;

	if (keyval_number(options, "set", INT32_MAX, &set, error) < 0 ||
	    keyval_number(options, "fd", INT32_MAX, &fd, error) < 0)
		return -EINVAL;
	if (set == UINT64_MAX || fd == UINT64_MAX)
		return error_set(error, EINVAL, "set=N and fd=FD are needed");
	if (fcntl(fd, F_GETFD) < 0)
		return error_set_errno(error, errno, "descriptor %d", (int)fd);
	if (fdsets->count == FDSETS_MAX)
		return error_set(error, ENOSPC, "at most %u descriptors", FDSETS_MAX);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fdsets->list[fdsets->count].set = set;
	fdsets->list[fdsets->count++].fd = fd;
	return 0;
}

int fdsets_open(const struct fdsets *fdsets, const char *path, int flags, struct error *error)
{
	unsigned long set;
	unsigned i;
	char *end;
	int fd;

	if (strncmp(path, PREFIX, strlen(PREFIX)) != 0)
		return -ENOENT;
	set = strtoul(path + strlen(PREFIX), &end, 10);
	for (i = 0; i < fdsets->count && !*end; i++) {
		if (fdsets->list[i].set != set ||
		    (fcntl(fdsets->list[i].fd, F_GETFL) & O_ACCMODE) != (flags & O_ACCMODE))
			continue;
		fd = fcntl(fdsets->list[i].fd, F_DUPFD_CLOEXEC, 3);
		return fd >= 0 ? fd : error_set_errno(error, errno, "'%s'", path);
	}
	return error_set(error, EACCES, "'%s': no -add-fd has such a descriptor, open for that", path);
}
