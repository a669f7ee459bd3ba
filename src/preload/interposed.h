/* What this library exports under names that the linker leads elsewhere (next.h): for its own files that
 * mean the exported functions. */
#ifndef KVIK_PRELOAD_INTERPOSED_H
#define KVIK_PRELOAD_INTERPOSED_H

#include <sys/stat.h>

int interposed_open(const char *path, int flags, ...) __asm__("__real_open");
int interposed_ioctl(int fd, unsigned long request, ...) __asm__("__real_ioctl");
int interposed_close(int fd) __asm__("__real_close");
int interposed_fstat(int fd, struct stat *status) __asm__("__real_fstat");

#endif
