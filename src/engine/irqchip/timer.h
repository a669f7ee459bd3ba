/* Deadlines on CLOCK_MONOTONIC: the timers of a VM's interrupt controllers, served by one thread. */
#ifndef KVIK_ENGINE_IRQCHIP_TIMER_H
#define KVIK_ENGINE_IRQCHIP_TIMER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct timer {
	uint64_t deadline_ns;
	/* On the timer thread, without a lock: takes its owner's and then calls timer_claim. */
	void (*expire)(void *context);
	void *context;
	int position; /* in the heap; -1 when not armed */
};

struct timer_queue {
	pthread_mutex_t lock;
	pthread_cond_t served;  /* `serving` became NULL */
	struct timer *serving;  /* whose `expire` is being called */
	struct timer **heap; /* the earliest deadline is heap[0]; owned */
	unsigned count;
	unsigned capacity;      /* room for every timer there is: arming cannot fail */
	unsigned reserved;      /* timers that exist */
	int fd;                 /* timerfd; -1 before the thread was started */
	uint64_t programmed_ns; /* when fd expires; UINT64_MAX: never */
	bool stopping;
	pthread_t thread;
};

#define TIMER_NEVER UINT64_MAX

void timer_queue_init(struct timer_queue *queue);
void timer_queue_exit(struct timer_queue *queue); /* after timer_queue_stop */
int timer_queue_start(struct timer_queue *queue); /* 0 or -errno; more than once is fine */
void timer_queue_stop(struct timer_queue *queue); /* called without locks; joins the thread */
/* A timer exists from init to exit. -ENOMEM. */
int timer_init(struct timer_queue *queue, struct timer *timer, void (*expire)(void *context),
	       void *context);
/* Without its owner's lock: waits until `expire` has returned. */
void timer_exit(struct timer_queue *queue, struct timer *timer);
/* These three with the lock of the timer's owner held, which `expire` takes: so that a timer that was
 * cancelled, or armed anew, is not taken for the one that was due before. */
void timer_arm(struct timer_queue *queue, struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct timer_queue *queue, struct timer *timer);
/* Whether it is due, and not armed any more then. */
bool timer_claim(struct timer_queue *queue, struct timer *timer);

#endif
