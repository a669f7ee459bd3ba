/* QMP's commands about objects and their types. The tree of objects is a table of paths. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <qmp_commands.h>

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

json_t *qmp_qom_get(struct qmp_call *call)
{
	const char *path = json_string_value(json_object_get(call->arguments, "path"));
	const char *name = json_string_value(json_object_get(call->arguments, "property"));
	json_t *object = find_object(call, path), *property;

	if (!object)
		return NULL;
	property = json_object_get(object, name);
	if (!property) {
		error_set(&call->error, ENOENT, "Property '%.200s.%.100s' not found", path, name);
		return NULL;
	}
	return json_incref(json_object_get(property, "value"));
}
