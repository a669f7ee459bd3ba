/* A machine on its way in: migrate.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "machine/machine_parts.h"
#include "machine/migrate.h"
#include "machine/transfer.h"
#include "util/thread.h"

struct receiving {
	struct machine *machine;
	struct migration_user user;
	struct transfer transfer;
	struct event_source done; /* its eventfd: the thread has ended */
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
	uint64_t one = 1;

	pthread_setname_np(pthread_self(), "incoming");
	receiving->result = snapshot_read(&receiving->transfer.stream, &receiving->machine->ram, &receiving->saved,
					  &receiving->error);
	if (write(receiving->done.fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

static void join(struct receiving *receiving)
{
	if (receiving->is_threaded)
		pthread_join(receiving->thread, NULL);
	receiving->is_threaded = false;
	if (receiving->done.loop)
		event_loop_remove(&receiving->done);
	receiving->done.loop = NULL;
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
	receiving->done = (struct event_source){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = has_ended, .context = receiving};
	result = receiving->done.fd < 0 ? -errno : event_loop_add(machine->config.loop, &receiving->done);
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
	if (receiving->done.fd >= 0)
		close(receiving->done.fd);
	saved_machine_free(&receiving->saved);
	transfer_end(&receiving->transfer);
	free(receiving);
}
