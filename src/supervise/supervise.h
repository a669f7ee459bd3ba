/*
 * A /dev/kvm for programs without their help: those that are statically linked, make system calls
 * of their own, clear the environment or chroot, and so would not see what is preloaded
 * (src/preload).
 *
 * Three processes take part. The caller's own stands for the program towards whoever started it: it
 * passes signals on, and ends as the program ends. The supervisor, its child, is the engine's
 * process. The program is the supervisor's child, under a seccomp filter that tells the supervisor
 * of each system call that may be about /dev/kvm (seccomp_unotify(2)); children of the program are
 * served as well.
 *
 * This gives the program something, and keeps nothing from it: it is no security boundary.
 */
#ifndef KVIK_SUPERVISE_SUPERVISE_H
#define KVIK_SUPERVISE_SUPERVISE_H

#include "util/error.h"

/*
 * Run the program at `path` until it ends, with the engine that the environment asks for
 * (preload/node.h). Gives its wait status, as waitpid(2) does. -errno when it could not be run.
 * Only while the process has one thread.
 */
int supervise_run(const char *path, char **arguments, int *status, struct error *error);

#endif
