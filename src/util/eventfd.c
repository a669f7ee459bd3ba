#include "util/eventfd.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of no file type, and takes a count of 0: nothing but an eventfd does both. */
int eventfd_check(int fd)
{
	uint64_t none = 0;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if ((status.st_mode & S_IFMT) || write(fd, &none, sizeof(none)) != sizeof(none))
		return -EINVAL;
	return 0;
}

static long compare(int fd, int other_fd)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, other_fd);
}

bool eventfd_is_same(int fd, int number, int other_fd)
{
	long result = compare(fd, other_fd);

	return result < 0 ? number == other_fd : result == 0;
}

/* kcmp(2): 0 the same, 1 less, 2 greater. */
enum eventfd_order eventfd_compare(int fd, int other_fd)
{
	switch (compare(fd, other_fd)) {
	case 0: return EVENTFD_IS_SAME;
	case 1: return EVENTFD_IS_BEFORE;
	case 2: return EVENTFD_IS_BEHIND;
	default: return EVENTFD_IS_UNKNOWN;
	}
}
