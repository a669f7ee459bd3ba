#include "block/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/thread.h"

struct job_list {
	struct job *first, *last;
};

struct workers {
	const struct event_signal *done;
	pthread_mutex_t lock; /* guards what follows; nothing is waited for under it but `wake` */
	pthread_cond_t wake;
	struct job_list waiting, finished;
	pthread_t threads[WORKERS_MAX];
	unsigned thread_count, idle;
	unsigned woken; /* idle ones that a job was meant for and that have not taken it yet */
	bool is_ending;
};

static void list_add(struct job_list *list, struct job *job)
{
	job->next = NULL;
	if (list->last)
		list->last->next = job;
	else
		list->first = job;
	list->last = job;
}

static struct job *list_take(struct job_list *list)
{
	struct job *job = list->first;

	if (job) {
		list->first = job->next;
		if (!list->first)
			list->last = NULL;
	}
	return job;
}

/* Hand back at once, without running it. Any thread. */
static void finish_job(struct workers *workers, struct job *job)
{
	bool was_empty;

	pthread_mutex_lock(&workers->lock);
	was_empty = !workers->finished.first;
	list_add(&workers->finished, job);
	/* Under the lock: once the I/O thread has seen the job it may end all this. */
	if (was_empty)
		event_signal_raise(workers->done);
	pthread_mutex_unlock(&workers->lock);
}

static void *work(void *argument)
{
	struct workers *workers = argument;
	struct job *job;

	pthread_mutex_lock(&workers->lock);
	for (;;) {
		while (!(job = list_take(&workers->waiting)) && !workers->is_ending) {
			workers->idle++;
			pthread_cond_wait(&workers->wake, &workers->lock);
			workers->idle--;
			if (workers->woken > 0)
				workers->woken--;
		}
		if (!job)
			break;
		pthread_mutex_unlock(&workers->lock);
		job->run(job);
		finish_job(workers, job);
		pthread_mutex_lock(&workers->lock);
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

struct workers *workers_create(const struct event_signal *done, struct error *error)
{
	struct workers *workers = calloc(1, sizeof(*workers));

	if (!workers) {
		error_set_errno(error, ENOMEM, "cannot make a queue of jobs");
		return NULL;
	}
	workers->done = done;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->wake, NULL);
	return workers;
}

void workers_destroy(struct workers *workers)
{
	unsigned i;

	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->is_ending = true;
	pthread_cond_broadcast(&workers->wake);
	pthread_mutex_unlock(&workers->lock);
	for (i = 0; i < workers->thread_count; i++)
		pthread_join(workers->threads[i], NULL);
	pthread_cond_destroy(&workers->wake);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}

void workers_add(struct workers *workers, struct job *job)
{
	bool run_here = false;

	pthread_mutex_lock(&workers->lock);
	if (workers->idle > workers->woken) {
		workers->woken++;
		pthread_cond_signal(&workers->wake);
	} else if (workers->thread_count < WORKERS_MAX) {
		if (thread_start(&workers->threads[workers->thread_count], NULL, work, workers) == 0)
			workers->thread_count++;
		else
			run_here = workers->thread_count == 0;
	}
	if (!run_here)
		list_add(&workers->waiting, job);
	pthread_mutex_unlock(&workers->lock);
	if (run_here) {
		job->run(job);
		finish_job(workers, job);
	}
}

bool workers_reap(struct workers *workers)
{
	struct job_list finished;
	struct job *job;

	pthread_mutex_lock(&workers->lock);
	finished = workers->finished;
	workers->finished = (struct job_list){NULL, NULL};
	pthread_mutex_unlock(&workers->lock);
	if (!finished.first)
		return false;
	while ((job = list_take(&finished)))
		job->done(job);
	return true;
}
