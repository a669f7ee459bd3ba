/* The layers of the confinement (sandbox.h): what is asked for, and what became of each. */
#ifndef KVIK_SANDBOX_LAYERS_H
#define KVIK_SANDBOX_LAYERS_H

#include <stdbool.h>

/* In the order in which they are taken. */
enum sandbox_layer {
	SANDBOX_LIMITS,		/* no core dumps, a bounded number of descriptors */
	SANDBOX_NAMESPACES,	/* its own users (of an ordinary user), mounts, IPC, host name */
	SANDBOX_NETWORK,	/* a network of its own, with nothing in it */
	SANDBOX_EMPTY_ROOT,	/* a root directory without entries, or with those asked for */
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
	/* The root directory has /etc/resolv.conf with this text, if it is one of its own; NULL: nothing. */
	const char *resolver;
	/* Called while that is the current directory and can be written to, which holds up to root_files things of it. */
	void (*fill_root)(void *context);
	void *fill_context;
	unsigned root_files;
	/* This directory becomes the root directory instead, with all that is mounted below it, and
	 * nothing else can be reached; NULL: an empty one. */
	const char *root;
	bool root_is_readonly;
	unsigned descriptors; /* how many at most; 0: as many as a monitor has */
	bool uses_kvm;	    /* the filter lets through KVM's requests on handles that are there */
	bool listens;	    /* ... and new peers on sockets that listen */
	bool uses_helpers;  /* ... and messages to helpers (helper.h) */
};

/* What a layer is called in words for people and in doctor's JSON. */
const char *sandbox_layer_name(enum sandbox_layer layer);

/* Write into the report what became of a layer. */
void sandbox_note(struct sandbox_report *report, enum sandbox_layer layer, bool holds,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
