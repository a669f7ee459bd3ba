/*
 * /dev/kvm as programs are to see it, whichever way they are served: its name, what stat(2) says of
 * it, and the engine behind it, which comes from the environment since programs know nothing of it:
 *
 *   KVIK_ENGINE      auto, interp or jit, as kvik run's --engine
 *   KVIK_CODE_CACHE  bytes of translated code for each VM, as kvik run's --code-cache
 */
#ifndef KVIK_PRELOAD_NODE_H
#define KVIK_PRELOAD_NODE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "engine/engine.h"

/* False for most paths that do not name it, and for NULL; cheap. */
bool node_may_be(const char *path);

/* Whether `path` names it; `base` is the directory that a relative path starts from, from the root.
 */
bool node_is(const char *base, const char *path);

/* What open(2) with these flags, and access(2), find wrong: 0 or -errno. */
int node_check_open(int flags);
int node_check_access(int mode);

/* What stat(2) says of it. */
void node_stat(struct stat *status);
void node_statx(struct statx *status);

/* Change `options` to what the environment asks for. */
void node_choose_engine(struct engine_options *options);

#endif
