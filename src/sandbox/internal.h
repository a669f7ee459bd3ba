/* What the files of this room share: each takes one or a few of the layers (sandbox.h). */
#ifndef KVIK_SANDBOX_INTERNAL_H
#define KVIK_SANDBOX_INTERNAL_H

#include "sandbox/calls.h"
#include "sandbox/layers.h"
#include "util/error.h"

struct sock_fprog;

/*
 * Sanitizers make system calls of their own, some of which no monitor has a use for: they read
 * /proc, and the leak checker traces this process. Their builds leave the sandbox out.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_IS_RELAXED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define SANDBOX_IS_RELAXED true
#endif
#endif
#ifndef SANDBOX_IS_RELAXED
#define SANDBOX_IS_RELAXED false
#endif

/* namespaces.c: NAMESPACES, NETWORK and EMPTY_ROOT. Before the capabilities are gone. */
void sandbox_take_namespaces(const struct sandbox_config *config, struct sandbox_report *report);

/* privileges.c: LIMITS, CAPABILITIES, NO_NEW_PRIVS, NOT_DUMPABLE. */
void sandbox_take_limits(const struct sandbox_config *config, struct sandbox_report *report);
void sandbox_drop_capabilities(struct sandbox_report *report);
int sandbox_forbid_new_privileges(struct sandbox_report *report, struct error *error);
void sandbox_forbid_dumps(struct sandbox_report *report);

/* landlock.c: from now on this process opens nothing but what is below `path`, and where it is read-only changes none
 * of that. After no_new_privs. 0 or -errno: the host has none, or an early one. */
int sandbox_limit_paths(const char *path, bool is_readonly);

/* filter.c: FILTER. */
int sandbox_install_filter(const struct sandbox_config *config, struct sandbox_report *report,
			   struct error *error);

/* A helper's filter: what it shares with others, and its own. `traps_other_sets`: calls of other instruction sets
 * raise SIGSYS, too, and do not end it at once. 0 or -errno. */
int sandbox_install_calls(const struct allowed_call *common, unsigned common_count, const struct allowed_call *calls,
			  unsigned count, bool traps_other_sets);

/* A filter that kills who makes another call, ready for PR_SET_SECCOMP. It is not freed. 0 or -errno. */
int sandbox_compile_calls(const struct allowed_call *calls, unsigned count, struct sock_fprog *program);

#endif
