/* -object memory-backend-ram, -memfd and -file: what may be said of them, and the file that a machine's memory is in. */
#ifndef KVIK_CLI_QEMU_MEMORY_BACKEND_H
#define KVIK_CLI_QEMU_MEMORY_BACKEND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "machine/ram.h"
#include "util/error.h"

/* What may be said of a type; NULL: it is none of memory. */
const struct property *memory_backend_properties(const char *type);
bool memory_backend_is(const json_t *object);
bool memory_backend_is_file(const json_t *object);
/* Its keys and values, which are JSON's own types from then on. 0, or -EINVAL or -ENOTSUP and `error`. */
int memory_backend_check(json_t *object, struct error *error);
/* What query-memdev says of it. */
bool memory_backend_is_shared(const json_t *object);
bool memory_backend_is_preallocated(const json_t *object);

/*
 * Open what a machine of so much memory has it in. A file that is there and not empty has to be large enough; one that
 * is shared keeps what the guest writes, of others the guest has a copy. 0, or -errno and `error`; the file in `backing` is
 * the caller's.
 */
int memory_backend_open(const json_t *object, uint64_t size_bytes, struct ram_backing *backing, struct error *error);

#endif
