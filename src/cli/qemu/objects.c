#include "cli/qemu/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/memory_backend.h"
#include "cli/qemu/net_dump.h"
#include "util/file.h"

#define OBJECT		 {"qom-type", PROPERTY_TEXT}, {"id", PROPERTY_TEXT}
#define SECRET_BYTES_MAX (1u << 20)

static const struct property random_properties[] = {OBJECT, {"filename", PROPERTY_TEXT}, {NULL}};
static const struct property plain_properties[] = {OBJECT, {NULL}};
/* One thread serves all disks, and waits without polling. */
static const struct property iothread_properties[] = {
	OBJECT,
	{"poll-max-ns", PROPERTY_NUMBER},
	{"poll-grow", PROPERTY_NUMBER},
	{"poll-shrink", PROPERTY_NUMBER},
	{"aio-max-batch", PROPERTY_NUMBER},
	{"thread-pool-min", PROPERTY_NUMBER},
	{"thread-pool-max", PROPERTY_NUMBER},
	{NULL},
};
static const struct property secret_properties[] = {
	OBJECT,
	{"data", PROPERTY_TEXT},
	{"file", PROPERTY_TEXT},
	{"format", PROPERTY_TEXT, "raw base64"},
	{"keyid", PROPERTY_TEXT},
	{"iv", PROPERTY_TEXT},
	{NULL},
};

/* The kinds of memory have their properties where they are made. */
static const struct {
	const char *type;
	const struct property *properties;
	const char *help;
} types[] = {
	{"filter-dump", net_dump_properties, "keeps a network's frames in a file"},
	{"iothread", iothread_properties, "taken: one thread serves all disks"},
	{"memory-backend-file", NULL, "the machine's memory, in a file"},
	{"memory-backend-memfd", NULL, "memory, of the machine or for a pc-dimm"},
	{"memory-backend-ram", NULL, "the same"},
	{"rng-builtin", plain_properties, "random numbers for virtio-rng"},
	{"rng-random", random_properties, "the same, from /dev/urandom"},
	{"secret", secret_properties, "a password"},
};

#define TYPES (sizeof(types) / sizeof(types[0]))

const struct property *object_properties(const char *type)
{
	unsigned i;

	for (i = 0; i < TYPES; i++)
		if (strcmp(types[i].type, type) == 0)
			return types[i].properties ? types[i].properties : memory_backend_properties(type);
	return NULL;
}

void objects_print_help(FILE *file)
{
	unsigned i;

	fputs("List of user creatable objects:\n", file);
	for (i = 0; i < TYPES; i++)
		fprintf(file, "  %-22s %s\n", types[i].type, types[i].help);
}

const json_t *object_find(const json_t *objects, const char *type, const char *id)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)objects, i, one)
		if (strcmp(keyval_text(one, "id"), id) == 0 && strcmp(keyval_text(one, "qom-type"), type) == 0)
			return one;
	return NULL;
}

static int check_secret(const json_t *object, struct error *error)
{
	const char *data = keyval_text(object, "data"), *file = keyval_text(object, "file");

	if (!data && !file)
		return error_set(error, EINVAL, "-object secret: either file= or data= must be said");
	return data && file ? error_set(error, EINVAL, "-object secret: file= and data= exclude each other") : 0;
}

int object_check(json_t *object, struct error *error)
{
	const char *type = keyval_text(object, "qom-type"), *file;
	const struct property *properties;

	if (!type || !keyval_text(object, "id"))
		return error_set(error, EINVAL, "-object: TYPE,id=ID is needed");
	if (memory_backend_is(object))
		return memory_backend_check(object, error);
	properties = object_properties(type);
	if (!properties || net_dump_is(object))
		return error_set(error, ENOTSUP,
				 "-object %.60s: use memory-backend-ram, memory-backend-memfd, memory-backend-file, rng-random, "
				 "rng-builtin, iothread, secret, or with a network filter-dump",
				 type);
	if (keyval_check(object, properties, error) < 0) {
		error_prefix(error, "-object %.60s", type);
		return -EINVAL;
	}
	if (strcmp(type, "secret") == 0)
		return check_secret(object, error);
	file = strcmp(type, "rng-random") == 0 ? keyval_text(object, "filename") : NULL;
	if (file && strcmp(file, "/dev/urandom") != 0 && strcmp(file, "/dev/random") != 0)
		return error_set(error, ENOTSUP, "-object rng-random,filename=%.60s: use /dev/urandom", file);
	return 0;
}

int object_check_file(const json_t *object, struct error *error)
{
	const char *file = keyval_text(object, "file");
	uint8_t *bytes;
	size_t size;

	if (strcmp(keyval_text(object, "qom-type"), "secret") != 0 || !file)
		return 0;
	if (file_read(file, "secret", SECRET_BYTES_MAX, &bytes, &size, error) < 0) {
		error_prefix(error, "-object secret");
		return -EINVAL;
	}
	explicit_bzero(bytes, size);
	free(bytes);
	return 0;
}
