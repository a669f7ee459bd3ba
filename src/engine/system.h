/* The system handle: what open("/dev/kvm") gives (api.rst, "system ioctl"). */
#ifndef KVIK_ENGINE_SYSTEM_H
#define KVIK_ENGINE_SYSTEM_H

#include "engine/options.h"

struct vcpu_architecture;
struct vm_architecture;

/* An architecture's virtual machines. */
struct architecture {
	const struct vm_architecture *vm;
	const struct vcpu_architecture *vcpu; /* of such VMs: their members' operations are its own */
	/* One request on a system descriptor: 0, a number or -errno; -EINVAL for an unknown one. */
	int (*system_ioctl)(const struct engine_options *options, unsigned long request, void *argument);
};

/* Immutable: any thread may use it. Owned by its handle. */
struct system {
	const struct architecture *architecture;
	struct engine_options options;
};

/* A descriptor, -EINVAL for options out of range, or another -errno. */
int system_create(const struct architecture *architecture, const struct engine_options *options);
int system_ioctl(const struct system *system, unsigned long request, void *argument);

#endif
