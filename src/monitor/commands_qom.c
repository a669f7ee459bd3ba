/* QMP's commands about objects and their types. The tree of objects is a table of paths. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/virtio_balloon.h>

#include <qmp_commands.h>

#include "machine/inspect.h"

#define STATS	     "guest-stats"
#define STATS_PERIOD "guest-stats-polling-interval"

json_t *qmp_qom_list_types(struct qmp_call *call)
{
	const char *wanted = json_string_value(json_object_get(call->arguments, "implements"));
	bool with_abstract = json_is_true(json_object_get(call->arguments, "abstract"));
	json_t *types = call->monitor->facts.types, *answer = json_array(), *type, *up, *info;
	const char *name, *parent;

	json_object_foreach(types, name, type) {
		bool is_abstract = json_is_true(json_object_get(type, "abstract"));
		bool implements = !wanted || strcmp(wanted, name) == 0;

		for (up = type; !implements && up; up = parent ? json_object_get(types, parent) : NULL) {
			parent = json_string_value(json_object_get(up, "parent"));
			implements = parent && strcmp(wanted, parent) == 0;
		}
		if (!implements || (is_abstract && !with_abstract))
			continue;
		parent = json_string_value(json_object_get(type, "parent"));
		info = json_pack("{s:s}", "name", name);
		if (parent)
			json_object_set_new(info, "parent", json_string(parent));
		if (is_abstract)
			json_object_set_new(info, "abstract", json_true());
		json_array_append_new(answer, info);
	}
	return answer;
}

static json_t *list_properties(struct qmp_call *call, bool is_device)
{
	const char *name = json_string_value(json_object_get(call->arguments, "typename"));
	json_t *type = json_object_get(call->monitor->facts.types, name), *properties;

	if (!type) {
		call->error_class = is_device ? "DeviceNotFound" : "DeviceNotFound";
		error_set(&call->error, ENODEV, is_device ? "Device '%.100s' not found" : "Class '%.100s' not found",
			  name);
		return NULL;
	}
	properties = json_object_get(type, "properties");
	return properties ? json_incref(properties) : json_array();
}

json_t *qmp_qom_list_properties(struct qmp_call *call)
{
	return list_properties(call, false);
}

json_t *qmp_device_list_properties(struct qmp_call *call)
{
	return list_properties(call, true);
}

static json_t *find_object(struct qmp_call *call, const char *path)
{
	json_t *object = json_object_get(call->monitor->facts.objects, path);

	if (!object) {
		call->error_class = "DeviceNotFound";
		error_set(&call->error, ENODEV, "Device '%.200s' not found", path);
	}
	return object;
}

/* The children of a path are the paths with one part more. */
static void add_children(json_t *objects, const char *path, json_t *answer)
{
	size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);
	const char *other, *type;
	json_t *object;

	json_object_foreach(objects, other, object) {
		if (strncmp(other, path, length) != 0 || other[length] != '/' || !other[length + 1] ||
		    strchr(other + length + 1, '/'))
			continue;
		type = json_string_value(
			json_object_get(json_object_get(object, "type"), "value"));
		json_array_append_new(answer, json_pack("{s:s,s:o}", "name", other + length + 1, "type",
							json_sprintf("child<%s>", type ? type : "container")));
	}
}

json_t *qmp_qom_list(struct qmp_call *call)
{
	const char *path = json_string_value(json_object_get(call->arguments, "path")), *name;
	json_t *object = find_object(call, path), *answer, *property;

	if (!object)
		return NULL;
	answer = json_array();
	json_object_foreach(object, name, property)
		json_array_append_new(answer, json_pack("{s:s,s:O}", "name", name, "type",
							json_object_get(property, "type")));
	add_children(call->monitor->facts.objects, path, answer);
	return answer;
}

/* -- properties that change by themselves, which the table of objects knows by name alone -- */

static bool is_balloon(const struct qmp_call *call, const json_t *object)
{
	const char *type = json_string_value(json_object_get(json_object_get(object, "type"), "value"));

	return call->monitor->machine && type && strncmp(type, "virtio-balloon", strlen("virtio-balloon")) == 0;
}

/* Numbers that the guest does not tell are all ones in QEMU, and -1 as JSON's signed ones have it. */
static json_t *describe_stats(struct machine *machine)
{
	static const char *const names[] = {
		[VIRTIO_BALLOON_S_SWAP_IN] = "stat-swap-in",
		[VIRTIO_BALLOON_S_SWAP_OUT] = "stat-swap-out",
		[VIRTIO_BALLOON_S_MAJFLT] = "stat-major-faults",
		[VIRTIO_BALLOON_S_MINFLT] = "stat-minor-faults",
		[VIRTIO_BALLOON_S_MEMFREE] = "stat-free-memory",
		[VIRTIO_BALLOON_S_MEMTOT] = "stat-total-memory",
		[VIRTIO_BALLOON_S_AVAIL] = "stat-available-memory",
		[VIRTIO_BALLOON_S_CACHES] = "stat-disk-caches",
		[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "stat-htlb-pgalloc",
		[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "stat-htlb-pgfail",
	};
	struct virtio_balloon_stats stats;
	json_t *values = json_object();
	unsigned i;

	if (machine_read_balloon_stats(machine, &stats) < 0) {
		memset(&stats, 0xff, sizeof(stats));
		stats.seconds = 0;
	}
	for (i = 0; i < VIRTIO_BALLOON_STATS; i++)
		json_object_set_new(values, names[i], json_integer(stats.values[i]));
	return json_pack("{s:o,s:I}", "stats", values, "last-update", (json_int_t)stats.seconds);
}

json_t *qmp_qom_get(struct qmp_call *call)
{
	const char *path = json_string_value(json_object_get(call->arguments, "path"));
	const char *name = json_string_value(json_object_get(call->arguments, "property"));
	json_t *object = find_object(call, path), *property;
	uint32_t seconds;

	if (!object)
		return NULL;
	property = json_object_get(object, name);
	if (!property) {
		error_set(&call->error, ENOENT, "Property '%.200s.%.100s' not found", path, name);
		return NULL;
	}
	if (is_balloon(call, object) && strcmp(name, STATS) == 0)
		return describe_stats(call->monitor->machine);
	if (is_balloon(call, object) && strcmp(name, STATS_PERIOD) == 0 &&
	    machine_balloon_period(call->monitor->machine, &seconds) == 0)
		return json_integer(seconds);
	return json_incref(json_object_get(property, "value"));
}

json_t *qmp_qom_set(struct qmp_call *call)
{
	const char *path = json_string_value(json_object_get(call->arguments, "path"));
	const char *name = json_string_value(json_object_get(call->arguments, "property"));
	const json_t *value = json_object_get(call->arguments, "value");
	json_t *object = find_object(call, path);

	if (!object)
		return NULL;
	if (!json_object_get(object, name))
		error_set(&call->error, ENOENT, "Property '%.200s.%.100s' not found", path, name);
	else if (!is_balloon(call, object) || strcmp(name, STATS_PERIOD) != 0)
		error_set(&call->error, EPERM, "Property '%.200s.%.100s' cannot be set any more", path, name);
	else if (!json_is_integer(value))
		error_set(&call->error, EINVAL, "Invalid parameter type for '%.100s', expected: integer", name);
	else if (json_integer_value(value) < 0)
		error_set(&call->error, EINVAL, "timer value must be greater than zero");
	else if (json_integer_value(value) > UINT32_MAX)
		error_set(&call->error, EINVAL, "timer value is too big");
	else if (machine_set_balloon_period(call->monitor->machine, json_integer_value(value)) < 0)
		error_set(&call->error, ENODEV, "No balloon device has been activated");
	else
		return qmp_done();
	return NULL;
}
