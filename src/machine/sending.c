/* A machine on its way out: migrate.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/machine_parts.h"
#include "machine/migrate.h"
#include "machine/transfer.h"
#include "util/event_signal.h"
#include "util/log.h"
#include "util/page.h"
#include "util/thread.h"

#define BURST_NS	 20000000ull  /* what was not sent in time may be made up for by that much */
#define SHORTEST_NAP_NS	 2000000ull
#define SHORTEST_ROUND_NS 1000000ull /* that says something about speed */

struct sending {
	struct machine *machine;
	struct migration_user user;
	struct transfer transfer;
	struct live_ram live;
	bool is_logging;
	struct machine_observer observer; /* waits for the vCPUs to park */
	struct event_signal done;	  /* the thread has ended */
	pthread_t thread;
	bool is_threaded, is_held;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct migration_limits limits;
	bool wants_state; /* the vCPUs are asked to park */
	bool has_state;	  /* `state` is what it was when they had, or its `has_failed` is set */
	struct state_stream state;
	uint64_t began_ns, stopped_ns, ended_ns; /* 0: not yet */
	uint64_t rounds, bytes_per_s, dirty_pages_per_s;

	/* The thread's alone: */
	uint64_t may_send_ns, counted; /* when the next run may go; bytes that this counts */
	int result;
	struct error error;
};

static struct migration_limits limits_of(struct sending *sending)
{
	struct migration_limits limits;

	pthread_mutex_lock(&sending->lock);
	limits = sending->limits;
	pthread_mutex_unlock(&sending->lock);
	return limits;
}

/* --- the thread --- */

/* live_ram.go_on: no faster than it may. */
static int pace(void *context)
{
	struct transfer *transfer = context;
	struct sending *sending = (struct sending *)((char *)transfer - offsetof(struct sending, transfer));
	uint64_t limit = limits_of(sending).bytes_per_s, sent = sending->live.sent_bytes, now;

	if (transfer_is_cancelled(transfer))
		return -ECANCELED;
	if (limit && !sending->stopped_ns) {
		now = monotonic_ns();
		if (sending->may_send_ns + BURST_NS < now)
			sending->may_send_ns = now - BURST_NS;
		sending->may_send_ns += (uint64_t)((double)(sent - sending->counted) * 1e9 / limit);
		sending->counted = sent;
		while (sending->may_send_ns > now + SHORTEST_NAP_NS) {
			uint64_t left = sending->may_send_ns - now;

			/* In pieces: the limit may be another one by then. */
			if (transfer_sleep(transfer, left < 100000000 ? left : 100000000) < 0)
				return -ECANCELED;
			if (limits_of(sending).bytes_per_s != limit)
				sending->may_send_ns = 0;
			now = monotonic_ns();
		}
	}
	sending->counted = sent;
	return 0;
}

static int send_pending(struct sending *sending)
{
	int result = live_ram_send(&sending->live);

	if (result == 0)
		result = transfer_flush(&sending->transfer);
	return result < 0 ? error_set_errno(&sending->error, -result, "cannot send the machine's memory") : 0;
}

/* Send what is pending, and look what is by then. */
static int send_round(struct sending *sending)
{
	uint64_t began = monotonic_ns(), before = sending->live.sent_bytes, took, pending;
	int result = send_pending(sending);

	if (result == 0)
		result = live_ram_add_written(&sending->live, &sending->machine->vm, &sending->error);
	took = monotonic_ns() - began;
	pending = sending->live.pending_pages;
	pthread_mutex_lock(&sending->lock);
	sending->rounds++;
	if (took >= SHORTEST_ROUND_NS) {
		sending->bytes_per_s = (double)(sending->live.sent_bytes - before) * 1e9 / took;
		sending->dirty_pages_per_s = (double)pending * 1e9 / took;
	}
	pthread_mutex_unlock(&sending->lock);
	return result;
}

/* Whether what is left goes through while the guest stands still. */
static bool fits(struct sending *sending)
{
	struct migration_limits limits = limits_of(sending);
	double left = (double)sending->live.pending_pages * PAGE_SIZE;

	return left <= (double)sending->bytes_per_s * limits.downtime_ms / 1000;
}

/* Have the guest stand still; its state is there then. */
static int stop_guest(struct sending *sending)
{
	int result = 0;

	pthread_mutex_lock(&sending->lock);
	sending->stopped_ns = monotonic_ns();
	sending->wants_state = true;
	pthread_mutex_unlock(&sending->lock);
	machine_pause(sending->machine, MACHINE_PAUSE_SENT);
	pthread_mutex_lock(&sending->lock);
	while (!sending->has_state && !transfer_is_cancelled(&sending->transfer))
		pthread_cond_wait(&sending->changed, &sending->lock);
	if (!sending->has_state)
		result = -ECANCELED;
	else if (sending->state.has_failed)
		result = error_set(&sending->error, EINVAL, "%s", sending->state.error.message);
	pthread_mutex_unlock(&sending->lock);
	return result;
}

static int send_all(struct sending *sending)
{
	const struct saved_stream *stream = &sending->transfer.stream;
	int result = snapshot_begin_live(stream);

	if (result < 0)
		return error_set_errno(&sending->error, -result, "cannot send the machine");
	live_ram_add_all(&sending->live);
	do
		result = send_round(sending);
	while (result == 0 && !fits(sending));
	if (result == 0)
		result = stop_guest(sending);
	if (result == 0)
		result = live_ram_add_written(&sending->live, &sending->machine->vm, &sending->error);
	if (result == 0)
		result = send_pending(sending);
	if (result < 0)
		return result;
	result = live_ram_finish(&sending->live);
	if (result == 0)
		result = snapshot_end_live(stream, &sending->state);
	if (result == 0)
		result = transfer_flush(&sending->transfer);
	/* What did not arrive is told by the last one to know. */
	if (result == 0)
		result = transfer_close(&sending->transfer);
	return result < 0 ? error_set_errno(&sending->error, -result, "cannot send the machine") : 0;
}

static void *run(void *context)
{
	struct sending *sending = context;

	pthread_setname_np(pthread_self(), "migration");
	sending->result = send_all(sending);
	if (sending->result < 0 && transfer_is_cancelled(&sending->transfer))
		sending->result = -ECANCELED;
	pthread_mutex_lock(&sending->lock);
	sending->ended_ns = monotonic_ns();
	pthread_mutex_unlock(&sending->lock);
	event_signal_raise(&sending->done);
	return NULL;
}

/* --- the I/O thread --- */

/* All vCPUs are parked: by this, or by whoever has stopped the machine before. */
static void stands_still(void *context)
{
	struct sending *sending = context;
	struct machine *machine = sending->machine;
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	uint32_t pauses = machine_pauses(machine) & MACHINE_PAUSES_SENT;
	struct state_stream state;
	bool is_wanted;

	pthread_mutex_lock(&sending->lock);
	is_wanted = sending->wants_state && !sending->has_state;
	pthread_mutex_unlock(&sending->lock);
	if (!is_wanted || !(machine_pauses(machine) & MACHINE_PAUSE_SENT))
		return;
	board_hold(machine->board);
	sending->is_held = true;
	parts.pauses = &pauses;
	snapshot_state(&parts, &state, &state.error);
	pthread_mutex_lock(&sending->lock);
	sending->state = state;
	sending->has_state = true;
	pthread_cond_broadcast(&sending->changed);
	pthread_mutex_unlock(&sending->lock);
}

/* The thread has ended: what it leaves behind goes, and a machine that has not arrived goes on. */
static void finish(struct sending *sending)
{
	struct machine *machine = sending->machine;
	struct error error;

	if (sending->is_threaded)
		pthread_join(sending->thread, NULL);
	sending->is_threaded = false;
	event_signal_destroy(&sending->done);
	if (!sending->is_logging)
		return;
	sending->is_logging = false;
	machine->is_sending = false;
	machine_unobserve(machine, &sending->observer);
	if (ram_log_stop(&machine->ram, &machine->vm, &error) < 0)
		log_error("%s", error.message);
	transfer_close(&sending->transfer);
	live_ram_end(&sending->live);
	state_end(&sending->state);
	if (sending->result == 0) {
		machine->is_sent = true;
		return;
	}
	if (sending->is_held)
		board_release(machine->board);
	sending->is_held = false;
	if (sending->wants_state)
		machine_resume(machine, MACHINE_PAUSE_SENT);
}

static void has_ended(void *context)
{
	struct sending *sending = context;

	finish(sending);
	sending->user.done(sending->user.context, sending->result, &sending->error);
}

static int start(struct sending *sending, struct error *error)
{
	struct machine *machine = sending->machine;
	int result = live_ram_begin(&sending->live, &machine->ram, &sending->transfer.stream);

	sending->live.go_on = pace;
	if (result == 0)
		result = event_signal_init(&sending->done, machine->config.loop, has_ended, sending);
	if (result < 0)
		return error_set_errno(error, -result, "cannot send the machine");
	result = ram_log_start(&machine->ram, &machine->vm, error);
	if (result < 0)
		return result;
	sending->is_logging = machine->is_sending = true;
	sending->observer = (struct machine_observer){.stands_still = stands_still, .context = sending};
	machine_observe(machine, &sending->observer);
	sending->began_ns = monotonic_ns();
	result = thread_start(&sending->thread, NULL, run, sending);
	sending->is_threaded = result == 0;
	/* Where there is a thread the result is its own, and may be there by now. */
	return result < 0 ? error_set_errno(error, -result, "cannot start the thread of a migration") : 0;
}

struct sending *machine_send(struct machine *machine, int fd, const struct migration_limits *limits,
			     const struct migration_user *user, struct error *error)
{
	struct sending *sending = calloc(1, sizeof(*sending));
	int result = -ENOMEM;

	if (sending)
		result = transfer_begin(&sending->transfer, fd);
	else
		close(fd);
	if (result < 0) {
		error_set_errno(error, -result, "cannot send the machine");
		free(sending);
		return NULL;
	}
	sending->machine = machine;
	sending->user = *user;
	sending->limits = *limits;
	pthread_mutex_init(&sending->lock, NULL);
	pthread_cond_init(&sending->changed, NULL);
	if (start(sending, error) == 0)
		return sending;
	sending->result = -EIO;
	sending_end(sending);
	return NULL;
}

void sending_limit(struct sending *sending, const struct migration_limits *limits)
{
	pthread_mutex_lock(&sending->lock);
	sending->limits = *limits;
	pthread_mutex_unlock(&sending->lock);
}

void sending_cancel(struct sending *sending)
{
	pthread_mutex_lock(&sending->lock);
	transfer_cancel(&sending->transfer);
	pthread_cond_broadcast(&sending->changed);
	pthread_mutex_unlock(&sending->lock);
}

void sending_progress(const struct sending *sending, struct migration_progress *progress)
{
	struct sending *mutable = (struct sending *)sending; /* its lock is */
	const struct live_ram *live = &sending->live;
	uint64_t now = monotonic_ns();

	pthread_mutex_lock(&mutable->lock);
	*progress = (struct migration_progress){
		.ram_bytes = sending->machine->ram.size_bytes + machine_plugged_bytes(sending->machine),
		.remaining_bytes = __atomic_load_n(&live->pending_pages, __ATOMIC_RELAXED) * PAGE_SIZE,
		.sent_bytes = __atomic_load_n(&sending->transfer.sent, __ATOMIC_RELAXED),
		.normal_pages = __atomic_load_n(&live->normal_pages, __ATOMIC_RELAXED),
		.zero_pages = __atomic_load_n(&live->zero_pages, __ATOMIC_RELAXED),
		.rounds = sending->rounds,
		.bytes_per_s = sending->bytes_per_s,
		.dirty_pages_per_s = sending->dirty_pages_per_s,
		.has_stopped = sending->stopped_ns != 0,
	};
	if (sending->ended_ns)
		now = sending->ended_ns;
	progress->total_ns = now - sending->began_ns;
	progress->downtime_ns = sending->stopped_ns ? now - sending->stopped_ns : 0;
	progress->expected_downtime_ns = sending->limits.downtime_ms * 1000000;
	if (sending->bytes_per_s)
		progress->expected_downtime_ns = (double)progress->remaining_bytes * 1e9 / sending->bytes_per_s;
	pthread_mutex_unlock(&mutable->lock);
}

void sending_end(struct sending *sending)
{
	if (!sending)
		return;
	if (sending->is_threaded)
		sending_cancel(sending);
	finish(sending);
	live_ram_end(&sending->live);
	transfer_end(&sending->transfer);
	pthread_cond_destroy(&sending->changed);
	pthread_mutex_destroy(&sending->lock);
	free(sending);
}
