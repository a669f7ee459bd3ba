#include "cli/image_name.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define NAMES_MAX 64

/* Names that were made of others; they are not many, and go with the program. */
static char *made[NAMES_MAX];
static unsigned made_count;

static const char *keep(char *name)
{
	if (name && made_count < NAMES_MAX)
		return made[made_count++] = name;
	free(name);
	return NULL;
}

struct words {
	const char *driver, *protocol, *filename; /* the format's, the file's */
	const char *host, *port, *socket, *export; /* of an NBD server */
};

/* A word of a node, by its name from the format's node on. -ENOENT: nobody knows it. */
static int take_word(struct words *words, const char *name, const char *value)
{
	static const char *const ignored[] = {"read-only", "auto-read-only", "force-share", "discard", "detect-zeroes", "node-name",
					      "cache.direct", "cache.no-flush", "file.read-only", "file.auto-read-only",
					      "file.locking", "file.node-name", "file.aio", "file.discard", "file.cache.direct",
					      "file.cache.no-flush", "locking", "aio"};
	static const struct {
		const char *name;
		size_t at;
	} known[] = {
		{"driver", offsetof(struct words, driver)},
		{"file.driver", offsetof(struct words, protocol)},
		{"filename", offsetof(struct words, filename)},
		{"file.filename", offsetof(struct words, filename)},
		{"host", offsetof(struct words, host)},
		{"server.host", offsetof(struct words, host)},
		{"port", offsetof(struct words, port)},
		{"server.port", offsetof(struct words, port)},
		{"path", offsetof(struct words, socket)},
		{"server.path", offsetof(struct words, socket)},
		{"export", offsetof(struct words, export)},
	};
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, known[i].name) == 0 ||
		    (strncmp(name, "file.", 5) == 0 && strcmp(name + 5, known[i].name) == 0)) {
			*(const char **)((char *)words + known[i].at) = value;
			return 0;
		}
	if (strcmp(name, "server.type") == 0 || strcmp(name, "file.server.type") == 0)
		return 0;
	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (strcmp(name, ignored[i]) == 0)
			return 0;
	return -ENOENT;
}

static int wrong_word(const char *text, const char *name, struct error *error)
{
	return error_set(error, EINVAL, "%.200s: '%s' is not known here: driver, file.driver, file.filename and file.server.* are",
			 text, name);
}

static bool is_format(const char *driver)
{
	static const char *const formats[] = {"raw", "qcow2", "vdi", "vmdk", "vhdx", "qcow", "qed", "vpc", "luks", "parallels"};
	unsigned i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(driver, formats[i]) == 0)
			return true;
	return false;
}

/* The image's name in one word. */
static int join(const char *text, struct words *words, const char **path, const char **format, struct error *error)
{
	char *name = NULL;

	/* A file without a format's node on it is found out, as ever. */
	if (words->driver && is_format(words->driver)) {
		*format = words->driver;
	} else if (words->driver) {
		words->protocol = words->driver;
	}
	if (words->protocol && strcmp(words->protocol, "nbd") == 0) {
		if (words->socket ? asprintf(&name, "nbd:unix:%s:exportname=%s", words->socket, words->export ? words->export : "") < 0
				  : asprintf(&name, "nbd:%s:%s:exportname=%s", words->host ? words->host : "localhost",
					     words->port ? words->port : "10809", words->export ? words->export : "") < 0)
			name = NULL;
	} else if (words->protocol && strcmp(words->protocol, "file") != 0 && strcmp(words->protocol, "host_device") != 0) {
		return error_set(error, ENOTSUP, "%.200s: driver '%s' is not there: file, host_device and nbd are, and formats on them",
				 text, words->protocol);
	} else if (!words->filename) {
		return error_set(error, EINVAL, "%.200s: no file is named: file.filename=", text);
	} else if (strncmp(words->filename, "json:", 5) == 0) {
		return error_set(error, EINVAL, "%.200s: a file's name is a path", text);
	} else {
		name = strdup(words->filename);
	}
	*path = keep(name);
	return *path ? 0 : error_set_errno(error, ENOMEM, "%.200s", text);
}

static int take_object(const char *text, const json_t *object, const char *prefix, struct words *words, struct error *error)
{
	const char *name;
	json_t *value;
	char full[128];
	int result;

	json_object_foreach((json_t *)object, name, value) {
		snprintf(full, sizeof(full), "%s%s", prefix, name);
		if (json_is_object(value)) {
			snprintf(full, sizeof(full), "%s%s.", prefix, name);
			result = strlen(full) > 40 ? wrong_word(text, name, error) : take_object(text, value, full, words, error);
		} else {
			char *word = json_is_string(value) ? strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);

			result = word ? take_word(words, full, keep(word)) : -ENOMEM;
			if (result < 0)
				result = wrong_word(text, full, error);
		}
		if (result < 0)
			return result;
	}
	return 0;
}

static int parse_json(const char *text, const char **path, const char **format, struct error *error)
{
	struct words words = {NULL};
	json_error_t where;
	json_t *object = json_loads(text + 5, 0, &where);
	int result;

	if (!json_is_object(object)) {
		json_decref(object);
		return error_set(error, EINVAL, "%.200s: that is no JSON object", text);
	}
	result = take_object(text, object, "", &words, error);
	json_decref(object);
	return result < 0 ? result : join(text, &words, path, format, error);
}

/* NAME=VALUE after a comma; two of them stand for one. */
static int parse_options(const char *text, const char **path, const char **format, struct error *error)
{
	struct words words = {NULL};
	const char *list = keep(strdup(text));
	char *from = (char *)list, *to, *name, *value;
	int result;

	while (from && *from) {
		for (name = to = from; *from && (*from != ',' || from[1] == ','); *to++ = *from++)
			from += *from == ',';
		from += *from == ',';
		*to = 0;
		value = strchr(name, '=');
		if (!value)
			return error_set(error, EINVAL, "%.200s: '%s' has no value", text, name);
		*value++ = 0;
		result = take_word(&words, name, value);
		if (result < 0)
			return wrong_word(text, name, error);
	}
	return list ? join(text, &words, path, format, error) : error_set_errno(error, ENOMEM, "%.200s", text);
}

int image_name_parse(const char *name, bool are_options, const char **path, const char **format, struct error *error)
{
	if (are_options)
		return parse_options(name, path, format, error);
	if (strncmp(name, "json:", 5) == 0)
		return parse_json(name, path, format, error);
	*path = strncmp(name, "file:", 5) == 0 ? name + 5 : name;
	return 0;
}

int image_name_block(const char *name, const struct image_names *names, const char **path, struct block_options *options,
		     struct error *error)
{
	const char *format = NULL;
	int result = image_name_parse(name, names->are_options, path, &format, error);

	if (result < 0)
		return result;
	if (format && options->format && strcmp(format, options->format) != 0)
		return error_set(error, EINVAL, "%.200s: its format is %s, and not %s", name, format, options->format);
	if (format)
		options->format = format;
	return 0;
}

int image_open_named(const char *name, const struct image_names *names, const struct block_options *options, unsigned flags,
		     struct node **image, struct error *error)
{
	struct block_options open = *options;
	const char *path;
	int result = image_name_block(name, names, &path, &open, error);

	if (result < 0)
		return result;
	return image_open(path, &open, flags | names->flags, image, error);
}
