#include "cli/qemu/drive_node.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/exports.h"
#include "cli/qemu/keyval.h"

/* What may be said of a node, by its driver. */
static const struct property file_properties[] = {
	{"driver", PROPERTY_TEXT},
	{"node-name", PROPERTY_TEXT},
	{"filename", PROPERTY_TEXT},
	{"aio", PROPERTY_TEXT, "threads native io_uring"},
	{"locking", PROPERTY_TEXT, "on off auto"},
	{"read-only", PROPERTY_BOOL},
	{"auto-read-only", PROPERTY_BOOL},
	{"discard", PROPERTY_TEXT, "ignore unmap"},
	{"detect-zeroes", PROPERTY_TEXT, "off on unmap"},
	{"force-share", PROPERTY_BOOL, "off"},
	{"cache", PROPERTY_TEXT, NULL, true},
	{NULL},
};

static const struct property format_properties[] = {
	{"driver", PROPERTY_TEXT},
	{"node-name", PROPERTY_TEXT},
	{"file", PROPERTY_TEXT, NULL, true},
	{"backing", PROPERTY_TEXT, NULL, true},
	{"read-only", PROPERTY_BOOL},
	{"auto-read-only", PROPERTY_BOOL},
	{"discard", PROPERTY_TEXT, "ignore unmap"},
	{"detect-zeroes", PROPERTY_TEXT, "off on unmap"},
	{"force-share", PROPERTY_BOOL, "off"},
	{"cache", PROPERTY_TEXT, NULL, true},
	{"lazy-refcounts", PROPERTY_BOOL},
	{"l2-cache-size", PROPERTY_SIZE},
	{"cache-size", PROPERTY_SIZE},
	{"discard-no-unref", PROPERTY_BOOL, "off"},
	{NULL},
};

/* A filter: it stands on a format, or on a file. */
static const struct property copy_on_read_properties[] = {
	{"driver", PROPERTY_TEXT},
	{"node-name", PROPERTY_TEXT},
	{"file", PROPERTY_TEXT, NULL, true},
	{"read-only", PROPERTY_BOOL},
	{"auto-read-only", PROPERTY_BOOL},
	{"discard", PROPERTY_TEXT, "ignore unmap"},
	{"detect-zeroes", PROPERTY_TEXT, "off on unmap"},
	{"force-share", PROPERTY_BOOL, "off"},
	{"cache", PROPERTY_TEXT, NULL, true},
	{NULL},
};

static const struct property cache_properties[] = {
	{"direct", PROPERTY_BOOL}, {"no-flush", PROPERTY_BOOL}, {NULL}};

const char *const drive_node_references[] = {"file", "backing"};

bool drive_node_is_file(const char *driver)
{
	return strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0 || strcmp(driver, "nbd") == 0;
}

static bool is_format_driver(const char *driver)
{
	static const char *const names[] = {"raw", "qcow2", "vdi", "vmdk", "vhdx"};
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(driver, names[i]) == 0)
			return true;
	return false;
}

bool drive_node_is_filter(const json_t *node)
{
	const char *driver = keyval_text(node, "driver");

	return driver && strcmp(driver, "copy-on-read") == 0;
}

int drive_node_check(json_t *node, struct error *error)
{
	const char *driver = keyval_text(node, "driver");
	json_t *inner = json_object_get(node, "file"), *cache = json_object_get(node, "cache");
	bool is_file;
	int result;

	if (!driver)
		return error_set(error, EINVAL, "which driver? as driver=qcow2");
	is_file = drive_node_is_file(driver);
	if (!is_file && !is_format_driver(driver) && !drive_node_is_filter(node))
		return error_set(error, ENOTSUP,
				 "the driver '%.60s' is not there: use file, host_device, nbd, raw, qcow2, copy-on-read, or vdi, "
				 "vmdk or vhdx to read",
				 driver);
	if (export_is_node(node))
		result = export_check(node, error);
	else
		result = keyval_check(node, is_file ? file_properties : drive_node_is_filter(node) ? copy_on_read_properties : format_properties,
				      error);
	if (result == 0 && cache)
		result = keyval_check(cache, cache_properties, error);
	if (result < 0)
		return result;
	if (is_file)
		return keyval_text(node, "filename") ? 0 : error_set(error, EINVAL, "filename=FILE is needed");
	if (json_is_object(inner))
		return drive_node_check(inner, error);
	return json_is_string(inner) ? 0 : error_set(error, EINVAL, "file=NODE is needed");
}
