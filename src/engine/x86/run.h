/*
 * cpu_run's inside: how an unwind reaches it, and the classes of events (exception.c).
 */
#ifndef KVIK_ENGINE_X86_RUN_H
#define KVIK_ENGINE_X86_RUN_H

#include <stdint.h>

/* The value that longjmp brings to cpu_run's setjmp. */
enum unwind {
	UNWIND_EVENT = 1, /* cpu->exception is to be delivered */
	UNWIND_EXIT,      /* cpu->run is filled for user space */
	UNWIND_SHUTDOWN,  /* triple fault */
};

/* Classes of SDM vol. 3 table 6-5; EVENT_NONE: nothing is being delivered. */
enum event_class {
	EVENT_NONE, EVENT_BENIGN, EVENT_CONTRIBUTORY, EVENT_PAGE_FAULT, EVENT_DOUBLE_FAULT,
};

enum event_class exception_class(uint8_t vector);

#endif
