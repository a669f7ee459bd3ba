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

#include <stdbool.h>

#include "util/error.h"

/* In the order in which they are taken. */
enum sandbox_layer {
	SANDBOX_LIMITS,		/* no core dumps, a bounded number of descriptors */
	SANDBOX_NAMESPACES,	/* its own users (of an ordinary user), mounts, IPC, host name */
	SANDBOX_NETWORK,	/* a network of its own, with nothing in it */
	SANDBOX_EMPTY_ROOT,	/* a root directory without entries */
	SANDBOX_CAPABILITIES,	/* none, in any set, and none by being root */
	SANDBOX_NO_NEW_PRIVS,	/* none by executing a file */
	SANDBOX_NOT_DUMPABLE,	/* other processes of the same user can neither read nor trace it */
	SANDBOX_FILTER,		/* system calls: calls.h */
	SANDBOX_LAYERS,
};

struct sandbox_report {
	struct {
		bool holds;
		char how[96]; /* which way it was done, or why it was not */
	} layers[SANDBOX_LAYERS];
};

struct sandbox_config {
	bool needs_network; /* the host's network stays: a backend of the guest's network uses it */
	bool uses_kvm;	    /* the filter lets through KVM's requests on handles that are there */
	bool uses_helpers;  /* ... and messages to a broker (broker.h) or a spawner (spawner.h) */
};

/* What a layer is called in words for people and in doctor's JSON. */
const char *sandbox_layer_name(enum sandbox_layer layer);

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
