/* The system handle: what open("/dev/kvm") gives (api.rst, "system ioctl"). */
#ifndef KVIK_ENGINE_SYSTEM_H
#define KVIK_ENGINE_SYSTEM_H

#include "engine/options.h"

/* Immutable: any thread may use it. Owned by its handle. */
struct system {
	struct engine_options options;
};

/* A descriptor, -EINVAL for options out of range, or another -errno. */
int system_create(const struct engine_options *options);
int system_ioctl(const struct system *system, unsigned long request, void *argument);

#endif
