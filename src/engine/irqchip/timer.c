/*
 * The timers of a VM's interrupt controllers: one thread and one timerfd for all of them.
 *
 * Deadlines are kept in a binary min-heap. The thread sleeps in read(2) on a timerfd, which is
 * programmed for the earliest deadline; arming a timer is a heap insertion and, only when it became
 * the earliest, one timerfd_settime(2) that does not wake the thread. A cancelled deadline is left
 * programmed: the thread then wakes once for nothing, which is cheaper than reprogramming for
 * guests that rearm on every tick. With no timer armed nothing ever wakes.
 *
 * The heap has a lock of its own, which is held for a heap operation and no longer. The thread calls a
 * due timer's `expire` without it, so that each timer is served under its owner's lock: `expire`
 * takes that and claims the timer, which fails when the owner was quicker to cancel it or to arm it
 * anew.
 */
#include "engine/irqchip/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/thread.h"

static void heap_place(struct timer_queue *queue, unsigned position, struct timer *timer)
{
	queue->heap[position] = timer;
	timer->position = position;
}

/* Move `timer` from `position` to where it belongs. */
static void heap_sift(struct timer_queue *queue, unsigned position, struct timer *timer)
{
	unsigned parent, child;

	while (position > 0) {
		parent = (position - 1) / 2;
		if (queue->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		heap_place(queue, position, queue->heap[parent]);
		position = parent;
	}
	while ((child = 2 * position + 1) < queue->count) {
		if (child + 1 < queue->count &&
		    queue->heap[child + 1]->deadline_ns < queue->heap[child]->deadline_ns)
			child++;
		if (timer->deadline_ns <= queue->heap[child]->deadline_ns)
			break;
		heap_place(queue, position, queue->heap[child]);
		position = child;
	}
	heap_place(queue, position, timer);
}

static void program(struct timer_queue *queue, uint64_t deadline_ns)
{
	struct itimerspec when = {{0, 0}, {0, 0}};

	queue->programmed_ns = deadline_ns;
	if (queue->fd < 0)
		return;
	if (deadline_ns != TIMER_NEVER) {
		/* All-zero would disarm. */
		if (deadline_ns == 0)
			deadline_ns = 1;
		when.it_value.tv_sec = deadline_ns / NS_PER_SECOND;
		when.it_value.tv_nsec = deadline_ns % NS_PER_SECOND;
	}
	timerfd_settime(queue->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* As all static functions, with the queue's lock held. */
static void heap_remove(struct timer_queue *queue, struct timer *timer)
{
	unsigned position = timer->position;
	struct timer *last;

	if (timer->position < 0)
		return;
	timer->position = -1;
	last = queue->heap[--queue->count];
	if (last != timer)
		heap_sift(queue, position, last);
}

void timer_cancel(struct timer_queue *queue, struct timer *timer)
{
	pthread_mutex_lock(&queue->lock);
	heap_remove(queue, timer);
	pthread_mutex_unlock(&queue->lock);
}

bool timer_claim(struct timer_queue *queue, struct timer *timer)
{
	bool is_due;

	pthread_mutex_lock(&queue->lock);
	is_due = timer->position >= 0 && timer->deadline_ns <= monotonic_ns();
	if (is_due)
		heap_remove(queue, timer);
	pthread_mutex_unlock(&queue->lock);
	return is_due;
}

void timer_arm(struct timer_queue *queue, struct timer *timer, uint64_t deadline_ns)
{
	/* The kernel's time ends at INT64_MAX; nobody will see the difference. */
	if (deadline_ns > INT64_MAX)
		deadline_ns = INT64_MAX;
	pthread_mutex_lock(&queue->lock);
	timer->deadline_ns = deadline_ns;
	if (timer->position >= 0)
		heap_sift(queue, timer->position, timer);
	else
		heap_sift(queue, queue->count++, timer);
	if (deadline_ns < queue->programmed_ns)
		program(queue, deadline_ns);
	pthread_mutex_unlock(&queue->lock);
}

int timer_init(struct timer_queue *queue, struct timer *timer, void (*expire)(void *context),
	       void *context)
{
	struct timer **heap;
	unsigned capacity;
	int result = -ENOMEM;

	timer->expire = expire;
	timer->context = context;
	timer->position = -1;
	pthread_mutex_lock(&queue->lock);
	if (queue->reserved == queue->capacity) {
		capacity = queue->capacity ? queue->capacity * 2 : 8;
		heap = realloc(queue->heap, capacity * sizeof(struct timer *));
		if (!heap)
			goto out_unlock;
		queue->heap = heap;
		queue->capacity = capacity;
	}
	queue->reserved++;
	result = 0;
out_unlock:
	pthread_mutex_unlock(&queue->lock);
	return result;
}

void timer_exit(struct timer_queue *queue, struct timer *timer)
{
	pthread_mutex_lock(&queue->lock);
	heap_remove(queue, timer);
	while (queue->serving == timer)
		pthread_cond_wait(&queue->served, &queue->lock);
	queue->reserved--;
	pthread_mutex_unlock(&queue->lock);
}

/* Call `expire` of what is due. */
static void serve(struct timer_queue *queue)
{
	struct timer *timer;

	while (queue->count && queue->heap[0]->deadline_ns <= monotonic_ns()) {
		timer = queue->heap[0];
		queue->serving = timer;
		pthread_mutex_unlock(&queue->lock);
		timer->expire(timer->context);
		pthread_mutex_lock(&queue->lock);
		queue->serving = NULL;
		pthread_cond_broadcast(&queue->served);
	}
}

static void *timer_thread(void *context)
{
	struct timer_queue *queue = context;
	uint64_t expirations;

	pthread_setname_np(pthread_self(), "kvik-timer");
	pthread_mutex_lock(&queue->lock);
	while (!queue->stopping) {
		/* It programs once at the end, whatever is armed meanwhile. */
		queue->programmed_ns = 0;
		serve(queue);
		if (queue->stopping)
			break;
		program(queue, queue->count ? queue->heap[0]->deadline_ns : TIMER_NEVER);
		pthread_mutex_unlock(&queue->lock);
		/* The result does not matter: the heap says what is due. */
		if (read(queue->fd, &expirations, sizeof(expirations)) < 0 && errno != EINTR &&
		    errno != EAGAIN && errno != ECANCELED)
			return NULL;
		pthread_mutex_lock(&queue->lock);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

void timer_queue_init(struct timer_queue *queue)
{
	pthread_mutexattr_t attributes;

	/* Held for fractions of a microsecond: spinning first beats sleeping. */
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&queue->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	pthread_cond_init(&queue->served, NULL);
	queue->fd = -1;
	queue->programmed_ns = TIMER_NEVER;
}

void timer_queue_exit(struct timer_queue *queue)
{
	free(queue->heap);
	pthread_cond_destroy(&queue->served);
	pthread_mutex_destroy(&queue->lock);
}

int timer_queue_start(struct timer_queue *queue)
{
	int result;

	if (queue->fd >= 0)
		return 0;
	queue->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (queue->fd < 0)
		return -errno;
	result = thread_start(&queue->thread, NULL, timer_thread, queue);
	if (result) {
		close(queue->fd);
		queue->fd = -1;
	}
	return result;
}

void timer_queue_stop(struct timer_queue *queue)
{
	if (queue->fd < 0)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->stopping = true;
	program(queue, 0);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->thread, NULL);
	close(queue->fd);
	queue->fd = -1;
}
