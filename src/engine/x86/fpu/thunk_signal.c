/*
 * SIGFPE and SIGILL, which thunks raise (thunk.h), and the rest of the process may, too.
 *
 * The process has one handler for each. Ours takes what was raised inside a thunk; anything else goes
 * on to the action that was there before, or that was chained since, as the kernel would have
 * carried it out.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <ucontext.h>

#include "engine/x86/fpu/thunk.h"

/* The rest of the process's action for a signal. Handlers read it on any thread and at any time, so
 * writers count `version` up before and after: an odd or changed one means to read again. */
static struct chained {
	int number;
	_Atomic unsigned version;
	struct sigaction action;
} chain[2] = { { .number = SIGFPE }, { .number = SIGILL } };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of writers */
static atomic_bool is_claimed;

static struct chained *chained_of(int number)
{
	return number == SIGFPE ? &chain[0] : number == SIGILL ? &chain[1] : NULL;
}

static struct sigaction read_action(struct chained *chained)
{
	struct sigaction action;
	unsigned version;

	do {
		version = atomic_load(&chained->version);
		action = chained->action;
		atomic_thread_fence(memory_order_acquire);
	} while (version & 1 || version != atomic_load(&chained->version));
	return action;
}

/* With the lock held and signals blocked: a handler of this thread must not read meanwhile. */
static void write_action(struct chained *chained, const struct sigaction *action)
{
	atomic_fetch_add(&chained->version, 1);
	chained->action = *action;
	atomic_fetch_add(&chained->version, 1);
}

static void act_by_default(int number, const siginfo_t *info)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigaction(number, &action, NULL);
	if (info->si_code > 0)
		return; /* the instruction faults again */
	sigemptyset(&set);
	sigaddset(&set, number);
	raise(number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* As the kernel starts a handler, but for the stack. The mask comes back with our own return. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	struct chained *chained = chained_of(number);
	struct sigaction action = read_action(chained);
	sigset_t set;

	if (!(action.sa_flags & SA_SIGINFO) &&
	    (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)) {
		/* A fault cannot be ignored. */
		if (action.sa_handler == SIG_DFL || info->si_code > 0)
			act_by_default(number, info);
		return;
	}
	if (action.sa_flags & SA_RESETHAND)
		write_action(chained, &(struct sigaction){ .sa_handler = SIG_DFL });
	pthread_sigmask(SIG_BLOCK, &action.sa_mask, NULL);
	if (action.sa_flags & SA_NODEFER && !sigismember(&action.sa_mask, number)) {
		sigemptyset(&set);
		sigaddset(&set, number);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(number, info, context);
	else
		action.sa_handler(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	enum thunk_result result = THUNK_INVALID;
	uintptr_t escape;
	int code = errno;

	if (number == SIGFPE)
		result = registers[REG_TRAPNO] == 16 ? THUNK_X87_EXCEPTION : THUNK_SIMD_EXCEPTION;
	escape = thunk_escape((uintptr_t)registers[REG_RIP], result);
	if (escape)
		registers[REG_RIP] = (greg_t)escape;
	else
		pass_on(number, info, context);
	errno = code;
}

static bool is_ours(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_signal;
}

static int claim(struct chained *chained)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct sigaction found;

	sigemptyset(&action.sa_mask);
	if (sigaction(chained->number, NULL, &found) != 0)
		return -errno;
	if (is_ours(&found))
		return 0;
	write_action(chained, &found);
	return sigaction(chained->number, &action, NULL) != 0 ? -errno : 0;
}

static void begin_change(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, old);
	pthread_mutex_lock(&lock);
}

static void end_change(const sigset_t *old)
{
	pthread_mutex_unlock(&lock);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

int thunk_claim_signals(void)
{
	sigset_t old;
	int result;

	begin_change(&old);
	result = claim(&chain[0]);
	if (result == 0)
		result = claim(&chain[1]);
	if (result == 0)
		atomic_store(&is_claimed, true);
	end_change(&old);
	return result;
}

bool thunk_chain_signal(int number, const struct sigaction *action, struct sigaction *previous)
{
	struct chained *chained = chained_of(number);
	struct sigaction now;
	sigset_t old;

	if (!chained || !atomic_load(&is_claimed))
		return false;
	begin_change(&old);
	now = chained->action;
	if (action)
		write_action(chained, action);
	end_change(&old);
	if (previous)
		*previous = now;
	return true;
}

/* When the engine is unloaded, its handlers must not stay behind. */
__attribute__((destructor)) static void give_back(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct sigaction found;

		if (sigaction(chain[i].number, NULL, &found) == 0 && is_ours(&found))
			sigaction(chain[i].number, &chain[i].action, NULL);
	}
}
