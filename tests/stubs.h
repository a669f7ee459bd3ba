/* Stubs for tests, as the spawner (sandbox/spawner.h) makes them, but for its own filter. */
#ifndef KVIK_TESTS_STUBS_H
#define KVIK_TESTS_STUBS_H

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/stub.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

/* `context` is the stub_function. */
static int test_stub_spawn(void *context, struct stub *stub)
{
	stub_function *const *function = context;
	int ends[2], process = -1;
	pid_t child;

	stub->page = memfd_create("stub", MFD_CLOEXEC);
	if (stub->page < 0 || ftruncate(stub->page, STUB_PAGE_BYTES) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	child = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &process, NULL, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 100);
		syscall(SYS_close_range, 3, 99, 0);
		syscall(SYS_close_range, 101, ~0u, 0);
		(*function)(100, NULL);
		_exit(9);
	}
	if (child < 0)
		return -errno;
	close(ends[1]);
	stub->socket = ends[0];
	stub->process = process;
	stub->id = (uint32_t)child;
	return 0;
}

static int test_stub_kill(void *context, uint32_t id)
{
	(void)context;
	kill((pid_t)id, SIGKILL);
	waitpid((pid_t)id, NULL, 0);
	return 0;
}

#endif
