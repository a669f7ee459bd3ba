#include "cli/qemu/chardev_backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "cli/qemu/options.h"

/* Members that are the same here and there. */
static void copy(json_t *options, const json_t *from, const char *key, const char *as)
{
	json_t *value = json_object_get(from, key);

	if (value)
		json_object_set(options, as, value);
}

static void copy_socket(json_t *options, const json_t *data)
{
	const json_t *address = json_object_get(data, "addr"), *where = json_object_get(address, "data");
	static const char *const same[] = {"wait", "nodelay", "reconnect"};
	unsigned i;

	/* A server, unless it is said to be none: the other way round than -chardev's. */
	json_object_set_new(options, "server", json_true());
	copy(options, data, "server", "server");
	for (i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		copy(options, data, same[i], same[i]);
	copy(options, where, "path", "path");
	copy(options, where, "host", "host");
	copy(options, where, "port", "port");
}

static json_t *of_program(const json_t *backend)
{
	const json_t *data = json_object_get(backend, "data");
	json_t *options = json_object();

	copy(options, backend, "type", "backend");
	if (strcmp(keyval_text(backend, "type"), "socket") == 0)
		copy_socket(options, data);
	copy(options, data, "out", "path");
	copy(options, data, "append", "append");
	copy(options, data, "device", "path");
	copy(options, data, "size", "size");
	return options;
}

/* A server's that does not say so waits for nobody: the machine goes on meanwhile. */
static json_t *of_person(const char *words, struct error *error)
{
	json_t *options = options_parse_chardev(words, error);

	if (options && json_is_true(json_object_get(options, "server")) && !json_object_get(options, "wait"))
		json_object_set_new(options, "wait", json_false());
	return options;
}

json_t *chardev_backend_options(const json_t *arguments, struct error *error)
{
	const char *words = keyval_text(arguments, "line"), *id = keyval_text(arguments, "id"), *backend;
	json_t *options = words ? of_person(words, error) : of_program(json_object_get(arguments, "backend"));

	if (!options)
		return NULL;
	backend = keyval_text(options, "backend");
	if (id)
		json_object_set_new(options, "id", json_string(id));
	if (json_is_true(json_object_get(options, "wait")))
		error_set(error, ENOTSUP, "the machine does not stand still for a peer: use wait=off");
	else if (json_is_true(json_object_get(options, "mux")))
		error_set(error, ENOTSUP, "mux=on is of the command line's alone");
	else if (json_object_get(options, "logfile"))
		error_set(error, ENOTSUP, "logfile= is of the command line's alone");
	else if (backend && strcmp(backend, "stdio") == 0)
		error_set(error, ENOTSUP, "stdio is the command line's alone");
	else
		return options;
	json_decref(options);
	return NULL;
}

/* tcp:HOST:PORT, unix:PATH. False: neither is said. */
static bool print_address(const json_t *options, char *text, size_t size)
{
	const char *path = keyval_text(options, "path"), *host = keyval_text(options, "host");
	const char *port = keyval_text(options, "port");
	int length = -1;

	if (path)
		length = snprintf(text, size, "unix:%s", path);
	else if (port)
		length = snprintf(text, size, "tcp:%s:%s", host ? host : "", port);
	return length >= 0 && length < (int)size;
}

bool chardev_backend_names(const json_t *options, enum monitor_file *kind, char *name, size_t size)
{
	const char *backend = keyval_text(options, "backend"), *path = keyval_text(options, "path");
	bool is_server = json_is_true(json_object_get(options, "server"));
	uint64_t delay_s = 0;
	int length;

	if (!backend || keyval_number(options, "reconnect", UINT32_MAX, &delay_s, NULL) < 0)
		return false;
	if (strcmp(backend, "file") == 0 && path) {
		*kind = json_is_true(json_object_get(options, "append")) ? MONITOR_FILE_APPEND : MONITOR_FILE_WRITE;
		return snprintf(name, size, "%s", path) < (int)size;
	}
	if (strcmp(backend, "socket") != 0 || keyval_text(options, "fd"))
		return false;
	*kind = is_server ? MONITOR_URI_IN : delay_s ? MONITOR_DIALER : MONITOR_URI_OUT;
	length = *kind == MONITOR_DIALER ? snprintf(name, size, "%u ", (unsigned)delay_s) : 0;
	return print_address(options, name + length, size - length);
}
