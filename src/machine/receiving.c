/* A machine on its way in: migrate.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/machine_parts.h"
#include "machine/migrate.h"
#include "machine/transfer.h"
#include "util/event_signal.h"
#include "util/thread.h"

struct receiving {
	struct machine *machine;
	struct migration_user user;
	struct transfer transfer;
	struct event_signal done; /* the thread has ended */
	pthread_t thread;
	bool is_threaded;
	/* The thread's, until it has ended: */
	struct saved_machine saved;
	int result;
	struct error error;
};

static void *run(void *context)
{
	struct receiving *receiving = context;

	pthread_setname_np(pthread_self(), "incoming");
	receiving->result = snapshot_read(&receiving->transfer.stream, &receiving->machine->ram, &receiving->saved,
					  &receiving->error);
	event_signal_raise(&receiving->done);
	return NULL;
}

static void join(struct receiving *receiving)
{
	if (receiving->is_threaded)
		pthread_join(receiving->thread, NULL);
	receiving->is_threaded = false;
	event_signal_destroy(&receiving->done);
	transfer_close(&receiving->transfer);
}

static void has_ended(void *context)
{
	struct receiving *receiving = context;
	struct machine *machine = receiving->machine;
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	uint32_t pauses = 0;

	join(receiving);
	parts.pauses = &pauses;
	if (receiving->result == 0)
		receiving->result = snapshot_take_over(&parts, &receiving->saved, &receiving->error);
	saved_machine_free(&receiving->saved);
	if (receiving->result == 0) {
		machine_pause(machine, pauses);
		board_release(machine->board);
	}
	receiving->user.done(receiving->user.context, receiving->result, &receiving->error);
}

struct receiving *machine_receive(struct machine *machine, int fd, const struct migration_user *user,
				  struct error *error)
{
	struct receiving *receiving = calloc(1, sizeof(*receiving));
	int result = -ENOMEM;

	if (receiving)
		result = transfer_begin(&receiving->transfer, fd);
	else
		close(fd);
	if (result < 0) {
		free(receiving);
		error_set_errno(error, -result, "cannot receive the machine");
		return NULL;
	}
	receiving->machine = machine;
	receiving->user = *user;
	result = event_signal_init(&receiving->done, machine->config.loop, has_ended, receiving);
	if (result == 0)
		result = thread_start(&receiving->thread, NULL, run, receiving);
	receiving->is_threaded = result == 0;
	if (result == 0)
		return receiving;
	error_set_errno(error, -result, "cannot receive the machine");
	receiving_end(receiving);
	return NULL;
}

void receiving_end(struct receiving *receiving)
{
	if (!receiving)
		return;
	if (receiving->is_threaded)
		transfer_cancel(&receiving->transfer);
	join(receiving);
	saved_machine_free(&receiving->saved);
	transfer_end(&receiving->transfer);
	free(receiving);
}
