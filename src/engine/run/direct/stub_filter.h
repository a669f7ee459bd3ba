/* The filters of a stub (stub_filter.c). */
#ifndef KVIK_ENGINE_RUN_DIRECT_STUB_FILTER_H
#define KVIK_ENGINE_RUN_DIRECT_STUB_FILTER_H

#include "engine/run/direct/layout.h"

/*
 * From here on whoever stops waits for the monitor: a descriptor by which it hears of that and answers
 * (seccomp_unotify(2)), or -errno. Everything else can still be called. `place` is where the stub's own pages begin.
 */
int stub_filter_listen(uint64_t place);

/*
 * From here on only the code of layout.h's page can call anything; all else raises SIGSYS. `memory` and
 * `copies` are the descriptors that can be mapped. 0 or -errno.
 */
int stub_filter_lock(const struct direct_secret *secret, uint64_t place, int memory, int copies);

#endif
