/* QMP's commands about migration, and the descriptors that it may use. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "monitor/migration.h"
#include <qmp_commands.h>

#define DOWNTIME_MS_MAX 2000000 /* QEMU's */

/* What a URI leads to. -1: the call's error says why there is nothing. */
static int open_uri(struct qmp_call *call, enum monitor_file kind)
{
	const struct monitor_facts *facts = &call->monitor->facts;
	const char *uri = json_string_value(json_object_get(call->arguments, "uri"));
	int fd;

	if (strncmp(uri, "fd:", 3) != 0) {
		fd = facts->open_file(facts->file_context, kind, uri, &call->error);
		return fd < 0 ? -1 : fd;
	}
	fd = migration_take_descriptor(call->monitor, uri + 3);
	if (fd < 0)
		error_set(&call->error, ENOENT, "File descriptor named '%.60s' has not been found", uri + 3);
	return fd;
}

json_t *qmp_migrate(struct qmp_call *call)
{
	struct machine *machine = call->monitor->machine;
	int fd;

	if (!qmp_need_machine(call))
		return NULL;
	if (json_is_true(json_object_get(call->arguments, "blk")) ||
	    json_is_true(json_object_get(call->arguments, "inc"))) {
		error_set(&call->error, ENOTSUP, "disks are not copied: leave out 'blk' and 'inc'");
		return NULL;
	}
	if (machine_pauses(machine) & (MACHINE_PAUSE_INCOMING | MACHINE_PAUSE_SENT | MACHINE_PAUSE_OFF)) {
		error_set(&call->error, EBUSY, "Guest is waiting for an incoming migration, was migrated, or is off");
		return NULL;
	}
	if (migration_is_active(call->monitor)) {
		error_set(&call->error, EBUSY, "There's a migration process in progress");
		return NULL;
	}
	fd = open_uri(call, MONITOR_URI_OUT);
	if (fd < 0 || migration_send(call->monitor, fd, &call->error) < 0)
		return NULL;
	return qmp_done();
}

json_t *qmp_migrate_incoming(struct qmp_call *call)
{
	const char *uri = json_string_value(json_object_get(call->arguments, "uri"));
	struct machine *machine = call->monitor->machine;
	int fd;

	if (!machine || !(machine_pauses(machine) & MACHINE_PAUSE_INCOMING)) {
		error_set(&call->error, EINVAL, "'-incoming' was not specified on the command line");
		return NULL;
	}
	if (call->monitor->migration.fd >= 0 || call->monitor->migration.receiving) {
		error_set(&call->error, EBUSY, "The incoming migration has already been started");
		return NULL;
	}
	fd = open_uri(call, MONITOR_URI_IN);
	if (fd < 0 || migration_receive(call->monitor, fd, strncmp(uri, "unix:", 5) == 0 || strncmp(uri, "tcp:", 4) == 0,
					&call->error) < 0)
		return NULL;
	return qmp_done();
}

json_t *qmp_migrate_cancel(struct qmp_call *call)
{
	migration_cancel(call->monitor);
	return qmp_done();
}

json_t *qmp_query_migrate_parameters(struct qmp_call *call)
{
	const struct migration_limits *limits = &call->monitor->migration.limits;

	return json_pack("{s:I,s:I}", "max-bandwidth", (json_int_t)limits->bytes_per_s, "downtime-limit",
			 (json_int_t)limits->downtime_ms);
}

json_t *qmp_migrate_set_parameters(struct qmp_call *call)
{
	struct migration_limits limits = call->monitor->migration.limits;
	const json_t *bandwidth = json_object_get(call->arguments, "max-bandwidth");
	const json_t *downtime = json_object_get(call->arguments, "downtime-limit");

	if (bandwidth && json_integer_value(bandwidth) < 0) {
		error_set(&call->error, EINVAL, "Parameter 'max-bandwidth' expects a rate in bytes a second; 0: no limit");
		return NULL;
	}
	if (downtime && (json_integer_value(downtime) < 0 || json_integer_value(downtime) > DOWNTIME_MS_MAX)) {
		error_set(&call->error, EINVAL,
			  "Parameter 'downtime-limit' expects an integer in the range of 0 to %d milliseconds",
			  DOWNTIME_MS_MAX);
		return NULL;
	}
	if (bandwidth)
		limits.bytes_per_s = json_integer_value(bandwidth);
	if (downtime)
		limits.downtime_ms = json_integer_value(downtime);
	migration_set_limits(call->monitor, &limits);
	return qmp_done();
}

static json_t *describe_ram(const struct migration_progress *progress)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:i,s:I,s:I,s:I,s:f,s:I,s:i,s:i,s:i,s:I}", "transferred",
			 (json_int_t)progress->sent_bytes, "remaining", (json_int_t)progress->remaining_bytes,
			 "total", (json_int_t)progress->ram_bytes, "duplicate", (json_int_t)progress->zero_pages,
			 "skipped", 0, "normal", (json_int_t)progress->normal_pages, "normal-bytes",
			 (json_int_t)(progress->normal_pages * GUEST_MEMORY_PAGE), "dirty-pages-rate",
			 (json_int_t)progress->dirty_pages_per_s, "mbps", progress->bytes_per_s * 8e-6,
			 "dirty-sync-count", (json_int_t)progress->rounds, "postcopy-requests", 0, "page-size",
			 GUEST_MEMORY_PAGE, "multifd-bytes", 0, "pages-per-second",
			 (json_int_t)(progress->bytes_per_s / GUEST_MEMORY_PAGE));
}

json_t *qmp_query_migrate(struct qmp_call *call)
{
	const struct monitor *monitor = call->monitor;
	enum migration_status status = monitor->migration.status;
	struct migration_progress progress;
	json_t *answer;

	if (status == MIGRATION_NONE)
		return json_object();
	answer = json_pack("{s:s}", "status", migration_status_names[status]);
	if (monitor->migration.sending) {
		sending_progress(monitor->migration.sending, &progress);
		json_object_set_new(answer, "ram", describe_ram(&progress));
		json_object_set_new(answer, "total-time", json_integer(progress.total_ns / 1000000));
		json_object_set_new(answer, "setup-time", json_integer(0));
		if (status == MIGRATION_COMPLETED)
			json_object_set_new(answer, "downtime", json_integer(progress.downtime_ns / 1000000));
		else if (status == MIGRATION_ACTIVE)
			json_object_set_new(answer, "expected-downtime",
					    json_integer(progress.expected_downtime_ns / 1000000));
	}
	if (status == MIGRATION_FAILED)
		json_object_set_new(answer, "error-desc", json_string(monitor->migration.problem.message));
	return answer;
}

json_t *qmp_getfd(struct qmp_call *call)
{
	struct monitor *monitor = call->monitor;
	const char *name = json_string_value(json_object_get(call->arguments, "fdname"));
	int fd, old;

	if (monitor->descriptor_count == MONITOR_DESCRIPTORS) {
		error_set(&call->error, ENOSPC, "at most %u descriptors", MONITOR_DESCRIPTORS);
		return NULL;
	}
	fd = monitor->facts.open_file(monitor->facts.file_context, MONITOR_FILE_PASSED, name, &call->error);
	if (fd < 0)
		return NULL;
	old = migration_take_descriptor(monitor, name);
	if (old >= 0)
		close(old);
	monitor->descriptors[monitor->descriptor_count].name = strdup(name);
	monitor->descriptors[monitor->descriptor_count].fd = fd;
	if (monitor->descriptors[monitor->descriptor_count].name) {
		monitor->descriptor_count++;
		return qmp_done();
	}
	close(fd);
	error_set_errno(&call->error, ENOMEM, "getfd");
	return NULL;
}

json_t *qmp_closefd(struct qmp_call *call)
{
	const char *name = json_string_value(json_object_get(call->arguments, "fdname"));
	int fd = migration_take_descriptor(call->monitor, name);

	if (fd < 0) {
		error_set(&call->error, ENOENT, "File descriptor named '%.60s' not found", name);
		return NULL;
	}
	close(fd);
	return qmp_done();
}

json_t *qmp_calc_dirty_rate(struct qmp_call *call)
{
	json_int_t seconds = json_integer_value(json_object_get(call->arguments, "calc-time"));
	const json_t *sample = json_object_get(call->arguments, "sample-pages");
	const char *mode = json_string_value(json_object_get(call->arguments, "mode"));
	json_int_t pages = sample ? json_integer_value(sample) : DIRTY_RATE_PAGES_USUAL;

	if (!qmp_need_machine(call))
		return NULL;
	if (seconds < 1 || seconds > DIRTY_RATE_SECONDS_MAX)
		error_set(&call->error, EINVAL, "calc-time is out of range[1, %d].", DIRTY_RATE_SECONDS_MAX);
	else if (mode && strcmp(mode, "page-sampling") != 0)
		error_set(&call->error, ENOTSUP, "mode '%s' is not there: use page-sampling", mode);
	else if (pages < DIRTY_RATE_PAGES_MIN || pages > DIRTY_RATE_PAGES_MAX)
		error_set(&call->error, EINVAL, "sample-pages is out of range[%d, %d].", DIRTY_RATE_PAGES_MIN,
			  DIRTY_RATE_PAGES_MAX);
	else if (dirty_rate_start(&call->monitor->dirty_rate, seconds, pages, &call->error) == 0)
		return qmp_done();
	return NULL;
}

json_t *qmp_query_dirty_rate(struct qmp_call *call)
{
	static const char *const names[] = {"unstarted", "measuring", "measured"};
	const struct dirty_rate *rate = &call->monitor->dirty_rate;
	json_t *answer = json_pack("{s:s,s:I,s:i,s:i,s:s}", "status", names[rate->status], "start-time",
				   (json_int_t)rate->start_s, "calc-time", (int)rate->seconds, "sample-pages",
				   (int)rate->pages_per_gib, "mode", "page-sampling");

	if (rate->status == DIRTY_RATE_MEASURED)
		json_object_set_new(answer, "dirty-rate", json_integer((json_int_t)rate->mib_per_s));
	return answer;
}
