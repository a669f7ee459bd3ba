/*
 * Helpers: small processes, forked before the monitor confines itself, that do for it what it may not
 * do any more. Each has a list of system calls of its own, answers messages of one size on one socket,
 * trusts nothing that comes by it, and ends when nobody holds the other end.
 */
#ifndef KVIK_SANDBOX_HELPER_H
#define KVIK_SANDBOX_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sandbox/calls.h"
#include "util/error.h"

/* The most descriptors that go with a message. */
#define HELPER_DESCRIPTORS 4

struct helper_config {
	const char *name; /* for people */
	/* What it may call when it is locked, besides what every helper may. */
	const struct allowed_call *calls;
	unsigned call_count;
	bool traps_other_sets; /* calls of other instruction sets raise SIGSYS, as others do; else they end it at once */
	/* Descriptors of the caller's that it goes on to use; all others but standard error are closed. */
	const int *kept;
	unsigned kept_count;
	/* The host's network stays its own, and its root directory has one file, /etc/resolv.conf with this
	 * text (NULL: none). */
	bool needs_network;
	const char *resolver;
	/* This directory becomes its root directory, where the host allows that (layers.h). NULL: it has an
	 * empty one. */
	const char *root;
	bool root_is_readonly;
	unsigned descriptors; /* how many it may have; 0: as many as a monitor */
	/* Before the lock, in the helper: 0 or -errno. NULL: nothing to do. */
	int (*prepare)(void *context);
	/* In the helper, while its root directory of its own, which is the current one, can be written to: make up to root_files
	 * things there. It is not called where the host does not allow such a directory. NULL: nothing to do. */
	void (*fill_root)(void *context);
	unsigned root_files;
	/* The helper's life. It ends when this returns. */
	void (*serve)(int socket, void *context);
	void *context;
};

/* A descriptor of the socket to a new helper, which is locked, or -errno and `error`. The caller is the
 * process's only thread, not confined yet, and closes the descriptor to be rid of the helper. */
int helper_start(const struct helper_config *config, struct error *error);

/*
 * In `prepare`: the directory that config.root names, and that is open as `directory`, opened again by `flags` as the
 * helper's own root directory, where it is that, and `directory` is closed. Else `directory`: by the way of its parents
 * whoever owns the helper then gets out.
 */
int helper_take_root(int directory, int flags);

/* Close descriptors from the first to the last of these numbers; none if `first` is beyond `last`. */
void helper_close_range(unsigned first, unsigned last);

/* One message with descriptors. 0 or -errno; -EPIPE: the other side has gone. */
int helper_send(int socket, const void *message, size_t size, const int *fds, unsigned count);

/*
 * One message of exactly `size` bytes with at most `*count` descriptors, which come to be the caller's,
 * close-on-exec; `*count` becomes their number. 0, -EPIPE (the other side has gone), -EPROTO (a
 * message of another form), -EMFILE (no room for the descriptors) or another -errno; then no
 * descriptor has come.
 */
int helper_receive(int socket, void *message, size_t size, int *fds, unsigned *count);

/* Of helpers that are asked for one descriptor each time. Answer with `fd`, which is closed, or with the -errno
 * that it is. 0 or -errno. */
int helper_give(int socket, int fd);
/* Ask such a helper: a descriptor, close-on-exec, or what the helper said; -EPIPE: it has gone. */
int helper_take(int socket, const void *request, size_t size);

#endif
