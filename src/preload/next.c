#include "preload/next.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	size_t offset;
} functions[] = {
	{ "open", offsetof(struct next, open) },
	{ "openat", offsetof(struct next, openat) },
	{ "ioctl", offsetof(struct next, ioctl) },
	{ "close", offsetof(struct next, close) },
	{ "close_range", offsetof(struct next, close_range) },
	{ "dup", offsetof(struct next, dup) },
	{ "dup2", offsetof(struct next, dup2) },
	{ "dup3", offsetof(struct next, dup3) },
	{ "fcntl", offsetof(struct next, fcntl) },
	{ "sendmsg", offsetof(struct next, sendmsg) },
	{ "access", offsetof(struct next, access) },
	{ "euidaccess", offsetof(struct next, euidaccess) },
	{ "faccessat", offsetof(struct next, faccessat) },
	{ "stat", offsetof(struct next, stat) },
	{ "lstat", offsetof(struct next, lstat) },
	{ "fstat", offsetof(struct next, fstat) },
	{ "fstatat", offsetof(struct next, fstatat) },
	{ "statx", offsetof(struct next, statx) },
	{ "syscall", offsetof(struct next, syscall) },
	{ "sigaction", offsetof(struct next, sigaction) },
	{ "signal", offsetof(struct next, signal) },
};

static struct next table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void look_up(void)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *address = dlsym(RTLD_NEXT, functions[i].name);

		memcpy((char *)&table + functions[i].offset, &address, sizeof(address));
	}
}

const struct next *next(void)
{
	pthread_once(&once, look_up);
	return &table;
}
