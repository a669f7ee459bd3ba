/*
 * The timers of a VM's interrupt controllers: one thread and one timerfd for all of them.
 *
 * Deadlines are kept in a binary min-heap. The thread sleeps in read(2) on a timerfd, which is
 * programmed for the earliest deadline; arming a timer is a heap insertion and, only when it became
 * the earliest, one timerfd_settime(2) that does not wake the thread. A cancelled deadline is left
 * programmed: the thread then wakes once for nothing, which is cheaper than reprogramming for
 * guests that rearm on every tick. With no timer armed nothing ever wakes.
 *
 * Callbacks run with the irqchip's lock held, and the heap is under the same lock, so that after
 * timer_cancel the callback neither runs nor will run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/irqchip/internal.h"
#include "util/thread.h"

#define NS_PER_SECOND 1000000000ull

uint64_t timer_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

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

void timer_cancel(struct irqchip *chip, struct timer *timer)
{
	struct timer_queue *queue = &chip->timers;
	unsigned position = timer->position;
	struct timer *last;

	if (timer->position < 0)
		return;
	timer->position = -1;
	last = queue->heap[--queue->count];
	if (last != timer)
		heap_sift(queue, position, last);
}

void timer_arm(struct irqchip *chip, struct timer *timer, uint64_t deadline_ns)
{
	struct timer_queue *queue = &chip->timers;

	/* The kernel's time ends at INT64_MAX; nobody will see the difference. */
	if (deadline_ns > INT64_MAX)
		deadline_ns = INT64_MAX;
	timer->deadline_ns = deadline_ns;
	if (timer->position >= 0)
		heap_sift(queue, timer->position, timer);
	else
		heap_sift(queue, queue->count++, timer);
	if (deadline_ns < queue->programmed_ns)
		program(queue, deadline_ns);
}

int timer_init(struct irqchip *chip, struct timer *timer, void (*expire)(void *context),
	       void *context)
{
	struct timer_queue *queue = &chip->timers;
	unsigned capacity = queue->capacity ? queue->capacity * 2 : 8;
	struct timer **heap;

	if (queue->reserved == queue->capacity) {
		heap = realloc(queue->heap, capacity * sizeof(struct timer *));
		if (!heap)
			return -ENOMEM;
		queue->heap = heap;
		queue->capacity = capacity;
	}
	queue->reserved++;
	timer->expire = expire;
	timer->context = context;
	timer->position = -1;
	return 0;
}

void timer_exit(struct irqchip *chip, struct timer *timer)
{
	timer_cancel(chip, timer);
	chip->timers.reserved--;
}

static void *timer_thread(void *context)
{
	struct irqchip *chip = context;
	struct timer_queue *queue = &chip->timers;
	struct timer *timer;
	uint64_t expirations;

	pthread_setname_np(pthread_self(), "kvik-timer");
	irqchip_lock(chip);
	while (!queue->stopping) {
		queue->programmed_ns = TIMER_NEVER;
		while (queue->count && queue->heap[0]->deadline_ns <= timer_now_ns()) {
			timer = queue->heap[0];
			timer_cancel(chip, timer);
			timer->expire(timer->context);
		}
		/* Callbacks may have programmed a later deadline than the earliest. */
		program(queue, queue->count ? queue->heap[0]->deadline_ns : TIMER_NEVER);
		irqchip_unlock(chip);
		/* The result does not matter: the heap says what is due. */
		if (read(queue->fd, &expirations, sizeof(expirations)) < 0 && errno != EINTR &&
		    errno != EAGAIN && errno != ECANCELED) {
			irqchip_lock(chip);
			break;
		}
		irqchip_lock(chip);
	}
	irqchip_unlock(chip);
	return NULL;
}

int timer_queue_start(struct irqchip *chip)
{
	struct timer_queue *queue = &chip->timers;
	int result;

	if (queue->fd >= 0)
		return 0;
	queue->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (queue->fd < 0)
		return -errno;
	result = thread_start(&queue->thread, NULL, timer_thread, chip);
	if (result) {
		close(queue->fd);
		queue->fd = -1;
	}
	return result;
}

void timer_queue_stop(struct irqchip *chip)
{
	struct timer_queue *queue = &chip->timers;

	if (queue->fd >= 0) {
		irqchip_lock(chip);
		queue->stopping = true;
		program(queue, 0);
		irqchip_unlock(chip);
		pthread_join(queue->thread, NULL);
		close(queue->fd);
		queue->fd = -1;
	}
	free(queue->heap);
	queue->heap = NULL;
}
