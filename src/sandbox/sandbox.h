/*
 * The confinement of a monitor that its guest has taken over: from here on, whoever controls this
 * process has the files that it has open and a short list of system calls, and nothing else.
 *
 * It goes in two steps. sandbox_enter, while the process has one thread and everything that a path
 * names is open: its own namespaces, an empty root directory, no privileges and no way to gain any.
 * sandbox_lock, when everything is made and before the guest's first instruction: a seccomp filter
 * for all threads. What the host does not allow is left out and told, but for the filter and
 * no_new_privs, without which there is no confinement.
 *
 * It belongs to a process whose whole purpose is a guest. A library in somebody else's process, as
 * the engine is one, never calls it.
 */
#ifndef KVIK_SANDBOX_SANDBOX_H
#define KVIK_SANDBOX_SANDBOX_H

#include "sandbox/layers.h"
#include "util/error.h"

/*
 * The first step. The caller is the process's only thread. Fills `report`, which sandbox_lock
 * completes. 0, or -errno and `error` when no_new_privs fails.
 */
int sandbox_enter(const struct sandbox_config *config, struct sandbox_report *report,
		  struct error *error);

/*
 * The second step: the filter, for all threads that there are and that are made later. No code can
 * be mapped from now on. 0, or -errno and `error`: the filter cannot be had.
 */
int sandbox_lock(const struct sandbox_config *config, struct sandbox_report *report,
		 struct error *error);

/*
 * What this host allows, tried out in a child process: fills `report`. The caller is the process's
 * only thread. 0 or -errno: the child could not be made.
 */
int sandbox_probe(const struct sandbox_config *config, struct sandbox_report *report);

#endif
