#include "cli/qemu/door_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/chardev_backend.h"
#include "cli/qemu/exports.h"
#include "monitor/hmp_words.h"

/* Commands, the argument that names something, and what. Migrations from or to a descriptor name none. */
static const struct {
	const char *command, *argument;
	enum monitor_file kind;
	unsigned words; /* of a line, that come before it */
} commands[] = {
	{"screendump", "filename", MONITOR_FILE_WRITE},
	{"migrate", "uri", MONITOR_URI_OUT},
	{"migrate-incoming", "uri", MONITOR_URI_IN},
	{"getfd", "fdname", MONITOR_FILE_PASSED},
	{"blockdev-change-medium", "filename", MONITOR_FILE_READ},
	/* A line's, some: */
	{"change", "filename", MONITOR_FILE_READ, 1},
	{"snapshot_blkdev", "snapshot-file", MONITOR_FILE_MAKE, 1},
	{"memsave", "filename", MONITOR_FILE_WRITE, 2},
	{"pmemsave", "filename", MONITOR_FILE_WRITE, 2},
	{"dump-guest-memory", "protocol", MONITOR_FILE_WRITE},
	{"nbd_server_start", "uri", MONITOR_URI_IN},
};
/* Of a dump: "file:PATH". */
#define PROTOCOL "file:"
/* What add-fd's descriptor is called on its way, which has no name. */
#define ADDED "/dev/fdset/"

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static bool fill(struct door_request *request, enum monitor_file kind, const char *name)
{
	if (!name || strlen(name) >= sizeof(request->name) || strncmp(name, "fd:", 3) == 0)
		return false;
	*request = (struct door_request){.kind = kind};
	strcpy(request->name, name);
	return true;
}

/* HOST:PORT and unix:PATH, as a line says them. */
static bool fill_address(struct door_request *request, const char *word)
{
	char uri[PATH_MAX];

	if (snprintf(uri, sizeof(uri), "%s%s", strncmp(word, "unix:", 5) == 0 ? "" : "tcp:", word) >= (int)sizeof(uri))
		return false;
	return fill(request, MONITOR_URI_IN, uri);
}

/* chardev-add's arguments, or chardev-change's. */
static bool fill_console(struct door_request *request, const json_t *arguments)
{
	struct error unseen;
	json_t *options = chardev_backend_options(arguments, &unseen);
	enum monitor_file kind;
	char name[PATH_MAX];
	bool is_found = options && chardev_backend_names(options, &kind, name, sizeof(name)) && fill(request, kind, name);

	json_decref(options);
	return is_found;
}

/* ... as a person says them, behind the command. */
static bool fill_console_of_line(struct door_request *request, const char *command, char *rest)
{
	json_t *arguments = NULL;
	bool is_found;

	if (strcmp(command, "chardev-add") == 0 || (strcmp(command, "chardev-change") == 0 && hmp_word(&rest)))
		arguments = json_pack("{s:s}", "line", hmp_rest(rest));
	is_found = arguments && fill_console(request, arguments);
	json_decref(arguments);
	return is_found;
}

bool door_request_of_line(const char *line, struct door_request *request)
{
	char *copy = hmp_find_bad_quotes(line) ? NULL : strdup(line), *rest = copy, *word = copy ? hmp_word(&rest) : NULL;
	bool is_found = false, is_server = word && strncmp(word, "nbd", 3) == 0;
	unsigned i, before = 0;

	if (word && strncmp(word, "chardev-", 8) == 0) {
		is_found = fill_console_of_line(request, word, rest);
		free(copy);
		return is_found;
	}
	for (i = 0; word && i < COMMANDS; i++)
		if (strcmp(word, commands[i].command) == 0 ||
		    (commands[i].kind == MONITOR_URI_IN && strcmp(word, "migrate_incoming") == 0))
			break;
	/* A command of exec: is the rest of the line. */
	while (word && i < COMMANDS) {
		rest += strspn(rest, " \t");
		word = strncmp(rest, "exec:", 5) == 0 ? hmp_rest(rest) : hmp_word(&rest);
		if (!word)
			break;
		/* Of a picture: its format follows. */
		if (strcmp(word, "-f") == 0 && commands[i].kind == MONITOR_FILE_WRITE) {
			hmp_word(&rest);
		} else if (*word != '-' && before++ == commands[i].words) {
			is_found = is_server ? fill_address(request, word) : fill(request, commands[i].kind, word);
			break;
		}
	}
	free(copy);
	return is_found;
}

bool door_request_of_node(const json_t *node, struct door_request *request)
{
	const json_t *file = json_object_get(node, "file");
	bool is_readonly = json_is_true(json_object_get(node, "read-only")), is_found;
	const char *name;
	char *export_name;

	/* Below a filter there is a format, and below that a file. */
	for (; json_is_object(file); file = json_object_get(node, "file")) {
		node = file;
		is_readonly = is_readonly || json_is_true(json_object_get(node, "read-only"));
	}
	file = node;
	if (export_is_node(file)) {
		export_name = export_filename(file, NULL);
		is_found = export_name && fill(request, MONITOR_FILE_CHANGE, export_name);
		free(export_name);
		return is_found;
	}
	name = json_string_value(json_object_get(file, "filename"));
	return name && fill(request, is_readonly ? MONITOR_FILE_READ : MONITOR_FILE_CHANGE, name);
}

bool door_request_of_descriptor(struct door_request *request)
{
	return fill(request, MONITOR_FILE_PASSED, ADDED);
}

bool door_request_of_network(const json_t *options, struct door_request *request)
{
	char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS);
	bool is_filled = fill(request, MONITOR_NETWORK, text);

	free(text);
	return is_filled;
}

/* Of an image that is made, or is there. */
static bool fill_image(struct door_request *request, const json_t *arguments, const char *key)
{
	const char *mode = json_string_value(json_object_get(arguments, "mode"));

	return fill(request, mode && strcmp(mode, "existing") == 0 ? MONITOR_FILE_CHANGE : MONITOR_FILE_MAKE,
		    json_string_value(json_object_get(arguments, key)));
}

bool door_request_of_snapshot(const json_t *arguments, struct door_request *request)
{
	return fill_image(request, arguments, "snapshot-file");
}

bool door_request_of_backup(const json_t *arguments, struct door_request *request)
{
	return fill_image(request, arguments, "target");
}

bool door_request_of_server(const json_t *arguments, struct door_request *request)
{
	const json_t *address = json_object_get(arguments, "addr"), *data = json_object_get(address, "data");
	const char *type = json_string_value(json_object_get(address, "type"));
	const char *path = json_string_value(json_object_get(data, "path"));
	const char *host = json_string_value(json_object_get(data, "host"));
	const char *port = json_string_value(json_object_get(data, "port"));
	char uri[PATH_MAX];
	int length = -1;

	if (type && strcmp(type, "unix") == 0 && path)
		length = snprintf(uri, sizeof(uri), "unix:%s", path);
	else if (type && strcmp(type, "inet") == 0 && host && port)
		length = snprintf(uri, sizeof(uri), "tcp:%s:%s", host, port);
	return length >= 0 && length < (int)sizeof(uri) && fill(request, MONITOR_URI_IN, uri);
}

bool door_request_of_command(const json_t *command, struct door_request *request)
{
	const char *name = json_string_value(json_object_get(command, "execute")), *value;
	const json_t *arguments = json_object_get(command, "arguments");
	unsigned i;

	if (!name)
		return false;
	if (strcmp(name, "human-monitor-command") == 0) {
		value = json_string_value(json_object_get(arguments, "command-line"));
		return value && door_request_of_line(value, request);
	}
	if (strcmp(name, "add-fd") == 0)
		return door_request_of_descriptor(request);
	if (strcmp(name, "blockdev-add") == 0)
		return door_request_of_node(arguments, request);
	if (strcmp(name, "blockdev-create") == 0)
		return fill(request, MONITOR_FILE_MAKE,
			    json_string_value(json_object_get(json_object_get(arguments, "options"), "filename")));
	if (strcmp(name, "nbd-server-start") == 0)
		return door_request_of_server(arguments, request);
	if (strcmp(name, "chardev-add") == 0 || strcmp(name, "chardev-change") == 0)
		return fill_console(request, arguments);
	if (strcmp(name, "netdev_add") == 0)
		return door_request_of_network(arguments, request);
	if (strcmp(name, "blockdev-snapshot-sync") == 0)
		return door_request_of_snapshot(arguments, request);
	if (strcmp(name, "drive-backup") == 0 || strcmp(name, "drive-mirror") == 0)
		return fill_image(request, arguments, "target");
	for (i = 0; i < COMMANDS; i++)
		if (strcmp(name, commands[i].command) == 0)
			break;
	if (i == COMMANDS)
		return false;
	value = json_string_value(json_object_get(arguments, commands[i].argument));
	if (value && strcmp(commands[i].argument, "protocol") == 0 && strncmp(value, PROTOCOL, strlen(PROTOCOL)) == 0)
		value += strlen(PROTOCOL);
	return fill(request, commands[i].kind, value);
}
