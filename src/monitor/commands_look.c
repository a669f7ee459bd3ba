/* QMP's commands for those who look into a guest: its memory in files, and an NMI that has it look itself. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "monitor/look/core.h"
#include "monitor/look/memory.h"
#include "monitor/migration.h"
#include <qmp_commands.h>

static bool begin(struct qmp_call *call)
{
	if (!call->monitor->machine) {
		error_set(&call->error, ENODEV, "there is no machine (-machine none)");
		return false;
	}
	return machine_look_begin(call->monitor->machine, &call->error) == 0;
}

json_t *qmp_inject_nmi(struct qmp_call *call)
{
	if (!begin(call))
		return NULL;
	machine_press_nmi_button(call->monitor->machine);
	machine_look_end(call->monitor->machine);
	return qmp_done();
}

static json_t *save_memory(struct qmp_call *call, bool is_physical)
{
	struct monitor_facts *facts = &call->monitor->facts;
	json_int_t address = json_integer_value(json_object_get(call->arguments, "val"));
	json_int_t size = json_integer_value(json_object_get(call->arguments, "size"));
	json_int_t cpu = json_integer_value(json_object_get(call->arguments, "cpu-index"));
	struct look look = {.machine = call->monitor->machine, .cpu = cpu};
	int fd, result;

	if (!begin(call))
		return NULL;
	if (cpu < 0 || cpu >= machine_cpus(look.machine) || !machine_has_cpu(look.machine, cpu) || size < 0) {
		result = error_set(&call->error, EINVAL, "there is no such CPU, or no such size");
	} else {
		result = fd = facts->open_file(facts->file_context, MONITOR_FILE_WRITE,
					       json_string_value(json_object_get(call->arguments, "filename")),
					       &call->error);
		if (fd >= 0) {
			result = look_save(&look, is_physical, address, size, fd, &call->error);
			close(fd);
		}
	}
	machine_look_end(look.machine);
	return result < 0 ? NULL : qmp_done();
}

json_t *qmp_memsave(struct qmp_call *call)
{
	return save_memory(call, false);
}

json_t *qmp_pmemsave(struct qmp_call *call)
{
	return save_memory(call, true);
}

/* "file:PATH", or "fd:NAME" of one that came by getfd. */
static int open_dump(struct qmp_call *call, const char *protocol)
{
	struct monitor_facts *facts = &call->monitor->facts;
	int fd;

	if (strncmp(protocol, "fd:", 3) == 0) {
		fd = migration_take_descriptor(call->monitor, protocol + 3);
		return fd >= 0 ? fd : error_set(&call->error, ENOENT, "File descriptor named '%.60s' has not been found",
						protocol + 3);
	}
	if (strncmp(protocol, "file:", 5) == 0)
		return facts->open_file(facts->file_context, MONITOR_FILE_WRITE, protocol + 5, &call->error);
	return error_set(&call->error, EINVAL, "parameter 'protocol' must be file: or fd:");
}

static json_t *describe_dump(const struct monitor *monitor)
{
	return json_pack("{s:s,s:I,s:I}", "status", monitor->dump.status ? monitor->dump.status : "none", "completed",
			 (json_int_t)monitor->dump.bytes, "total", (json_int_t)monitor->dump.bytes);
}

/* The machine stands still until all is written; "detach" makes no difference. */
json_t *qmp_dump_guest_memory(struct qmp_call *call)
{
	struct monitor *monitor = call->monitor;
	const char *format = json_string_value(json_object_get(call->arguments, "format"));
	const json_t *begins = json_object_get(call->arguments, "begin");
	const json_t *length = json_object_get(call->arguments, "length");
	const struct look look = {.machine = monitor->machine};
	struct look_core core = {
		.is_virtual = json_is_true(json_object_get(call->arguments, "paging")),
		.begin = json_integer_value(begins),
		.size_bytes = json_integer_value(length),
	};
	json_t *result;
	int fd;

	if (!begins != !length || (length && !core.size_bytes) || (begins && core.is_virtual)) {
		error_set(&call->error, EINVAL, "use 'begin' and 'length' together, and not with 'paging'");
		return NULL;
	}
	if (format && strcmp(format, "elf") != 0) {
		error_set(&call->error, ENOTSUP, "a dump is an ELF core: there is no %s", format);
		return NULL;
	}
	if (!begin(call))
		return NULL;
	fd = open_dump(call, json_string_value(json_object_get(call->arguments, "protocol")));
	if (fd >= 0) {
		monitor->dump.bytes = core.size_bytes ? core.size_bytes : machine_configuration(look.machine)->ram_bytes;
		monitor->dump.status = look_write_core(&look, &core, fd, &call->error) < 0 ? "failed" : "completed";
		close(fd);
		result = json_pack("{s:o}", "result", describe_dump(monitor));
		if (strcmp(monitor->dump.status, "failed") == 0)
			json_object_set_new(result, "error", json_string(call->error.message));
		qmp_send_event(monitor, "DUMP_COMPLETED", result);
	}
	machine_look_end(look.machine);
	return fd < 0 || strcmp(monitor->dump.status, "failed") == 0 ? NULL : qmp_done();
}

json_t *qmp_query_dump(struct qmp_call *call)
{
	return describe_dump(call->monitor);
}

json_t *qmp_query_dump_guest_memory_capability(struct qmp_call *call)
{
	(void)call;
	return json_pack("{s:[s]}", "formats", "elf");
}
