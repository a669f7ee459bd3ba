/*
 * The functions that this library stands in front of, as whoever comes next defines them: the C
 * library, or another preloaded one.
 *
 * The engine, which is linked into this library, means these when it says close or sigaction: the
 * linker's --wrap leads it to wrap.c instead of to what is exported here.
 */
#ifndef KVIK_PRELOAD_NEXT_H
#define KVIK_PRELOAD_NEXT_H

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

struct next {
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int directory, const char *path, int flags, ...);
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*close)(int fd);
	int (*close_range)(unsigned first, unsigned last, int flags);
	int (*dup)(int old);
	int (*dup2)(int old, int new);
	int (*dup3)(int old, int new, int flags);
	int (*fcntl)(int fd, int command, ...);
	ssize_t (*sendmsg)(int socket, const struct msghdr *message, int flags);
	int (*access)(const char *path, int mode);
	int (*euidaccess)(const char *path, int mode);
	int (*faccessat)(int directory, const char *path, int mode, int flags);
	int (*stat)(const char *path, struct stat *status);
	int (*lstat)(const char *path, struct stat *status);
	int (*fstat)(int fd, struct stat *status);
	int (*fstatat)(int directory, const char *path, struct stat *status, int flags);
	int (*statx)(int directory, const char *path, int flags, unsigned mask,
		     struct statx *status);
	long (*syscall)(long number, ...);
	int (*sigaction)(int number, const struct sigaction *action, struct sigaction *previous);
	sighandler_t (*signal)(int number, sighandler_t handler);
};

/* Looked up at the first call. Any thread. */
const struct next *next(void);

#endif
