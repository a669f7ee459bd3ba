#include "util/event_signal.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void signal_ready(void *context)
{
	struct event_signal *signal = context;
	uint64_t times;

	if (read(signal->source.fd, &times, sizeof(times)) == sizeof(times))
		signal->raised(signal->context);
}

int event_signal_init(struct event_signal *signal, struct event_loop *loop, void (*raised)(void *context), void *context)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), result;

	if (fd < 0)
		return -errno;
	*signal = (struct event_signal){
		.source = {.fd = fd, .ready = signal_ready, .context = signal},
		.raised = raised,
		.context = context,
	};
	result = event_loop_add(loop, &signal->source);
	if (result < 0) {
		close(fd);
		*signal = (struct event_signal){0};
	}
	return result;
}

void event_signal_raise(const struct event_signal *signal)
{
	const uint64_t one = 1;

	/* When it cannot be written it is raised as much as it can be. */
	if (signal->raised && write(signal->source.fd, &one, sizeof(one)) < 0)
		return;
}

void event_signal_destroy(struct event_signal *signal)
{
	if (!signal->source.loop)
		return;
	event_loop_remove(&signal->source);
	close(signal->source.fd);
	*signal = (struct event_signal){0};
}
