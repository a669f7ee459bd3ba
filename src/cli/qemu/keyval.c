#include "cli/qemu/keyval.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/comma_item.h"

#define KEY_PARTS_MAX 8

static const struct property *find(const struct property *properties, const char *name)
{
	for (; properties && properties->name; properties++)
		if (strcmp(properties->name, name) == 0 ||
		    (properties->other_name && strcmp(properties->other_name, name) == 0))
			return properties;
	return NULL;
}

/* The object that `key` is in, and in *key its last part. NULL: it cannot be. */
static json_t *descend(json_t *object, char **key)
{
	json_t *inner;
	char *dot;
	unsigned depth;

	for (depth = 0; (dot = strchr(*key, '.')) && dot != *key && dot[1]; depth++) {
		if (depth == KEY_PARTS_MAX)
			return NULL;
		*dot = 0;
		inner = json_object_get(object, *key);
		if (!inner) {
			inner = json_object();
			/* Not of a key that is no UTF-8: it is freed then. */
			if (json_object_set_new(object, *key, inner) < 0)
				return NULL;
		}
		if (!json_is_object(inner))
			return NULL;
		object = inner;
		*key = dot + 1;
	}
	return object;
}

static int put(json_t *object, char *key, const char *value, const struct property *property,
	       bool is_nested, struct error *error)
{
	json_t *text = json_string(value), *earlier;
	const char *name = property ? property->name : key;

	if (!text)
		return error_set(error, EINVAL, "the value of '%.100s' is no UTF-8", key);
	if (is_nested) {
		object = descend(object, &key);
		if (!object) {
			json_decref(text);
			return error_set(error, EINVAL, "'%.100s' is both a value and has parts, or is no UTF-8", key);
		}
		name = key;
	}
	earlier = json_object_get(object, name);
	if (property && property->is_list && earlier) {
		if (!json_is_array(earlier))
			json_object_set_new(object, name, json_pack("[O]", earlier));
		json_array_append_new(json_object_get(object, name), text);
		return 0;
	}
	if (json_object_set_new(object, name, text) < 0)
		return error_set(error, EINVAL, "a key is no UTF-8");
	return 0;
}

static int put_item(json_t *object, char *item, const char *first, const struct property *properties,
		    bool is_nested, struct error *error)
{
	char *equals = strchr(item, '=');
	const struct property *property;

	if (equals && equals != item) {
		*equals = 0;
		return put(object, item, equals + 1, find(properties, item), is_nested, error);
	}
	if (first) {
		char key[64];

		strncpy(key, first, sizeof(key) - 1);
		key[sizeof(key) - 1] = 0;
		return put(object, key, item, find(properties, first), false, error);
	}
	property = find(properties, item);
	if (!property && strncmp(item, "no", 2) == 0) {
		property = find(properties, item + 2);
		if (property && property->type == PROPERTY_BOOL)
			return put(object, item + 2, "off", property, false, error);
	}
	if (!*item)
		return error_set(error, EINVAL, "there is nothing between two commas");
	return put(object, item, "on", property, is_nested, error);
}

json_t *keyval_parse(const char *text, const char *first, const struct property *properties,
		     bool is_nested, struct error *error)
{
	json_error_t problem;
	json_t *object;
	char *copy, *rest;

	if (*text == '{') {
		object = json_loads(text, JSON_REJECT_DUPLICATES, &problem);
		if (!object)
			error_set(error, EINVAL, "this is no JSON: %s (at character %d)", problem.text,
				  problem.position);
		return object;
	}
	object = json_object();
	copy = rest = strdup(text);
	if (!object || !copy) {
		error_set_errno(error, ENOMEM, "an option");
		goto fail;
	}
	while (rest && *rest) {
		if (put_item(object, comma_item_take(&rest), first, properties, is_nested, error) < 0)
			goto fail;
		first = NULL;
	}
	free(copy);
	return object;

fail:
	free(copy);
	json_decref(object);
	return NULL;
}

static bool bool_from_text(const char *text, bool *value)
{
	static const char *const on[] = {"on", "yes", "true", "y"}, *const off[] = {"off", "no", "false", "n"};
	unsigned i;

	for (i = 0; i < 4; i++)
		if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
			*value = strcmp(text, on[i]) == 0;
			return true;
		}
	return false;
}

int size_from_text(const char *text, uint64_t unit, uint64_t *value)
{
	static const char suffixes[] = "BKMGTPE";
	const char *suffix;
	unsigned shift;
	double number;
	uint64_t whole;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 0);
	if (errno)
		return -EINVAL;
	number = *end == '.' ? strtod(text, &end) : 0;
	if (*end) {
		suffix = strchr(suffixes, *end & ~0x20);
		/* A space is no suffix, nor is the end of them. */
		if (!suffix || !*suffix || end[1])
			return -EINVAL;
		shift = 10 * (suffix - suffixes);
		unit = 1ull << shift;
	}
	if (number) {
		if (number * unit >= 0x1p63)
			return -EINVAL;
		*value = number * unit;
		return 0;
	}
	return __builtin_mul_overflow(whole, unit, value) ? -EINVAL : 0;
}

const char *keyval_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int read_bool(const json_t *object, const char *key, bool *value, struct error *error)
{
	const json_t *given = json_object_get(object, key);

	if (!given)
		return 0;
	if (json_is_boolean(given))
		*value = json_is_true(given);
	else if (!json_is_string(given) || !bool_from_text(json_string_value(given), value))
		return error_set(error, EINVAL, "'%.60s' is neither: use %s=on or %s=off",
				 json_is_string(given) ? json_string_value(given) : "it", key, key);
	return 0;
}

int keyval_size(const json_t *object, const char *key, uint64_t unit, uint64_t *value,
		struct error *error)
{
	const json_t *given = json_object_get(object, key);

	if (!given)
		return 0;
	if (json_is_integer(given) && json_integer_value(given) >= 0)
		*value = json_integer_value(given);
	else if (!json_is_string(given) ||
		 size_from_text(json_string_value(given), unit, value) < 0)
		return error_set(error, EINVAL, "%s=%.60s: use a number, as 512M or 4G", key,
				 json_is_string(given) ? json_string_value(given) : "");
	return 0;
}

int keyval_number(const json_t *object, const char *key, uint64_t limit, uint64_t *value,
		  struct error *error)
{
	const json_t *given = json_object_get(object, key);
	const char *text = json_string_value(given);
	uint64_t number;
	char *end;

	if (!given)
		return 0;
	errno = 0;
	number = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 0) : UINT64_MAX;
	if (json_is_integer(given) && json_integer_value(given) >= 0)
		number = json_integer_value(given);
	else if (number == UINT64_MAX || errno || *end)
		return error_set(error, EINVAL, "%s=%.60s: use a number", key, text ? text : "");
	if (number > limit)
		return error_set(error, EINVAL, "%s=%llu: use 0 to %llu", key,
				 (unsigned long long)number, (unsigned long long)limit);
	*value = number;
	return 0;
}

static bool is_among(const char *word, const char *words)
{
	size_t length = strlen(word);

	while (*words) {
		size_t part = strcspn(words, " ");

		if (part == length && strncmp(word, words, part) == 0)
			return true;
		words += part + (words[part] == ' ');
	}
	return false;
}

static int check_value(const struct property *property, json_t *object, struct error *error)
{
	json_t *value = json_object_get(object, property->name);
	const char *text = json_string_value(value);
	uint64_t number;
	bool is_on = false;
	int result = 0;

	if (property->type == PROPERTY_BOOL) {
		result = read_bool(object, property->name, &is_on, error);
		if (result == 0)
			json_object_set_new(object, property->name, json_boolean(is_on));
		text = is_on ? "on" : "off";
	} else if (property->type == PROPERTY_NUMBER) {
		result = keyval_number(object, property->name, UINT64_MAX, &number, error);
	} else if (property->type == PROPERTY_SIZE) {
		result = keyval_size(object, property->name, 1, &number, error);
	} else if (!text && !property->is_list && !json_is_null(value)) {
		result = error_set(error, EINVAL, "%s must be a text", property->name);
	}
	if (result == 0 && property->only && text && !is_among(text, property->only))
		return error_set(error, EINVAL, "%s=%.60s is not there: use %s", property->name, text,
				 *property->only ? property->only : "none");
	return result;
}

static int unknown(const struct property *properties, const char *key, struct error *error)
{
	char names[300] = "";
	size_t used = 0;

	for (; properties->name && used < sizeof(names) - 40; properties++)
		used += snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
				 properties->name);
	return error_set(error, EINVAL, "there is no '%.60s': use %s%s", key, names,
			 properties->name ? ", ..." : "");
}

/* Objects in the object, as JSON has them, become the keys with dots that texts have, where those are known. */
static void flatten(json_t *object, const struct property *properties)
{
	const char *key, *inner;
	json_t *value, *part;
	char name[128];
	void *next;

	json_object_foreach_safe(object, next, key, value) {
		if (!json_is_object(value) || find(properties, key))
			continue;
		json_incref(value);
		snprintf(name, sizeof(name), "%s", key);
		json_object_del(object, name);
		key = name;
		json_object_foreach(value, inner, part) {
			char joined[128];

			snprintf(joined, sizeof(joined), "%.60s.%.60s", key, inner);
			json_object_set(object, joined, part);
		}
		json_decref(value);
	}
}

const char *property_type_name(const struct property *property)
{
	static const char *const names[] = {
		[PROPERTY_TEXT] = "str",
		[PROPERTY_BOOL] = "bool",
		[PROPERTY_NUMBER] = "uint32",
		[PROPERTY_SIZE] = "size",
	};

	return names[property->type];
}

int keyval_check(json_t *object, const struct property *properties, struct error *error)
{
	const struct property *property;
	const char *key;
	json_t *value;
	void *next;
	int result;

	if (!json_is_object(object))
		return error_set(error, EINVAL, "this is no JSON object");
	flatten(object, properties);
	json_object_foreach_safe(object, next, key, value) {
		property = find(properties, key);
		if (!property)
			return unknown(properties, key, error);
		if (strcmp(property->name, key) != 0) {
			json_object_set(object, property->name, value);
			json_object_del(object, key);
		}
		result = check_value(property, object, error);
		if (result < 0)
			return result;
	}
	return 0;
}
