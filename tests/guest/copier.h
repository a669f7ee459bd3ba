/*
 * Copies a guest's memory while it runs, as a migration does: again and again what the dirty log says has been written since
 * the time before. When the guest has ended, and the log was asked once more, the copy must be what memory is.
 */
#ifndef KVIK_TESTS_GUEST_COPIER_H
#define KVIK_TESTS_GUEST_COPIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/kvm.h"

struct copier {
	struct kvm_vm *vm;
	const uint8_t *ram; /* of slot 0, which is logged */
	uint8_t *copy;
	uint64_t *dirty; /* a log */
	size_t size;
	unsigned rounds, copied, failures; /* logs asked for, pages copied, logs refused */
	_Atomic bool ends;
	pthread_t thread;
};

/* Before the guest runs. 0 or -errno. */
int copier_start(struct copier *copier, struct kvm_vm *vm, const uint8_t *ram, size_t size);
/* When it has ended: how many pages are not what was copied, or logs refused; says which. */
unsigned copier_finish(struct copier *copier);

#endif
