#include "supervise/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "supervise/call.h"
#include "supervise/handout.h"

#define TICK_NS        1000000
#define TICKS_LONG     4  /* between two looks at one that lasts */
#define TICKS_TO_LAST  64 /* before it counts as lasting */
#define TICKS_TO_SLEEP 50 /* without any, before the watcher sleeps */

/* A KVM_RUN under way; on its thread's stack. */
struct supervised_run {
	const struct call *call;
	struct handout *vcpu;
	unsigned ticks;
	bool is_kicked; /* runs_lock */
	struct supervised_run *next;
};

static pthread_mutex_t runs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t runs_begin = PTHREAD_COND_INITIALIZER;
static struct supervised_run *runs;       /* runs_lock */
static bool is_watcher_asleep; /* runs_lock */
static pthread_once_t watcher_once = PTHREAD_ONCE_INIT;

static uint64_t field(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

/* Whether KVM_RUN shall end: a signal waits for the thread, or the thread has ended. */
static bool is_interrupted(const struct call *call, const struct handout *vcpu)
{
	char path[40], text[2048];
	uint64_t pending, blocked;
	ssize_t length = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", call->thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (length <= 0)
		return true;
	text[length] = 0;
	pending = field(text, "\nSigPnd:") | field(text, "\nShdPnd:");
	blocked = vcpu->has_signal_mask ? vcpu->signal_mask : field(text, "\nSigBlk:");
	return (pending & ~blocked) || !call_is_waiting(call);
}

/* With runs_lock held. */
static void look_at(struct supervised_run *run)
{
	run->ticks++;
	if (run->is_kicked || (run->ticks > TICKS_TO_LAST && run->ticks % TICKS_LONG))
		return;
	if (is_interrupted(run->call, run->vcpu)) {
		run->is_kicked = true;
		engine_kick(run->vcpu->fd);
	}
}

static void *watch(void *unused)
{
	struct timespec tick = {.tv_nsec = TICK_NS};
	unsigned idle = 0;

	(void)unused;
	pthread_setname_np(pthread_self(), "kvik-signals");
	for (;;) {
		pthread_mutex_lock(&runs_lock);
		idle = runs ? 0 : idle + 1;
		if (idle > TICKS_TO_SLEEP) {
			is_watcher_asleep = true;
			while (!runs)
				pthread_cond_wait(&runs_begin, &runs_lock);
			is_watcher_asleep = false;
		}
		for (struct supervised_run *run = runs; run; run = run->next)
			look_at(run);
		pthread_mutex_unlock(&runs_lock);
		nanosleep(&tick, NULL);
	}
	return NULL;
}

static void start_watcher(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, watch, NULL) == 0)
		pthread_detach(thread);
}

static void begin(struct supervised_run *run)
{
	pthread_mutex_lock(&runs_lock);
	run->next = runs;
	runs = run;
	if (is_watcher_asleep)
		pthread_cond_signal(&runs_begin);
	pthread_mutex_unlock(&runs_lock);
}

static void end(struct supervised_run *run)
{
	struct supervised_run **link;

	pthread_mutex_lock(&runs_lock);
	for (link = &runs; *link != run; link = &(*link)->next)
		;
	*link = run->next;
	pthread_mutex_unlock(&runs_lock);
}

static bool was_kicked(struct supervised_run *run)
{
	bool is_kicked;

	pthread_mutex_lock(&runs_lock);
	is_kicked = run->is_kicked;
	pthread_mutex_unlock(&runs_lock);
	return is_kicked;
}

static bool has_immediate_exit(const struct handout *vcpu)
{
	uint8_t value = 0;

	return pread(vcpu->fd, &value, 1, offsetof(struct kvm_run, immediate_exit)) == 1 && value;
}

void run_vcpu(const struct call *call, struct handout *vcpu)
{
	struct supervised_run run = {.call = call, .vcpu = vcpu};
	int result;

	pthread_once(&watcher_once, start_watcher);
	/* What is pending now is blocked, or it would have come before the call. */
	if (vcpu->has_signal_mask && is_interrupted(call, vcpu)) {
		run.is_kicked = true;
		engine_kick(vcpu->fd);
	}
	begin(&run);
	/* A kick may come when the run before has just ended by itself. It meant that one. */
	do
		result = engine_ioctl(vcpu->fd, KVM_RUN, (void *)(uintptr_t)call->arguments[2]);
	while (result == -EINTR && !was_kicked(&run) && !has_immediate_exit(vcpu));
	end(&run);
	call_answer(call, result);
}
