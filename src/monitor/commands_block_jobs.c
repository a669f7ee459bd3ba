/*
 * QMP's jobs that copy disks (block/copy.h), which go on by themselves: several at once, beside those of commands_jobs.c.
 * Whoever knows the command line begins them; what becomes of them is looked at on the I/O thread, when they say that there
 * is something.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/copy.h"
#include "monitor/jobs.h"
#include "monitor/migration.h"
#include "monitor/transactions.h"
#include <qmp_commands.h>

struct block_job {
	char *id, *command;	/* owned */
	const char *type, *status;
	json_t *arguments;	/* owned */
	struct block_copy *copy; /* NULL: it is over */
	struct block_copy_status last;
	bool is_ready, is_over, wants_finish, stays; /* stays: until it is dismissed */
	bool wants_pause, is_paused;
	uint64_t speed;
	char problem[256]; /* "": none */
	struct block_job *next;
};

static void set_status(struct monitor *monitor, struct block_job *job, const char *status)
{
	job->status = status;
	qmp_send_event(monitor, "JOB_STATUS_CHANGE", json_pack("{s:s,s:s}", "status", status, "id", job->id));
}

static void send_event(struct monitor *monitor, const struct block_job *job, const char *name)
{
	json_t *data = json_pack("{s:s,s:s,s:I,s:I,s:I}", "type", job->type, "device", job->id, "len",
				 (json_int_t)job->last.total, "offset", (json_int_t)job->last.done, "speed",
				 (json_int_t)job->speed);

	if (*job->problem && strcmp(name, "BLOCK_JOB_COMPLETED") == 0)
		json_object_set_new(data, "error", json_string(job->problem));
	qmp_send_event(monitor, name, data);
}

static struct block_job *find_job(struct monitor *monitor, const char *id)
{
	struct block_job *job = monitor->block_jobs;

	while (job && strcmp(job->id, id) != 0)
		job = job->next;
	return job;
}

static void free_job(struct block_job *job)
{
	free(job->id);
	free(job->command);
	json_decref(job->arguments);
	free(job);
}

static void dismiss(struct monitor *monitor, struct block_job *job)
{
	struct block_job **at;

	set_status(monitor, job, "null");
	for (at = &monitor->block_jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	free_job(job);
}

/* It is over: `was_finished`, the disk goes on in the copy. */
static void conclude(struct monitor *monitor, struct block_job *job, int result, bool was_finished, bool is_cancelled)
{
	const struct monitor_facts *facts = &monitor->facts;

	block_copy_look(job->copy, &job->last);
	facts->copy_ended(facts->change_context, job->command, job->arguments, was_finished);
	if (block_copy_end(job->copy) < 0 && result == 0)
		result = -EIO;
	job->copy = NULL;
	job->is_over = true;
	if (result < 0 && !*job->problem)
		strncpy(job->problem, strerror(-result), sizeof(job->problem) - 1);
	if (result < 0 || is_cancelled) {
		set_status(monitor, job, "aborting");
	} else {
		job->last.done = job->last.total;
		set_status(monitor, job, "waiting");
		set_status(monitor, job, "pending");
	}
	send_event(monitor, job, is_cancelled ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED");
	set_status(monitor, job, "concluded");
	if (!job->stays)
		dismiss(monitor, job);
}

static void look(struct monitor *monitor, struct block_job *job)
{
	struct error error = {.message = ""};
	int result;

	block_copy_look(job->copy, &job->last);
	if (job->last.has_ended) {
		conclude(monitor, job, job->last.result, false, false);
		return;
	}
	if (job->last.is_ready && !job->is_ready) {
		job->is_ready = true;
		set_status(monitor, job, "ready");
		send_event(monitor, job, "BLOCK_JOB_READY");
	}
	if (job->last.is_paused != job->is_paused) {
		job->is_paused = job->last.is_paused;
		set_status(monitor, job, job->is_paused ? (job->is_ready ? "standby" : "paused")
							: (job->is_ready ? "ready" : "running"));
	}
	if (job->is_ready && job->wants_finish) {
		result = block_copy_finish(job->copy, &error);
		memcpy(job->problem, error.message, sizeof(job->problem) - 1);
		conclude(monitor, job, result, result == 0, false);
	}
}

void block_jobs_look(struct monitor *monitor)
{
	struct block_job *job, *next;

	for (job = monitor->block_jobs; job; job = next) {
		next = job->next;
		if (!job->is_over)
			look(monitor, job);
	}
}

void block_jobs_end(struct monitor *monitor)
{
	struct block_job *job;

	while ((job = monitor->block_jobs)) {
		monitor->block_jobs = job->next;
		if (job->copy)
			block_copy_end(job->copy);
		free_job(job);
	}
}

/* --- beginning one --- */

/* On the copy's thread. */
static void has_changed(void *context)
{
	struct monitor *monitor = context;

	event_timer_set(&monitor->job_timer, monotonic_ns(), 0);
}

static struct block_job *make_job(struct qmp_call *call, const char *command, const char *type)
{
	const char *id = json_string_value(json_object_get(call->arguments, "job-id"));
	struct block_job *job;

	if (!id)
		id = json_string_value(json_object_get(call->arguments, "device"));
	if (find_job(call->monitor, id)) {
		error_set(&call->error, EEXIST, "Job ID '%.60s' already in use", id);
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (!job || !(job->id = strdup(id)) || !(job->command = strdup(command)) ||
	    !(job->arguments = json_deep_copy(call->arguments))) {
		if (job)
			free_job(job);
		error_set_errno(&call->error, ENOMEM, "a job");
		return NULL;
	}
	job->type = type;
	job->speed = json_integer_value(json_object_get(call->arguments, "speed"));
	job->stays = json_is_false(json_object_get(call->arguments, "auto-dismiss"));
	return job;
}

static json_t *begin(struct qmp_call *call, const char *command, const char *type)
{
	struct monitor *monitor = call->monitor;
	const struct monitor_facts *facts = &monitor->facts;
	struct block_job *job, **last = &monitor->block_jobs;

	if (!facts->start_copy || !monitor->machine) {
		error_set(&call->error, ENODEV, "there is no machine (-machine none)");
		return NULL;
	}
	if (migration_is_active(monitor)) {
		error_set(&call->error, EBUSY, "disks are not copied while the machine is migrated");
		return NULL;
	}
	if (json_is_false(json_object_get(call->arguments, "auto-finalize"))) {
		error_set(&call->error, ENOTSUP, "auto-finalize=false: jobs end by themselves");
		return NULL;
	}
	job = make_job(call, command, type);
	if (!job)
		return NULL;
	if (facts->start_copy(facts->change_context, command, call->arguments, has_changed, monitor, &job->copy,
			      &call->error) < 0) {
		free_job(job);
		return NULL;
	}
	while (*last)
		last = &(*last)->next;
	*last = job;
	set_status(monitor, job, "created");
	set_status(monitor, job, "running");
	/* It may have ended before it was known here. */
	has_changed(monitor);
	return qmp_done();
}

json_t *qmp_drive_backup(struct qmp_call *call)
{
	return begin(call, "drive-backup", "backup");
}

json_t *qmp_blockdev_backup(struct qmp_call *call)
{
	return begin(call, "blockdev-backup", "backup");
}

json_t *qmp_drive_mirror(struct qmp_call *call)
{
	return begin(call, "drive-mirror", "mirror");
}

json_t *qmp_blockdev_mirror(struct qmp_call *call)
{
	return begin(call, "blockdev-mirror", "mirror");
}

json_t *qmp_block_stream(struct qmp_call *call)
{
	return begin(call, "block-stream", "stream");
}

json_t *qmp_block_commit(struct qmp_call *call)
{
	return begin(call, "block-commit", "commit");
}

bool backup_action_is_one(const json_t *action)
{
	const char *type = json_string_value(json_object_get(action, "type"));

	return strcmp(type, "drive-backup") == 0 || strcmp(type, "blockdev-backup") == 0;
}

int backup_action_begin(struct qmp_call *call, const json_t *action)
{
	struct qmp_call inner = *call;
	json_t *answer;

	inner.arguments = json_object_get(action, "data");
	answer = begin(&inner, json_string_value(json_object_get(action, "type")), "backup");
	call->error = inner.error;
	json_decref(answer);
	return answer ? 0 : -EINVAL;
}

/* --- what is done with them --- */

static bool cancel(struct monitor *monitor, struct block_job *job, bool by_force)
{
	if (job->is_over)
		return false;
	/* What is ready is what the disk holds: a copy that ends here is whole. */
	block_copy_look(job->copy, &job->last);
	conclude(monitor, job, 0, false, by_force || !job->is_ready || strcmp(job->type, "mirror") != 0);
	return true;
}

/* Twice the same is an error, as in QEMU. */
static int pause_job(struct qmp_call *call, struct block_job *job, bool pauses)
{
	if (job->wants_pause == pauses)
		return error_set(&call->error, EBUSY, "%s",
				 pauses ? "Job is already paused" : "Can't resume a job that was not paused");
	job->wants_pause = pauses;
	block_copy_pause(job->copy, pauses);
	return 0;
}

const char *const block_job_verbs[] = {
	[BLOCK_JOB_CANCEL] = "cancel", [BLOCK_JOB_COMPLETE] = "complete", [BLOCK_JOB_DISMISS] = "dismiss",
	[BLOCK_JOB_PAUSE] = "pause",   [BLOCK_JOB_RESUME] = "resume",
};

int block_job_do(struct qmp_call *call, const char *id, enum block_job_verb verb)
{
	struct monitor *monitor = call->monitor;
	struct block_job *job = find_job(monitor, id);
	bool is_done = false;

	if (!job)
		return -ENOENT;
	switch (verb) {
	case BLOCK_JOB_CANCEL:
		is_done = cancel(monitor, job, json_is_true(json_object_get(call->arguments, "force")));
		break;
	case BLOCK_JOB_COMPLETE:
		is_done = job->is_ready && !job->is_over && !job->wants_pause;
		job->wants_finish |= is_done;
		if (is_done)
			has_changed(monitor);
		break;
	case BLOCK_JOB_DISMISS:
		is_done = job->is_over;
		if (is_done)
			dismiss(monitor, job);
		break;
	case BLOCK_JOB_PAUSE:
	case BLOCK_JOB_RESUME:
		if (!job->is_over)
			return pause_job(call, job, verb == BLOCK_JOB_PAUSE);
		break;
	}
	return is_done ? 0
		       : error_set(&call->error, EBUSY, "Job '%.60s' in state '%s' cannot accept command verb '%s'", id,
				   job->status, block_job_verbs[verb]);
}

static json_t *do_by_name(struct qmp_call *call, const char *key, enum block_job_verb verb)
{
	const char *id = json_string_value(json_object_get(call->arguments, key));
	int result = block_job_do(call, id, verb);

	if (result == -ENOENT) {
		error_set(&call->error, ENOENT, "Block job '%.60s' not found", id);
		call->error_class = "DeviceNotActive";
	}
	return result < 0 ? NULL : qmp_done();
}

json_t *qmp_block_job_cancel(struct qmp_call *call)
{
	const char *id = json_string_value(json_object_get(call->arguments, "device"));
	const struct block_job *job = find_job(call->monitor, id);

	if (job && job->wants_pause && !json_is_true(json_object_get(call->arguments, "force"))) {
		error_set(&call->error, EBUSY, "The block job for device '%.60s' is currently paused", id);
		return NULL;
	}
	return do_by_name(call, "device", BLOCK_JOB_CANCEL);
}

json_t *qmp_block_job_complete(struct qmp_call *call)
{
	return do_by_name(call, "device", BLOCK_JOB_COMPLETE);
}

json_t *qmp_block_job_pause(struct qmp_call *call)
{
	return do_by_name(call, "device", BLOCK_JOB_PAUSE);
}

json_t *qmp_block_job_resume(struct qmp_call *call)
{
	return do_by_name(call, "device", BLOCK_JOB_RESUME);
}

json_t *qmp_block_job_dismiss(struct qmp_call *call)
{
	return do_by_name(call, "id", BLOCK_JOB_DISMISS);
}

json_t *qmp_block_job_set_speed(struct qmp_call *call)
{
	const char *id = json_string_value(json_object_get(call->arguments, "device"));
	json_int_t speed = json_integer_value(json_object_get(call->arguments, "speed"));
	struct block_job *job = find_job(call->monitor, id);

	if (!job || !job->copy) {
		error_set(&call->error, ENOENT, "Block job '%.60s' not found", id);
		call->error_class = "DeviceNotActive";
		return NULL;
	}
	if (speed < 0) {
		error_set(&call->error, EINVAL, "Parameter 'speed' expects a non-negative value");
		return NULL;
	}
	job->speed = speed;
	block_copy_set_speed(job->copy, speed);
	return qmp_done();
}

json_t *qmp_query_block_jobs(struct qmp_call *call)
{
	json_t *answer = json_array();
	struct block_job *job;

	for (job = call->monitor->block_jobs; job; job = job->next) {
		if (job->copy)
			block_copy_look(job->copy, &job->last);
		json_array_append_new(
			answer, json_pack("{s:s,s:s,s:I,s:I,s:b,s:b,s:I,s:s,s:b,s:s,s:b,s:b}", "type", job->type, "device",
					  job->id, "len", (json_int_t)job->last.total, "offset",
					  (json_int_t)job->last.done, "busy", job->copy && !job->is_paused, "paused", job->wants_pause, "speed",
					  (json_int_t)job->speed, "io-status", "ok", "ready", job->is_ready, "status",
					  job->status, "auto-finalize", 1, "auto-dismiss", !job->stays));
	}
	return answer;
}

void block_jobs_describe(struct monitor *monitor, json_t *answer)
{
	struct block_job *job;

	for (job = monitor->block_jobs; job; job = job->next) {
		json_t *one;

		if (job->copy)
			block_copy_look(job->copy, &job->last);
		one = json_pack("{s:s,s:s,s:s,s:I,s:I}", "id", job->id, "type", job->type, "status", job->status,
				"current-progress", (json_int_t)job->last.done, "total-progress",
				(json_int_t)job->last.total);
		if (*job->problem)
			json_object_set_new(one, "error", json_string(job->problem));
		json_array_append_new(answer, one);
	}
}
