#include "sandbox/spawner.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "sandbox/internal.h"

enum spawner_operation { SPAWN = 1, KILL };

/* Nothing but these comes in and goes out; a new stub's descriptors go with its answer. */
struct spawner_request {
	uint32_t operation;
	uint32_t id; /* KILL; else 0 */
};

struct spawner_answer {
	int32_t result;
	uint32_t id;
};

/* An id is a slot's number and how often the slot was taken: late ones find nobody. */
struct stub_slot {
	int process; /* pidfd; -1: free */
	uint32_t id;
};

struct spawner {
	stub_function *function;
	enum spawner_lock locks;
	struct sock_fprog lock; /* of a stub */
	struct stub_slot slots[SPAWNER_STUBS];
};

#define MAP_GIVEN (MAP_SHARED | MAP_FIXED)

static const struct allowed_call stub_calls[] = {
	CALL(futex),
	CALL(recvmsg),
	CALL(sendmsg),
	CALL_IF(mmap, "of what it was sent", IS(3, MAP_GIVEN)),
	CALL(munmap),
	CALL(close),
	CALL(rt_sigreturn),
	CALL(restart_syscall),
	CALL(exit_group),
};

/* What a stub may call it must be able to, too: filters add up. */
#define OWN_CALLS                                                                                  \
	CALL(poll), CALL(socketpair), CALL(memfd_create), CALL(ftruncate),                         \
		CALL_IF(fcntl, "F_ADD_SEALS", IS(1, F_ADD_SEALS)),                                 \
		CALL_IF(clone, "of a stub", IS(0, CLONE_PIDFD | SIGCHLD)),                         \
		CALL_IF(pidfd_send_signal, "SIGKILL", IS(1, SIGKILL)), CALL(waitid),               \
		/* A stub before its own lock. */                                                  \
		CALL(getppid), CALL_IF(prctl, "PR_SET_PDEATHSIG", IS(0, PR_SET_PDEATHSIG)),        \
		CALL_IF(prctl, "PR_SET_SECCOMP", IS(0, PR_SET_SECCOMP)), CALL(close_range),        \
		CALL_IF(mmap, "of the page", IS(2, PROT_READ | PROT_WRITE), IS(3, MAP_SHARED)),    \
		/* A stub. */                                                                      \
		CALL(futex), CALL_IF(mmap, "of what it was sent", IS(3, MAP_GIVEN)), CALL(munmap)

static const struct allowed_call calls[] = {OWN_CALLS};

/* With stubs that lock themselves. */
static const struct allowed_call wider_calls[] = {
	OWN_CALLS,
	CALL_IF(mmap, "of what it was sent, at once", IS(3, MAP_GIVEN | MAP_POPULATE)),
	CALL(rseq),
	CALL(sigaltstack),
	CALL(seccomp),
	CALL_IF(arch_prctl, "ARCH_SET_CPUID", IS(0, ARCH_SET_CPUID)),
	/* Where the host has no FSGSBASE. */
	CALL_IF(arch_prctl, "ARCH_SET_FS", IS(0, ARCH_SET_FS)),
	CALL_IF(arch_prctl, "ARCH_SET_GS", IS(0, ARCH_SET_GS)),
	CALL_IF(prctl, "PR_SET_NO_NEW_PRIVS", IS(0, PR_SET_NO_NEW_PRIVS)),
};

/* A stub's way from its birth. */
static void live(const struct spawner *spawner, pid_t parent, int socket, int page_fd)
{
	void *page = mmap(NULL, STUB_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);

	if (page == MAP_FAILED || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
	    (socket > 0 && syscall(SYS_close_range, 0, socket - 1, 0) < 0) ||
	    syscall(SYS_close_range, socket + 1, ~0u, 0) < 0)
		_exit(1);
	if (spawner->locks == SPAWNER_LOCKS && !SANDBOX_IS_RELAXED &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &spawner->lock) < 0)
		_exit(1);
	spawner->function(socket, page);
	_exit(0);
}

static int make_page(void)
{
	int fd = memfd_create("kvik-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING), result;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, STUB_PAGE_BYTES) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	result = -errno;
	close(fd);
	return result;
}

static struct stub_slot *find_slot(struct spawner *spawner, bool is_free, uint32_t id)
{
	unsigned i;

	for (i = 0; i < SPAWNER_STUBS; i++) {
		struct stub_slot *slot = &spawner->slots[i];

		if (is_free ? slot->process < 0 : slot->process >= 0 && slot->id == id)
			return slot;
	}
	return NULL;
}

/* Fills `fds` (process, socket, page): the last two are the caller's to close. */
static int spawn(struct spawner *spawner, struct stub_slot *slot, int fds[3])
{
	pid_t self = getpid(), child;
	int ends[2], page = make_page(), process = -1, result = 0;

	if (page < 0)
		return page;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		result = -errno;
		close(page);
		return result;
	}
	child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &process, NULL, 0);
	if (child == 0)
		live(spawner, self, ends[1], page);
	if (child < 0) {
		result = -errno;
		close(page);
		close(ends[0]);
	}
	close(ends[1]);
	if (result < 0)
		return result;
	slot->process = fds[0] = process;
	slot->id += SPAWNER_STUBS;
	fds[1] = ends[0];
	fds[2] = page;
	return 0;
}

/* It has ended or is about to. */
static void reap(struct stub_slot *slot)
{
	siginfo_t info;

	while (waitid(P_PIDFD, slot->process, &info, WEXITED) < 0 && errno == EINTR)
		;
	close(slot->process);
	slot->process = -1;
}

static int answer(struct spawner *spawner, const struct spawner_request *request, int socket)
{
	struct spawner_answer answer = {.result = -EAGAIN};
	struct stub_slot *slot = find_slot(spawner, request->operation == SPAWN, request->id);
	int fds[3], result;

	if (request->operation == KILL) {
		answer.result = slot ? 0 : -ESRCH;
		if (slot) {
			syscall(SYS_pidfd_send_signal, slot->process, SIGKILL, NULL, 0);
			reap(slot);
		}
		return helper_send(socket, &answer, sizeof(answer), NULL, 0);
	}
	if (slot)
		answer.result = spawn(spawner, slot, fds);
	if (answer.result < 0)
		return helper_send(socket, &answer, sizeof(answer), NULL, 0);
	answer.id = slot->id;
	result = helper_send(socket, &answer, sizeof(answer), fds, 3);
	close(fds[1]);
	close(fds[2]);
	return result;
}

static bool is_well_formed(const struct spawner_request *request)
{
	return request->operation == KILL || (request->operation == SPAWN && !request->id);
}

/* Stubs die with this process (PR_SET_PDEATHSIG). */
static void serve(int socket, void *context)
{
	struct spawner *spawner = context;
	struct pollfd ready[SPAWNER_STUBS + 1];
	struct spawner_request request;
	unsigned i, none;

	for (;;) {
		for (i = 0; i < SPAWNER_STUBS; i++)
			ready[i] = (struct pollfd){.fd = spawner->slots[i].process, .events = POLLIN};
		ready[SPAWNER_STUBS] = (struct pollfd){.fd = socket, .events = POLLIN};
		if (poll(ready, SPAWNER_STUBS + 1, -1) < 0 && errno != EINTR)
			return;
		for (i = 0; i < SPAWNER_STUBS; i++)
			if (ready[i].revents)
				reap(&spawner->slots[i]);
		if (!ready[SPAWNER_STUBS].revents)
			continue;
		none = 0;
		if (helper_receive(socket, &request, sizeof(request), NULL, &none) < 0 ||
		    !is_well_formed(&request) || answer(spawner, &request, socket) < 0)
			return;
	}
}

/* Nothing is allocated when the spawner is locked. */
static int prepare(void *context)
{
	struct spawner *spawner = context;

	return sandbox_compile_calls(stub_calls, sizeof(stub_calls) / sizeof(stub_calls[0]),
				     &spawner->lock);
}

int spawner_start(stub_function *function, enum spawner_lock lock, struct error *error)
{
	struct spawner spawner = {.function = function, .locks = lock};
	const struct helper_config config = {
		.name = "kvik-spawner",
		.calls = lock == STUB_LOCKS ? wider_calls : calls,
		.call_count = lock == STUB_LOCKS ? sizeof(wider_calls) / sizeof(wider_calls[0]) :
						   sizeof(calls) / sizeof(calls[0]),
		.traps_other_sets = lock == STUB_LOCKS,
		.prepare = prepare,
		.serve = serve,
		.context = &spawner,
	};
	unsigned i;

	for (i = 0; i < SPAWNER_STUBS; i++)
		spawner.slots[i] = (struct stub_slot){.process = -1, .id = i};
	return helper_start(&config, error);
}

static int ask(int spawner, uint32_t operation, uint32_t id, struct spawner_answer *answer,
	       int *fds, unsigned *count)
{
	struct spawner_request request = {.operation = operation, .id = id};
	int result = helper_send(spawner, &request, sizeof(request), NULL, 0);

	if (result == 0)
		result = helper_receive(spawner, answer, sizeof(*answer), fds, count);
	return result;
}

int spawner_spawn(int spawner, struct stub *stub)
{
	struct spawner_answer answer;
	int fds[HELPER_DESCRIPTORS];
	unsigned count = 3;
	int result = ask(spawner, SPAWN, 0, &answer, fds, &count);

	if (result < 0)
		return result;
	if (answer.result == 0 && count == 3) {
		*stub = (struct stub){answer.id, fds[0], fds[1], fds[2]};
		return 0;
	}
	while (count > 0)
		close(fds[--count]);
	return answer.result < 0 ? answer.result : -EPROTO;
}

int spawner_kill(int spawner, uint32_t id)
{
	struct spawner_answer answer;
	unsigned none = 0;
	int result = ask(spawner, KILL, id, &answer, NULL, &none);

	return result < 0 ? result : answer.result;
}
