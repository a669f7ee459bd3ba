#include "monitor/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct schema {
	json_t *list;	/* as query-qmp-schema answers */
	json_t *by_name; /* the same by name */
};

struct schema *schema_create(struct error *error)
{
	struct schema *schema = calloc(1, sizeof(*schema));
	json_error_t problem;
	size_t i;
	json_t *info;

	if (!schema || !(schema->list = json_loads(qmp_schema_text, 0, &problem)) ||
	    !(schema->by_name = json_object())) {
		schema_destroy(schema);
		error_set_errno(error, ENOMEM, "cannot set up QMP's schema");
		return NULL;
	}
	json_array_foreach(schema->list, i, info)
		json_object_set(schema->by_name, json_string_value(json_object_get(info, "name")), info);
	return schema;
}

void schema_destroy(struct schema *schema)
{
	if (!schema)
		return;
	json_decref(schema->by_name);
	json_decref(schema->list);
	free(schema);
}

json_t *schema_description(const struct schema *schema)
{
	return schema->list;
}

static const char *text(const json_t *info, const char *key)
{
	const char *value = json_string_value(json_object_get(info, key));

	return value ? value : "";
}

static bool is_kind(const json_t *value, const char *kind)
{
	if (strcmp(kind, "string") == 0)
		return json_is_string(value);
	if (strcmp(kind, "int") == 0)
		return json_is_integer(value);
	if (strcmp(kind, "number") == 0)
		return json_is_number(value);
	if (strcmp(kind, "boolean") == 0)
		return json_is_boolean(value);
	if (strcmp(kind, "null") == 0)
		return json_is_null(value);
	return strcmp(kind, "value") == 0;
}

static int check(const struct schema *schema, const char *type, const char *name, const json_t *value,
		 struct error *error);

static int check_members(const struct schema *schema, const json_t *info, const json_t *value,
			 json_t *known, struct error *error)
{
	json_t *member, *given;
	const char *name;
	size_t i;
	int result;

	json_array_foreach(json_object_get(info, "members"), i, member) {
		name = text(member, "name");
		given = json_object_get(value, name);
		json_object_set_new(known, name, json_true());
		if (!given && !json_object_get(member, "default"))
			return error_set(error, EINVAL, "Parameter '%s' is missing", name);
		result = given ? check(schema, text(member, "type"), name, given, error) : 0;
		if (result < 0)
			return result;
	}
	return 0;
}

static bool is_open(const json_t *info)
{
	unsigned i;

	for (i = 0; qmp_open_types[i]; i++)
		if (strcmp(qmp_open_types[i], text(info, "name")) == 0)
			return true;
	return false;
}

static int check_object(const struct schema *schema, const json_t *info, const json_t *value,
			struct error *error)
{
	json_t *known = json_object(), *variant;
	const char *tag = text(info, "tag"), *chosen = text(value, tag), *name;
	json_t *given;
	size_t i;
	int result;

	if (!known)
		return error_set_errno(error, ENOMEM, "a value");
	result = check_members(schema, info, value, known, error);
	json_array_foreach(json_object_get(info, "variants"), i, variant)
		if (result == 0 && strcmp(text(variant, "case"), chosen) == 0)
			result = check_members(schema,
					       json_object_get(schema->by_name, text(variant, "type")),
					       value, known, error);
	json_object_foreach((json_t *)value, name, given)
		if (result == 0 && !json_object_get(known, name) && !is_open(info))
			result = error_set(error, EINVAL, "Parameter '%.100s' is unexpected", name);
	json_decref(known);
	return result;
}

static int check_enum(const json_t *info, const char *name, const json_t *value, struct error *error)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(info, "values"), i, one)
		if (json_equal(one, value))
			return 0;
	return error_set(error, EINVAL, "Parameter '%s' does not accept value '%.100s'", name,
			 json_string_value(value));
}

static int check(const struct schema *schema, const char *type, const char *name, const json_t *value,
		 struct error *error)
{
	const json_t *info = json_object_get(schema->by_name, type);
	const char *meta = text(info, "meta-type"), *expected = NULL;
	json_t *part;
	size_t i;
	int result = 0;

	if (strcmp(meta, "builtin") == 0) {
		expected = is_kind(value, text(info, "json-type")) ? NULL : text(info, "json-type");
	} else if (strcmp(meta, "enum") == 0) {
		if (json_is_string(value))
			return check_enum(info, name, value, error);
		expected = "string";
	} else if (strcmp(meta, "array") == 0) {
		expected = json_is_array(value) ? NULL : "array";
		json_array_foreach(value, i, part)
			if (result == 0)
				result = check(schema, text(info, "element-type"), name, part, error);
	} else if (strcmp(meta, "alternate") == 0) {
		json_array_foreach(json_object_get(info, "members"), i, part)
			if (check(schema, text(part, "type"), name, value, error) == 0)
				return 0;
		return -EINVAL;
	} else {
		if (json_is_object(value))
			return check_object(schema, info, value, error);
		expected = "object";
	}
	if (expected)
		return error_set(error, EINVAL, "Invalid parameter type for '%s', expected: %s", name,
				 expected);
	return result;
}

int schema_check(const struct schema *schema, const char *command, const json_t *arguments,
		 struct error *error)
{
	const json_t *info = json_object_get(schema->by_name, command);
	json_t *none = arguments ? NULL : json_object();
	int result = check(schema, text(info, "arg-type"), "arguments", arguments ? arguments : none, error);

	json_decref(none);
	return result;
}
