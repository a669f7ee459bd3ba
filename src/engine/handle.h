/*
 * Engine handles: file descriptors with an object of the engine behind them.
 *
 * Every handle is a memfd of its own. For a vCPU it holds the `struct kvm_run` that user space
 * maps; for the others it is empty and serves as a descriptor that dup, poll and fcntl accept. The
 * table maps descriptor numbers to handles; a duplicated or passed descriptor is recognized by the
 * memfd's inode at its first use.
 */
#ifndef KVIK_ENGINE_HANDLE_H
#define KVIK_ENGINE_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum handle_kind { HANDLE_SYSTEM, HANDLE_VM, HANDLE_VCPU };

struct handle {
	_Atomic unsigned references; /* one a descriptor, one a request under way; 0: free */
	enum handle_kind kind;
	void *object;
	void (*release)(void *object); /* at the last reference; may be NULL */
	ino_t inode;
	unsigned generation; /* of the process that made it, see handle_is_foreign */
	struct handle *next; /* in the list of all handles, or of free ones: the table's lock */
};

/*
 * Make a descriptor of `size` bytes (0: not mappable) for `object`. From here on the handle owns
 * one reference of the object and drops it with `release`. Returns the descriptor, or -errno with
 * the object still the caller's.
 */
int handle_create(enum handle_kind kind, const char *name, size_t size, void *object,
		  void (*release)(void *object));

/* The handle behind a descriptor with a reference taken; NULL when it is not the engine's.
 * Lock-free and async-signal-safe for descriptors that were used before. */
struct handle *handle_get(int fd);
void handle_put(struct handle *handle);
/* The same without a look at descriptors that were never used with the engine. */
struct handle *handle_get_known(int fd);

/* Close the descriptor and drop its reference. 0, -EBADF. */
int handle_close(int fd);
/* Drop the references of descriptors first..last, which somebody else closes. */
void handle_forget(unsigned first, unsigned last);

/*
 * After fork(2), in the child: it has the memory of the objects, but not their threads, so it can
 * only close what it inherited. Foreign are the handles made before the fork.
 */
void handle_after_fork(void);
bool handle_is_foreign(const struct handle *handle);

#endif
