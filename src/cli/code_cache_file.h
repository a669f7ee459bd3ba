/*
 * `--code-cache-file`: translations that are kept from machine to machine (docs/engine/code-cache.md). The
 * machine gets the file to read, and a pipe to a process that writes it.
 */
#ifndef KVIK_CLI_CODE_CACHE_FILE_H
#define KVIK_CLI_CODE_CACHE_FILE_H

#include <stdint.h>

#include "kvm/kvm.h"
#include "util/error.h"

#define CODE_CACHE_FILE_DEFAULT (128ull << 20)
#define CODE_CACHE_FILE_MIN     (1ull << 20)
#define CODE_CACHE_FILE_MAX     (512ull << 20)

struct code_cache_file_option {
	const char *path; /* NULL: there is none. "default": the user's own */
	uint64_t size;    /* bytes, at most; 0: the default */
};

/*
 * Open the file and start its keeper, of this backend's; sets what `options` has of them. Where the backend
 * keeps nothing, nothing is done. The caller is the process's only thread, and not confined yet. 0, or -errno
 * and `error`: the file is not this user's alone, or the like.
 */
int code_cache_file_open(const struct code_cache_file_option *option, const struct kvm_backend *backend,
			 struct kvm_options *options, struct error *error);

#endif
