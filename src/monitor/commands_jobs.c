/*
 * QMP's jobs. They are carried out one after the other, each once its command has been answered; monitors wait
 * while one is. As in QEMU a job that is over stays until it is dismissed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/jobs.h"
#include <qmp_commands.h>

static const char *const type_names[] = {
	[JOB_SNAPSHOT_SAVE] = "snapshot-save",
	[JOB_SNAPSHOT_LOAD] = "snapshot-load",
	[JOB_SNAPSHOT_DELETE] = "snapshot-delete",
	[JOB_CREATE] = "create",
};

struct monitor_job {
	enum job_type type;
	const char *status;
	char *id, *tag; /* owned */
	json_t *options; /* of an image that is made; owned */
	struct machine_snapshot_choice choice;
	bool is_over;
	struct error problem; /* "": none */
	struct monitor_job *next;
};

static void set_status(struct monitor *monitor, struct monitor_job *job, const char *status)
{
	job->status = status;
	qmp_send_event(monitor, "JOB_STATUS_CHANGE", json_pack("{s:s,s:s}", "status", status, "id", job->id));
}

static void free_job(struct monitor_job *job)
{
	free(job->id);
	free(job->tag);
	json_decref(job->options);
	free(job);
}

static struct monitor_job *find_job(struct monitor *monitor, const char *id)
{
	struct monitor_job *job = monitor->jobs;

	while (job && strcmp(job->id, id) != 0)
		job = job->next;
	return job;
}

static void carry_out(struct monitor *monitor, struct monitor_job *job)
{
	const struct monitor_facts *facts = &monitor->facts;
	int result = -EINVAL;

	switch (job->type) {
	case JOB_CREATE:
		result = facts->change(facts->change_context, MONITOR_NEW_IMAGE, job->options, &job->problem);
		break;
	case JOB_SNAPSHOT_SAVE:
		result = machine_snapshot_save(monitor->machine, &job->choice, job->tag, &job->problem);
		break;
	case JOB_SNAPSHOT_LOAD:
		result = machine_snapshot_load(monitor->machine, &job->choice, job->tag, &job->problem);
		break;
	case JOB_SNAPSHOT_DELETE:
		result = machine_snapshot_delete(monitor->machine, &job->choice, job->tag, &job->problem);
		break;
	}
	job->is_over = true;
	if (result == 0) {
		job->problem.message[0] = 0;
		set_status(monitor, job, "waiting");
		set_status(monitor, job, "pending");
	} else {
		set_status(monitor, job, "aborting");
	}
	set_status(monitor, job, "concluded");
}

void jobs_carry_out(void *context)
{
	struct monitor *monitor = context;
	struct monitor_job *job = monitor->jobs;

	block_jobs_look(monitor);
	while (job && job->is_over)
		job = job->next;
	if (!job)
		return;
	carry_out(monitor, job);
	event_timer_set(&monitor->job_timer, monotonic_ns(), 0);
}

/* The disks that the arguments name. 0, or -errno and the call's error. */
static int choose(struct qmp_call *call, struct machine_snapshot_choice *choice)
{
	const struct monitor_facts *facts = &call->monitor->facts;
	const size_t most = sizeof(choice->disks) / sizeof(choice->disks[0]);
	const char *state = json_string_value(json_object_get(call->arguments, "vmstate"));
	json_t *devices = json_object_get(call->arguments, "devices"), *name;
	size_t i;

	*choice = (struct machine_snapshot_choice){.count = 0};
	if (json_array_size(devices) > most)
		return error_set(&call->error, ENOSPC, "at most %zu devices", most);
	json_array_foreach(devices, i, name) {
		const char *text = json_string_value(name);
		const struct block *disk = facts->find_disk ? facts->find_disk(facts->disk_context, text) : NULL;

		if (!disk)
			return error_set(&call->error, ENOENT, "No block device node '%.60s'", text);
		choice->disks[choice->count++] = disk;
		if (state ? strcmp(text, state) == 0 : i == 0)
			choice->state = disk;
	}
	if (!choice->state)
		return error_set(&call->error, ENOENT, "vmstate block device '%.60s' does not exist",
				 state ? state : "");
	return 0;
}

/* NULL, and the call's error. */
static struct monitor_job *make_job(struct qmp_call *call, enum job_type type)
{
	struct monitor *monitor = call->monitor;
	const char *id = json_string_value(json_object_get(call->arguments, "job-id"));
	const char *tag = json_string_value(json_object_get(call->arguments, "tag"));
	struct monitor_job *job;
	unsigned count = 0;

	if (!monitor->machine) {
		error_set(&call->error, ENODEV, "there is no machine (-machine none)");
		return NULL;
	}
	if (find_job(monitor, id)) {
		error_set(&call->error, EEXIST, "Job ID '%.60s' already in use", id);
		return NULL;
	}
	for (job = monitor->jobs; job; job = job->next)
		count++;
	if (count == JOBS_MAX) {
		error_set(&call->error, ENOSPC, "at most %u jobs: some have to be dismissed", JOBS_MAX);
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (!job || !(job->id = strdup(id)) || (tag && !(job->tag = strdup(tag)))) {
		if (job)
			free_job(job);
		error_set_errno(&call->error, ENOMEM, "a job");
		return NULL;
	}
	job->type = type;
	return job;
}

static json_t *start(struct qmp_call *call, struct monitor_job *job)
{
	struct monitor *monitor = call->monitor;
	struct monitor_job **last = &monitor->jobs;

	while (*last)
		last = &(*last)->next;
	*last = job;
	set_status(monitor, job, "created");
	set_status(monitor, job, "running");
	event_timer_set(&monitor->job_timer, monotonic_ns(), 0);
	return qmp_done();
}

static json_t *start_snapshot(struct qmp_call *call, enum job_type type)
{
	struct monitor_job *job = make_job(call, type);

	if (job && choose(call, &job->choice) < 0) {
		free_job(job);
		job = NULL;
	}
	return job ? start(call, job) : NULL;
}

json_t *qmp_blockdev_create(struct qmp_call *call)
{
	struct monitor_job *job = make_job(call, JOB_CREATE);

	if (!job)
		return NULL;
	job->options = json_incref(json_object_get(call->arguments, "options"));
	return start(call, job);
}

json_t *qmp_snapshot_save(struct qmp_call *call)
{
	return start_snapshot(call, JOB_SNAPSHOT_SAVE);
}

json_t *qmp_snapshot_load(struct qmp_call *call)
{
	return start_snapshot(call, JOB_SNAPSHOT_LOAD);
}

json_t *qmp_snapshot_delete(struct qmp_call *call)
{
	return start_snapshot(call, JOB_SNAPSHOT_DELETE);
}

json_t *qmp_query_jobs(struct qmp_call *call)
{
	json_t *answer = json_array(), *one;
	const struct monitor_job *job;

	for (job = call->monitor->jobs; job; job = job->next) {
		one = json_pack("{s:s,s:s,s:s,s:i,s:i}", "id", job->id, "type", type_names[job->type], "status",
				job->status, "current-progress", (int)job->is_over, "total-progress", 1);
		if (job->problem.message[0])
			json_object_set_new(one, "error", json_string(job->problem.message));
		json_array_append_new(answer, one);
	}
	block_jobs_describe(call->monitor, answer);
	return answer;
}

/* What is done with a copy of a disk. Whether it is one. */
static bool do_with_copy(struct qmp_call *call, enum block_job_verb verb, json_t **answer)
{
	const char *id = json_string_value(json_object_get(call->arguments, "id"));
	int result = block_job_do(call, id, verb);

	*answer = result == 0 ? qmp_done() : NULL;
	return result != -ENOENT;
}

/* The job that a command names, while it does what the verb asks for; NULL, and the call's error. */
static struct monitor_job *find_for(struct qmp_call *call, enum block_job_verb verb)
{
	const char *id = json_string_value(json_object_get(call->arguments, "id"));
	struct monitor_job *job = find_job(call->monitor, id);

	if (!job)
		error_set(&call->error, ENOENT, "Job not found");
	else if (job->is_over ? verb == BLOCK_JOB_DISMISS : verb == BLOCK_JOB_CANCEL)
		return job;
	else
		error_set(&call->error, EBUSY, "Job '%.60s' in state '%s' cannot accept command verb '%s'", id, job->status,
			  block_job_verbs[verb]);
	return NULL;
}

/* What a snapshot does not. */
static json_t *do_with_copy_only(struct qmp_call *call, enum block_job_verb verb)
{
	json_t *answer;

	if (!do_with_copy(call, verb, &answer))
		find_for(call, verb);
	return answer;
}

json_t *qmp_job_complete(struct qmp_call *call)
{
	return do_with_copy_only(call, BLOCK_JOB_COMPLETE);
}

json_t *qmp_job_pause(struct qmp_call *call)
{
	return do_with_copy_only(call, BLOCK_JOB_PAUSE);
}

json_t *qmp_job_resume(struct qmp_call *call)
{
	return do_with_copy_only(call, BLOCK_JOB_RESUME);
}

/* One that waits for its turn: none is cut off in the middle. */
json_t *qmp_job_cancel(struct qmp_call *call)
{
	struct monitor_job *job;
	json_t *answer;

	if (do_with_copy(call, BLOCK_JOB_CANCEL, &answer))
		return answer;
	job = find_for(call, BLOCK_JOB_CANCEL);
	if (!job)
		return NULL;
	job->is_over = true;
	error_set(&job->problem, ECANCELED, "%s", strerror(ECANCELED));
	set_status(call->monitor, job, "aborting");
	set_status(call->monitor, job, "concluded");
	return qmp_done();
}

json_t *qmp_job_dismiss(struct qmp_call *call)
{
	struct monitor *monitor = call->monitor;
	struct monitor_job *job, **at;
	json_t *answer;

	if (do_with_copy(call, BLOCK_JOB_DISMISS, &answer))
		return answer;
	job = find_for(call, BLOCK_JOB_DISMISS);
	if (!job)
		return NULL;
	set_status(monitor, job, "null");
	for (at = &monitor->jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	free_job(job);
	return qmp_done();
}

void jobs_end(struct monitor *monitor)
{
	struct monitor_job *job;

	block_jobs_end(monitor);
	event_timer_destroy(&monitor->job_timer);
	while ((job = monitor->jobs)) {
		monitor->jobs = job->next;
		free_job(job);
	}
}
