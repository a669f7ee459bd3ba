/* How signals interrupt KVM_RUN: see signals.h. */
#include "engine/vcpu/signals.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/vcpu/vcpu.h"
#include "util/thread.h"

#define TICK_NS    1000000
#define IDLE_TICKS 10 /* after which the watcher sleeps until a vCPU enters the guest */

/* Ask every vCPU in the guest to look for signals. Returns whether there are any, or the end. */
static bool tick(struct signal_watcher *watcher, bool *must_stop)
{
	bool any = false;
	struct vcpu *vcpu;

	pthread_mutex_lock(&watcher->lock);
	for (vcpu = watcher->vcpus; vcpu; vcpu = vcpu->watched_next) {
		if (atomic_load(&vcpu->ignores_signals) || !atomic_load(&vcpu->member.exclusive.in_guest))
			continue;
		vcpu->architecture->request(vcpu, VCPU_LEAVE_GUEST);
		any = true;
	}
	*must_stop = watcher->must_stop;
	pthread_mutex_unlock(&watcher->lock);
	return any || *must_stop;
}

static void *watch(void *context)
{
	static const struct timespec interval = { .tv_nsec = TICK_NS };
	struct signal_watcher *watcher = context;
	unsigned idle = 0;
	bool must_stop;

	for (;;) {
		idle = tick(watcher, &must_stop) ? 0 : idle + 1;
		if (must_stop)
			return NULL;
		if (idle < IDLE_TICKS) {
			nanosleep(&interval, NULL);
			continue;
		}
		atomic_store(&watcher->is_asleep, 1);
		if (!tick(watcher, &must_stop))
			syscall(SYS_futex, &watcher->is_asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL,
				0);
		atomic_store(&watcher->is_asleep, 0);
		idle = 0;
	}
}

static void wake_watcher(struct signal_watcher *watcher)
{
	if (atomic_exchange(&watcher->is_asleep, 0))
		syscall(SYS_futex, &watcher->is_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void signals_watch(const struct vcpu *vcpu)
{
	if (!vcpu->ignores_signals && atomic_load(&vcpu->group->watcher.is_asleep))
		wake_watcher(&vcpu->group->watcher);
}

int signals_add(struct vcpu *vcpu)
{
	struct signal_watcher *watcher = &vcpu->group->watcher;
	int result;

	vcpu->signal_fd = -1;
	vcpu->wanted_is_stale = true;
	if (!watcher->vcpus) {
		watcher->must_stop = false;
		result = thread_start(&watcher->thread, NULL, watch, watcher);
		if (result < 0)
			return result;
	}
	pthread_mutex_lock(&watcher->lock);
	vcpu->watched_next = watcher->vcpus;
	watcher->vcpus = vcpu;
	pthread_mutex_unlock(&watcher->lock);
	return 0;
}

void signals_remove(struct vcpu *vcpu)
{
	struct signal_watcher *watcher = &vcpu->group->watcher;
	struct vcpu **link;
	bool is_last;

	pthread_mutex_lock(&watcher->lock);
	for (link = &watcher->vcpus; *link != vcpu; link = &(*link)->watched_next)
		;
	*link = vcpu->watched_next;
	is_last = !watcher->vcpus;
	watcher->must_stop = is_last;
	pthread_mutex_unlock(&watcher->lock);
	if (is_last) {
		wake_watcher(watcher);
		pthread_join(watcher->thread, NULL);
	}
	if (vcpu->signal_fd >= 0)
		close(vcpu->signal_fd);
}

static void make_blocked_set(sigset_t *set)
{
	static const int synchronous[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	unsigned i;

	sigfillset(set);
	for (i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); i++)
		sigdelset(set, synchronous[i]);
}

/* The complement, among the signals that are blocked at all while KVM_RUN runs. */
static void make_wanted_set(sigset_t *wanted, const sigset_t *mask, const sigset_t *blocked)
{
	int number;

	sigemptyset(wanted);
	for (number = 1; number < NSIG; number++)
		if (sigismember(mask, number) == 0 && sigismember(blocked, number) == 1)
			sigaddset(wanted, number);
}

void signals_enter(struct vcpu *vcpu)
{
	sigset_t old = vcpu->thread_mask, blocked;

	if (vcpu->ignores_signals)
		return;
	/* ioctl(2) is no cancellation point. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &vcpu->cancel_state);
	make_blocked_set(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &vcpu->thread_mask);
	if (!vcpu->wanted_is_stale &&
	    (vcpu->has_signal_mask || memcmp(&old, &vcpu->thread_mask, sizeof(old)) == 0))
		return;
	vcpu->wanted_is_stale = false;
	make_wanted_set(&vcpu->wanted,
			vcpu->has_signal_mask ? &vcpu->signal_mask : &vcpu->thread_mask, &blocked);
}

void signals_leave(struct vcpu *vcpu)
{
	if (vcpu->ignores_signals)
		return;
	pthread_sigmask(SIG_SETMASK, &vcpu->thread_mask, NULL);
	pthread_setcancelstate(vcpu->cancel_state, NULL);
}

/* Whether the signal's disposition is to be ignored, so that Linux would never have queued it. */
static bool is_ignored(int number)
{
	struct sigaction action;

	if (sigaction(number, NULL, &action) < 0)
		return false;
	if (action.sa_flags & SA_SIGINFO)
		return false;
	if (action.sa_handler == SIG_IGN)
		return true;
	return action.sa_handler == SIG_DFL && (number == SIGCHLD || number == SIGURG ||
						number == SIGWINCH || number == SIGCONT);
}

bool signals_pending(struct vcpu *vcpu)
{
	static const struct timespec at_once;
	sigset_t pending;
	bool any = false;
	int number;

	if (vcpu->ignores_signals)
		return false;
	/* No sigisemptyset: glibc 2.36's looks at the first 32 signals only. */
	sigpending(&pending);
	for (number = 1; number < NSIG; number++) {
		sigset_t one;

		if (sigismember(&pending, number) != 1 ||
		    sigismember(&vcpu->wanted, number) != 1)
			continue;
		/* One that the thread itself keeps blocked is pending in Linux, too. */
		if (sigismember(&vcpu->thread_mask, number) == 1 || !is_ignored(number)) {
			any = true;
			continue;
		}
		sigemptyset(&one);
		sigaddset(&one, number);
		sigtimedwait(&one, NULL, &at_once);
	}
	return any;
}

/* Bring signal_fd up to date with `wanted`. */
static int update_signal_fd(struct vcpu *vcpu)
{
	int fd;

	if (vcpu->signal_fd >= 0 &&
	    memcmp(&vcpu->watched, &vcpu->wanted, sizeof(vcpu->watched)) == 0)
		return 0;
	fd = signalfd(vcpu->signal_fd, &vcpu->wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	vcpu->signal_fd = fd;
	vcpu->watched = vcpu->wanted;
	return 0;
}

int signals_sleep(struct vcpu *vcpu)
{
	struct pollfd fds[2] = {
		{ .fd = vcpu->wake_fd, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};
	uint64_t count;
	int result;

	/* One system call in place of two, for what some guests do ten thousand times a second. */
	if (vcpu->ignores_signals) {
		syscall(SYS_futex, &vcpu->is_sleeping, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
		return 0;
	}
	result = update_signal_fd(vcpu);
	if (result < 0)
		return result;
	fds[1].fd = vcpu->signal_fd;
	if (poll(fds, 2, -1) < 0 && errno != EINTR)
		return -errno;
	if ((fds[0].revents & POLLIN) && read(vcpu->wake_fd, &count, sizeof(count)) < 0 &&
	    errno != EAGAIN)
		return -errno;
	return 0;
}
