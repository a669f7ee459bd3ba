#include "util/thread.h"

/* More than any function of kvik has on its stack: none steps over it. */
#define STACK_GUARD_BYTES (1u << 20)

void thread_keep_faults(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	unsigned i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(set, faults[i]);
}

int thread_start(pthread_t *thread, const sigset_t *blocked, void *(*run)(void *argument),
		 void *argument)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int code;

	sigfillset(&all);
	thread_keep_faults(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setguardsize(&attributes, STACK_GUARD_BYTES);
	pthread_sigmask(SIG_SETMASK, blocked ? blocked : &all, &old);
	code = pthread_create(thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return -code;
}
