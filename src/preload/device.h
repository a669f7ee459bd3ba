/*
 * /dev/kvm as the program is to see it: a character device that is there, whatever the host has, and
 * whose descriptors are the engine's.
 */
#ifndef KVIK_PRELOAD_DEVICE_H
#define KVIK_PRELOAD_DEVICE_H

#include <stdbool.h>
#include <sys/stat.h>

/* Whether `path`, seen from `directory` (AT_FDCWD, or a descriptor), names /dev/kvm. errno stays. */
bool device_is_path(int directory, const char *path);

/* A new system handle, as open(2) with these flags gives: a descriptor, or -1 with errno. */
int device_open(int flags);

/* As access(2): 0, or -1 with errno. */
int device_access(int mode);

/* Whether `fd` is a system handle, whose fstat(2) must say the same. */
bool device_is_descriptor(int fd);

#endif
