#include "util/loop_thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "util/log.h"
#include "util/thread.h"

static void *run(void *context)
{
	struct loop_thread *thread = context;
	int result;

	pthread_setname_np(pthread_self(), thread->name);
	result = event_loop_run(thread->loop);
	if (result < 0)
		log_error("%s: its I/O loop failed: %s", thread->name, strerror(-result));
	return NULL;
}

int loop_thread_create(struct loop_thread *thread, const char *name, struct error *error)
{
	memset(thread, 0, sizeof(*thread));
	strncpy(thread->name, name, sizeof(thread->name) - 1);
	thread->loop = event_loop_create(error);
	return thread->loop ? 0 : -ENOMEM;
}

int loop_thread_start(struct loop_thread *thread, struct error *error)
{
	int result = thread_start(&thread->thread, NULL, run, thread);

	if (result < 0)
		return error_set_errno(error, -result, "cannot start the thread of %s",
				       thread->name);
	thread->is_running = true;
	return 0;
}

void loop_thread_stop(struct loop_thread *thread)
{
	if (!thread->is_running)
		return;
	event_loop_stop(thread->loop);
	pthread_join(thread->thread, NULL);
	thread->is_running = false;
}

void loop_thread_destroy(struct loop_thread *thread)
{
	loop_thread_stop(thread);
	event_loop_destroy(thread->loop);
	thread->loop = NULL;
}
