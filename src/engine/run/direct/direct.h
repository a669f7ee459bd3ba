/*
 * Direct execution: a tier that runs a guest's ring-3 code unmodified, in a process of its own whose
 * address space is the shadow of the guest's page tables. Design and measurements: docs/engine/direct.md.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_DIRECT_H
#define KVIK_ENGINE_RUN_DIRECT_DIRECT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/stub.h"

struct cpu;
struct experiences;

/* Signals that lead out of guest code: what it can raise, and the monitor's kick. */
#define DIRECT_KICK    SIGUSR1
#define DIRECT_SIGNALS                                                                             \
	{                                                                                          \
		SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, DIRECT_KICK                      \
	}

/* The guest memory that stubs can map: `size` bytes at `base` are those of `fd` from its start on. */
struct direct_memory {
	uint8_t *base;
	uint64_t size;
	int fd; /* -1: there is none */
};

/*
 * What stubs do (struct stub_source): a stub_function. It begins as a copy of the monitor, confined by
 * whoever made it to what docs/engine/direct.md lists.
 */
void direct_stub_main(int socket, void *page);

/*
 * Whether this host allows it: a stub is made and taken away again. 0; -ENOTSUP: the host's CPU or kernel
 * lacks what it takes; or why there is no stub. Opens memfds.
 */
int direct_probe(const struct stub_source *stubs);

/* What it takes of what it can. */
enum direct_use {
	DIRECT_WHERE_IT_PAYS, /* policy.h */
	DIRECT_ALWAYS,
	DIRECT_COMPARED, /* always, and the interpreter does it again: compare.c. For one CPU */
};

/*
 * Give the CPU this tier, with a memfd of its own. `stubs`, `memory` and `experiences` are the VM's, and outlive it;
 * `tsc_khz` is the host's. 0, -ENOTSUP where the host's CPU lacks what it takes, or another -errno.
 */
int direct_attach(struct cpu *cpu, const struct stub_source *stubs, const struct direct_memory *memory,
		  struct experiences *experiences, uint32_t tsc_khz, enum direct_use use);

#endif
