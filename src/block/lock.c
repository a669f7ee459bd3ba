/*
 * QEMU's image locking (its docs/system/images, "image locking", and block/file-posix.c): bytes of
 * the file stand for permissions. Whoever uses a permission holds a read lock on byte 100 + its
 * number; whoever doesn't let others use it, on byte 200 + its number. So nobody ever waits, and a
 * conflict is a lock on the other byte. The locks are those of open file descriptions (fcntl(2),
 * F_OFD_SETLK): threads and duplicates share them, and they end with the last descriptor.
 */
#include "block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/*
 * A process that was killed holds its files, and so its locks, until what it had given to an io_uring
 * is done: shortly, and rightly. Who starts anew in its place waits for that.
 */
#define TRIES	   25
#define PAUSE_NS   20000000

#define USED_BYTE     100
#define UNSHARED_BYTE 200

enum permission {
	CONSISTENT_READ, /* see what a guest would see */
	WRITE,
	WRITE_UNCHANGED, /* write what is there already */
	RESIZE,
	PERMISSIONS,
};

#define BIT(permission) (1u << (permission))

static const char *const permission_names[PERMISSIONS] = {"read it", "write to it",
							   "rewrite it", "resize it"};

static struct flock lock_of(short type, int byte)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

/* 0, -EAGAIN, or another -errno where there are no such locks. */
static int lock_bytes(int fd, int base, unsigned permissions)
{
	int i;

	for (i = 0; i < PERMISSIONS; i++) {
		struct flock lock = lock_of(F_RDLCK, base + i);

		if (permissions & BIT(i) && fcntl(fd, F_OFD_SETLK, &lock) < 0)
			return errno == EACCES ? -EAGAIN : -errno;
	}
	return 0;
}

/* The first of `permissions` at whose byte somebody else holds a lock, or -1. */
static int find_held(int fd, int base, unsigned permissions)
{
	int i;

	for (i = 0; i < PERMISSIONS; i++) {
		struct flock lock = lock_of(F_WRLCK, base + i);

		if (permissions & BIT(i) && fcntl(fd, F_OFD_GETLK, &lock) == 0 &&
		    lock.l_type != F_UNLCK)
			return i;
	}
	return -1;
}

static int try_lock(int fd, const char *path, bool is_writer, bool share_writes,
		    struct error *error)
{
	unsigned used = BIT(CONSISTENT_READ), unshared = BIT(WRITE) | BIT(RESIZE);
	int result, held;

	if (is_writer)
		used |= BIT(WRITE) | BIT(RESIZE);
	if (share_writes)
		used = unshared = 0;
	result = lock_bytes(fd, USED_BYTE, used);
	if (result == 0)
		result = lock_bytes(fd, UNSHARED_BYTE, unshared);
	if (result == -EAGAIN)
		return error_set(error, EAGAIN, "%s is locked by another program", path);
	if (result < 0)
		return 0;
	held = find_held(fd, UNSHARED_BYTE, used);
	if (held >= 0)
		return error_set(error, EAGAIN, "%s is in use: another program lets nobody else %s",
				 path, permission_names[held]);
	held = find_held(fd, USED_BYTE, unshared);
	if (held >= 0)
		return error_set(error, EAGAIN,
				 "%s is in use: another program may %s (end that one first)", path,
				 permission_names[held]);
	return 0;
}

int lock_image(int fd, const char *path, bool is_writer, bool share_writes, struct error *error)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	unsigned tries;
	int result;

	for (tries = 1;; tries++) {
		result = try_lock(fd, path, is_writer, share_writes, error);
		if (result != -EAGAIN || tries == TRIES)
			return result;
		nanosleep(&pause, NULL);
	}
}

void lock_read_only(int fd)
{
	static const int given_up[] = {WRITE, RESIZE};
	unsigned i;

	for (i = 0; i < sizeof(given_up) / sizeof(given_up[0]); i++) {
		struct flock lock = lock_of(F_UNLCK, USED_BYTE + given_up[i]);

		/* Where there are no such locks there is none to give up. */
		if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
			return;
	}
}
