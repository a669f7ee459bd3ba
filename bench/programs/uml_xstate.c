/*
 * Preloaded into user-mode Linux: its buffer for the vector state of a process has room for AVX-512 and
 * PKRU (2,696 bytes in Linux 6.1), and PTRACE_SETREGSET takes the whole state that the host's CPU has or
 * nothing (ptrace(2), Linux's xstateregs_set). On CPUs with AMX it would not start a program. Here the
 * rest is added, as state in its initial configuration (Intel SDM vol. 1 §13.4.2).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define STATE_BYTES  16384
#define XSTATE_BV    512        /* in an XSAVE image */
#define TILE_STATE   (3ull << 17) /* what may be missing: AMX's two components */

static char state[STATE_BYTES];
static size_t state_bytes; /* of this host; 0: what user-mode Linux says is right */

static long host_ptrace(enum __ptrace_request request, long process, void *address, void *data)
{
	static long (*next)(enum __ptrace_request, ...);
	if (!next)
		next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	return next(request, process, address, data);
}

static long set_whole(long process, const struct iovec *part)
{
	struct iovec whole = { state, state_bytes };
	uint64_t components;

	memcpy(state, part->iov_base, part->iov_len);
	memcpy(&components, state + XSTATE_BV, sizeof components);
	components &= ~TILE_STATE;
	memcpy(state + XSTATE_BV, &components, sizeof components);
	return host_ptrace(PTRACE_SETREGSET, process, (void *)NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list rest;
	va_start(rest, request);
	long process = va_arg(rest, long);
	void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
	va_end(rest);
	struct iovec *part = data;

	if (request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE || part->iov_len > STATE_BYTES)
		return host_ptrace(request, process, address, data);
	if (state_bytes)
		return set_whole(process, part);
	long result = host_ptrace(request, process, address, data);
	if (result == 0)
		return 0;
	struct iovec whole = { state, sizeof state };
	if (host_ptrace(PTRACE_GETREGSET, process, address, &whole) || whole.iov_len <= part->iov_len) {
		errno = EFAULT;
		return -1;
	}
	state_bytes = whole.iov_len;
	return set_whole(process, part);
}
