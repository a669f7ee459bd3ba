#include "cli/qemu/new_image.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/image.h"
#include "cli/image.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"

static const struct property file_properties[] = {
	{"driver", PROPERTY_TEXT},
	{"filename", PROPERTY_TEXT},
	{"size", PROPERTY_NUMBER},
	{"preallocation", PROPERTY_TEXT, "off falloc full"},
	{"nocow", PROPERTY_BOOL, "off"},
	{NULL},
};
static const struct property qcow2_properties[] = {
	{"driver", PROPERTY_TEXT},
	{"file", PROPERTY_TEXT},
	{"size", PROPERTY_NUMBER},
	{"version", PROPERTY_TEXT, "v2 v3"},
	{"backing-file", PROPERTY_TEXT},
	{"backing-fmt", PROPERTY_TEXT},
	{"cluster-size", PROPERTY_NUMBER},
	{"preallocation", PROPERTY_TEXT, "off metadata falloc full"},
	{"lazy-refcounts", PROPERTY_BOOL},
	{"refcount-bits", PROPERTY_NUMBER},
	{"extended-l2", PROPERTY_BOOL},
	{"compression-type", PROPERTY_TEXT, "zlib zstd"},
	{NULL},
};

static int take_common(const json_t *options, struct image_creation *creation, struct error *error)
{
	const char *preallocation = keyval_text(options, "preallocation");

	if (preallocation && image_preallocation_parse(preallocation, &creation->preallocation) < 0)
		return error_set(error, EINVAL, "preallocation=%.60s is none", preallocation);
	if (!json_object_get(options, "size"))
		return error_set(error, EINVAL, "Parameter 'size' is missing");
	if (keyval_number(options, "size", INT64_MAX, &creation->size, error) < 0)
		return -EINVAL;
	return creation->size % BLOCK_SECTOR_SIZE ? error_set(error, EINVAL, "size is a multiple of %d", BLOCK_SECTOR_SIZE) : 0;
}

/* A file, which nodes can be made of. */
static int make_file(struct hotplug *hotplug, json_t *options, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	struct image_creation creation;
	const char *path;
	int fd, result;

	image_creation_init(&creation, "raw");
	result = keyval_check(options, file_properties, error);
	path = keyval_text(options, "filename");
	if (result == 0 && !path)
		result = error_set(error, EINVAL, "Parameter 'filename' is missing");
	if (result == 0)
		result = take_common(options, &creation, error);
	if (result < 0)
		return result;
	fd = facts->open_file(facts->file_context, MONITOR_FILE_MAKE, path, error);
	if (fd < 0)
		return fd;
	result = image_create_in(path, fd, &creation, error);
	close(fd);
	return result;
}

static int take_numbers(const json_t *options, struct image_creation *creation, struct error *error)
{
	uint64_t bits = creation->refcount_bits;

	if (keyval_number(options, "cluster-size", UINT32_MAX, &creation->cluster_size, error) < 0 ||
	    keyval_number(options, "refcount-bits", 64, &bits, error) < 0)
		return -EINVAL;
	creation->refcount_bits = bits;
	return 0;
}

/* A qcow2 image in a node's file, which nothing uses. */
static int make_qcow2(struct hotplug *hotplug, json_t *options, struct error *error)
{
	struct drives *drives = &hotplug->line->drives;
	const char *path, *format, *version, *compression;
	struct image_creation creation;
	struct drive *node;
	int fd, result = keyval_check(options, qcow2_properties, error);

	if (result < 0)
		return result;
	if (!keyval_text(options, "file"))
		return error_set(error, EINVAL, "file=NODE is needed");
	image_creation_init(&creation, "qcow2");
	version = keyval_text(options, "version");
	compression = keyval_text(options, "compression-type");
	creation.version = version && strcmp(version, "v2") == 0 ? 2 : creation.version;
	creation.compression = compression ? compression : creation.compression;
	creation.backing = keyval_text(options, "backing-file");
	creation.backing_format = keyval_text(options, "backing-fmt");
	creation.is_lazy = json_is_true(json_object_get(options, "lazy-refcounts"));
	creation.is_extended = json_is_true(json_object_get(options, "extended-l2"));
	result = take_common(options, &creation, error);
	if (result == 0)
		result = take_numbers(options, &creation, error);
	if (result < 0)
		return result;
	node = drives_find(drives, keyval_text(options, "file"));
	if (!node || !node->is_node)
		return error_set(error, ENOENT, "Cannot find device='' nor node-name='%.60s'", keyval_text(options, "file"));
	if (node->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is in use", node->name);
	result = drive_locate(drives, node, &path, &fd, &format, error);
	if (result == 0 && strcmp(format, "raw") != 0)
		result = error_set(error, EINVAL, "Node '%.60s' is no file", node->name);
	return result < 0 ? result : image_create_in(path, fd, &creation, error);
}

int new_image_make(struct hotplug *hotplug, const json_t *said, struct error *error)
{
	const char *driver = keyval_text(said, "driver");
	json_t *options = json_deep_copy(said);
	int result;

	if (!options)
		return error_set_errno(error, ENOMEM, "an image");
	if (driver && strcmp(driver, "file") == 0)
		result = make_file(hotplug, options, error);
	else if (driver && strcmp(driver, "qcow2") == 0)
		result = make_qcow2(hotplug, options, error);
	else
		result = error_set(error, ENOTSUP, "the driver '%.60s' makes no images: use file or qcow2", driver ? driver : "");
	json_decref(options);
	return result;
}
