#include "cli/qemu/drive_name.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cli/qemu/keyval.h"

#define JSON "json:"

/* QEMU's, as "http:...", and none of kvik's. */
static const char *const missing[] = {"http", "https", "ftp", "ftps", "ssh", "sftp", "iscsi", "iser", "rbd", "gluster",
				      "gluster+tcp", "sheepdog", "nfs", "nvme", "vxhs", "blkdebug", "blkverify"};

static int check_protocol(const char *name, struct error *error)
{
	size_t length = strcspn(name, ":/"), i;

	for (i = 0; name[length] == ':' && i < sizeof(missing) / sizeof(missing[0]); i++)
		if (strlen(missing[i]) == length && strncmp(missing[i], name, length) == 0)
			return error_set(error, ENOTSUP,
					 "the protocol '%s' is not there: use a file, or what serves it by NBD (nbd://HOST)",
					 missing[i]);
	return 0;
}

/* The file itself: {"driver": "file", "filename": F}, or another's address, with what is in it below "file.". */
static void take_protocol(json_t *drive, json_t *file, const char *prefix)
{
	const char *key;
	json_t *value;

	json_object_foreach(file, key, value) {
		json_t *name = json_sprintf("%s%s", prefix, key);

		if (json_is_object(value)) {
			json_t *inner = json_sprintf("%s.", json_string_value(name));

			take_protocol(drive, value, json_string_value(inner));
			json_decref(inner);
		} else {
			json_object_set(drive, json_string_value(name), value);
		}
		json_decref(name);
	}
}

/* A format's node above it, if there is one. */
static int take_nodes(json_t *drive, json_t *node, struct error *error)
{
	json_t *file = json_object_get(node, "file"), *value;
	const char *key;

	if (!json_is_object(file)) {
		take_protocol(drive, node, "file.");
		return 0;
	}
	if (json_is_object(json_object_get(file, "file")))
		return error_set(error, ENOTSUP, JSON "...: one format above a file: use -blockdev for more");
	json_object_foreach(node, key, value)
		if (strcmp(key, "file") != 0)
			json_object_set(drive, strcmp(key, "driver") == 0 ? "format" : strcmp(key, "read-only") == 0 ? "readonly" : key,
					value);
	take_protocol(drive, file, "file.");
	return 0;
}

int drive_name_take(json_t *drive, struct error *error)
{
	const char *name = keyval_text(drive, "file"), *driver;
	json_error_t problem;
	json_t *node, *path;
	int result;

	if (!name || strncmp(name, JSON, strlen(JSON)) != 0)
		return name ? check_protocol(name, error) : 0;
	node = json_loads(name + strlen(JSON), JSON_REJECT_DUPLICATES, &problem);
	if (!json_is_object(node)) {
		json_decref(node);
		return error_set(error, EINVAL, JSON "...: this is no JSON object: %s (commas are written twice here)", problem.text);
	}
	json_object_del(drive, "file");
	result = take_nodes(drive, node, error);
	json_decref(node);
	driver = keyval_text(drive, "file.driver");
	path = json_object_get(drive, "file.filename");
	if (result == 0 && (!driver || strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0) && path) {
		json_object_set(drive, "file", path);
		json_object_del(drive, "file.filename");
		json_object_del(drive, "file.driver");
	}
	return result;
}

static bool is_written(const json_t *drive)
{
	const char *media = keyval_text(drive, "media"), *locking = keyval_text(drive, "file.locking");

	return !json_is_true(json_object_get(drive, "readonly")) && !json_is_true(json_object_get(drive, "snapshot")) &&
	       !(media && strcmp(media, "cdrom") == 0) && !(locking && strcmp(locking, "off") == 0);
}

int drive_names_check(const json_t *drives, struct error *error)
{
	const char *name, *other;
	const json_t *one, *two;
	size_t i, j;

	json_array_foreach((json_t *)drives, i, one) {
		name = keyval_text(one, "file");
		for (j = 0; name && j < i; j++) {
			two = json_array_get(drives, j);
			other = keyval_text(two, "file");
			if (other && strcmp(name, other) == 0 && is_written(one) && is_written(two))
				return error_set(error, EBUSY, "file=%.200s is there twice: one drive has it for itself", name);
		}
	}
	return 0;
}
