#include "supervise/handout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervise/call.h"
#include "supervise/memory.h"
#include "supervise/supervisor.h"

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct handout *handouts; /* table_lock */
/* Events are read and counted by one thread at a time: a copy's end must not come before it. Taken
 * before table_lock. */
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;

static void destroy(struct handout *handout)
{
	engine_close(handout->fd);
	/* Behind the engine's VM, which uses it. */
	if (handout->memory)
		memory_put(handout->memory);
	free(handout);
}

void handout_put(struct handout *handout)
{
	struct handout **link;
	bool is_last;

	pthread_mutex_lock(&table_lock);
	is_last = --handout->references == 0;
	if (is_last) {
		for (link = &handouts; *link != handout; link = &(*link)->next)
			;
		*link = handout->next;
	}
	pthread_mutex_unlock(&table_lock);
	if (is_last)
		destroy(handout);
}

void handout_give(const struct call *call, int fd, enum engine_handle kind, struct memory *memory,
                  bool closes_on_exec)
{
	struct supervisor *supervisor = call->supervisor;
	struct handout *handout = calloc(1, sizeof(*handout));
	struct stat status;
	char path[40];
	int copy;

	if (!handout || fstat(fd, &status) < 0) {
		call_answer(call, -ENOMEM);
		goto fail;
	}
	handout->fd = fd;
	handout->kind = kind;
	handout->owner = process_of(call->thread);
	handout->memory = memory;
	handout->references = 1;
	handout->device = status.st_dev;
	handout->inode = status.st_ino;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	pthread_mutex_lock(&table_lock);
	handout->watch = inotify_add_watch(supervisor->watches, path, IN_OPEN | IN_CLOSE);
	copy = handout->watch < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (copy < 0) {
		int result = -errno;

		pthread_mutex_unlock(&table_lock);
		if (handout->watch >= 0)
			inotify_rm_watch(supervisor->watches, handout->watch);
		call_answer(call, result);
		goto fail;
	}
	handout->next = handouts;
	handouts = handout;
	pthread_mutex_unlock(&table_lock);
	call_answer_descriptor(call, copy, closes_on_exec);
	close(copy);
	return;

fail:
	engine_close(fd);
	if (memory)
		memory_put(memory);
	free(handout);
}

struct handout *handout_get(const struct call *call, int fd)
{
	struct handout *handout = NULL;
	struct stat status;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", call->thread, fd);
	if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
		return NULL;
	pthread_mutex_lock(&table_lock);
	for (handout = handouts; handout; handout = handout->next)
		if (handout->inode == status.st_ino && handout->device == status.st_dev)
			break;
	if (handout)
		handout->references++;
	pthread_mutex_unlock(&table_lock);
	return handout;
}

bool handout_is_owned(const struct handout *handout, const struct call *call)
{
	long result;

	if (handout->owner == call->thread)
		return true;
	result = syscall(SYS_kcmp, call->thread, handout->owner, KCMP_VM, 0, 0);
	/* Where the kernel has no kcmp, the numbers tell. */
	if (result < 0 && errno != ESRCH)
		return process_of(call->thread) == handout->owner;
	return result == 0;
}

/* The last copy has gone when this is true. */
static bool count_copy(struct handout *handout, uint32_t event)
{
	if (event & IN_OPEN)
		handout->copies++;
	if (!(event & IN_CLOSE) || --handout->copies)
		return false;
	return true;
}

static void follow_event(struct supervisor *supervisor, const struct inotify_event *event)
{
	struct handout *handout;

	pthread_mutex_lock(&table_lock);
	for (handout = handouts; handout; handout = handout->next)
		if (handout->watch == event->wd)
			break;
	if (handout && !count_copy(handout, event->mask))
		handout = NULL;
	if (handout) {
		/* Numbers are not used again soon, but are when they wrap. */
		inotify_rm_watch(supervisor->watches, handout->watch);
		handout->watch = -1;
	}
	pthread_mutex_unlock(&table_lock);
	if (handout)
		handout_put(handout);
}

void handout_follow_copies(struct supervisor *supervisor)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t length;

	pthread_mutex_lock(&events_lock);
	while ((length = read(supervisor->watches, events, sizeof(events))) > 0)
		for (ssize_t at = 0; at < length;) {
			const struct inotify_event *event =
				(const struct inotify_event *)(events + at);

			at += (ssize_t)(sizeof(*event) + event->len);
			follow_event(supervisor, event);
		}
	pthread_mutex_unlock(&events_lock);
}
