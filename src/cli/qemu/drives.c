#include "cli/qemu/drives.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/dirty.h"
#include "block/image.h"
#include "block/throttle.h"
#include "cli/image_facts.h"
#include "cli/qemu/exports.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/on_error.h"
#include "util/log.h"

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

struct drive *drives_find(struct drives *drives, const char *name)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (strcmp(drives->list[i].name, name) == 0)
			return &drives->list[i];
	return NULL;
}

struct drive *drives_find_device(struct drives *drives, const char *id)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].block && strcmp(drives->list[i].device, id) == 0)
			return &drives->list[i];
	return NULL;
}

static int add(struct drives *drives, const json_t *options, const char *name, bool is_node,
	       struct error *error)
{
	struct drive *drive = &drives->list[drives->count];

	if (drives->count == DRIVES_MAX)
		return error_set(error, ENOSPC, "at most %u disks and nodes", DRIVES_MAX);
	*drive = (struct drive){.options = options, .is_node = is_node, .is_nameless = !name};
	if (name && strlen(name) >= sizeof(drive->name))
		return error_set(error, EINVAL, "'%.20s...' is too long a name", name);
	snprintf(drive->name, sizeof(drive->name), "%s", name ? name : "");
	if (!name)
		snprintf(drive->name, sizeof(drive->name), "#drive%u", drives->count);
	if (drives_find(drives, drive->name))
		return error_set(error, EEXIST, "there are two disks of the name %s", drive->name);
	drives->count++;
	return 0;
}

const char *drive_interface(const struct drive *drive)
{
	return keyval_text(drive->options, "if");
}

static const char *drive_path(const json_t *options)
{
	const char *path = keyval_text(options, "file");

	return path ? path : keyval_text(options, "file.filename");
}

int drives_add(struct drives *drives, const json_t *options, struct error *error)
{
	const char *interface = keyval_text(options, "if"), *media = keyval_text(options, "media");
	const char *protocol = keyval_text(options, "file.driver"), *id = keyval_text(options, "id"), *path;
	bool is_cdrom = media && strcmp(media, "cdrom") == 0;

	if (protocol && strcmp(protocol, "nbd") == 0 && export_check_drive((json_t *)options, error) < 0)
		return -EINVAL;
	path = drive_path(options);
	if (strcmp(interface, "none") != 0 && strcmp(interface, "virtio") != 0 &&
	    strcmp(interface, "ide") != 0 && strcmp(interface, "scsi") != 0)
		return error_set(error, ENOTSUP,
				 "if=%.60s is not there: use ide, scsi, virtio, none or pflash", interface);
	if (is_cdrom && strcmp(interface, "virtio") == 0)
		return error_set(error, ENOTSUP, "a CD-ROM is not on virtio-blk: use if=ide or if=scsi");
	if (!path && !is_cdrom && strcmp(interface, "none") != 0)
		return error_set(error, EINVAL, "file=FILE is needed");
	return add(drives, options, id ? id : keyval_text(options, "node-name"), false, error);
}

/* What has bytes, be it on another host, and no format. */
static bool is_file_driver(const char *driver)
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

static bool is_filter(const json_t *node)
{
	const char *driver = keyval_text(node, "driver");

	return driver && strcmp(driver, "copy-on-read") == 0;
}

static int check_node(json_t *node, struct error *error)
{
	const char *driver = keyval_text(node, "driver");
	json_t *inner = json_object_get(node, "file"), *cache = json_object_get(node, "cache");
	bool is_file;
	int result;

	if (!driver)
		return error_set(error, EINVAL, "which driver? as driver=qcow2");
	is_file = is_file_driver(driver);
	if (!is_file && !is_format_driver(driver) && !is_filter(node))
		return error_set(error, ENOTSUP,
				 "the driver '%.60s' is not there: use file, host_device, nbd, raw, qcow2, copy-on-read, or vdi, "
				 "vmdk or vhdx to read",
				 driver);
	if (export_is_node(node))
		result = export_check(node, error);
	else
		result = keyval_check(node, is_file ? file_properties : is_filter(node) ? copy_on_read_properties : format_properties,
				      error);
	if (result == 0 && cache)
		result = keyval_check(cache, cache_properties, error);
	if (result < 0)
		return result;
	if (is_file)
		return keyval_text(node, "filename") ? 0 : error_set(error, EINVAL, "filename=FILE is needed");
	if (json_is_object(inner))
		return check_node(inner, error);
	return json_is_string(inner) ? 0 : error_set(error, EINVAL, "file=NODE is needed");
}

/* Where a node may name another one. */
static const char *const references[] = {"file", "backing"};

int drives_add_node(struct drives *drives, const json_t *options, struct error *error)
{
	const char *name = keyval_text(options, "node-name"), *other;
	unsigned i;

	if (!name || !*name)
		return error_set(error, EINVAL, "node-name=NAME is needed");
	if (check_node((json_t *)options, error) < 0)
		return -EINVAL;
	/* What is there already: so none leads back to itself. */
	for (i = 0; i < 2; i++) {
		other = keyval_text(options, references[i]);
		if (other && *other && !drives_find(drives, other))
			return error_set(error, ENOENT, "%s: there is no node '%.60s' yet: add it before '%.60s'", references[i], other,
					 name);
	}
	return add(drives, options, name, true, error);
}

/* -- from what was said to the image -- */

struct source {
	const char *path;
	struct block_options block;
	bool no_flush, is_direct;
	int fd_plus_1; /* of the file at `path`; the drive's */
};

static void take_aio(struct source *source, const char *aio)
{
	if (aio && strcmp(aio, "io_uring") == 0)
		source->block.aio = BLOCK_AIO_IO_URING;
	else if (aio && strcmp(aio, "threads") == 0)
		source->block.aio = BLOCK_AIO_THREADS;
}

/* The most that any of the nodes says. */
static void take_zeroes(struct source *source, const json_t *options)
{
	const char *text = keyval_text(options, "detect-zeroes");
	enum block_zeroes zeroes;

	if (text && block_zeroes_parse(text, &zeroes) == 0 && zeroes > source->block.zeroes)
		source->block.zeroes = zeroes;
}

/* What each node in the chain may say. */
static void take_common(struct source *source, const json_t *node)
{
	const json_t *cache = json_object_get(node, "cache");
	const char *discard = keyval_text(node, "discard");

	source->block.readonly |= json_is_true(json_object_get(node, "read-only"));
	source->is_direct |= json_is_true(json_object_get(cache, "direct"));
	source->no_flush |= json_is_true(json_object_get(cache, "no-flush"));
	source->block.discard |= discard && strcmp(discard, "unmap") == 0;
	take_zeroes(source, node);
}

/* The node that a member names or holds; NULL: neither. */
static const json_t *follow(struct drives *drives, const json_t *member)
{
	struct drive *drive = json_is_string(member) ? drives_find(drives, json_string_value(member)) : NULL;

	if (drive)
		drive->is_used = true;
	return json_is_object(member) ? member : drive && drive->is_node ? drive->options : NULL;
}

/* The descriptor of a file node, which is a drive's or in one. */
static int fd_of(const struct drives *drives, const json_t *file)
{
	const json_t *at;
	unsigned i;

	for (i = 0; i < drives->count; i++)
		for (at = drives->list[i].options; at; at = json_object_get(at, "file"))
			if (at == file)
				return drives->list[i].fd_plus_1;
	return 0;
}

static int find_file(struct drives *drives, struct source *source, const json_t *node, struct error *error)
{
	const json_t *member = json_object_get(node, "file"), *file;

	if (is_file_driver(keyval_text(node, "driver"))) {
		file = node;
	} else {
		file = follow(drives, member);
		if (!file)
			return error_set(error, ENOENT, "there is no -blockdev with node-name=%.60s",
					 json_string_value(member));
		if (!is_file_driver(keyval_text(file, "driver")))
			return error_set(error, ENOTSUP, "below a format there can only be a file");
		take_common(source, file);
	}
	source->path = keyval_text(file, "filename");
	source->fd_plus_1 = fd_of(drives, file);
	take_aio(source, keyval_text(file, "aio"));
	source->block.unlocked = keyval_text(file, "locking") &&
				 strcmp(keyval_text(file, "locking"), "off") == 0;
	return 0;
}

/* The name of what a node was put on; NULL: nothing. */
static const char *name_below(const struct drives *drives, const json_t *node)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].options == node && *drives->list[i].below)
			return drives->list[i].below;
	return NULL;
}

static int find_backing(struct drives *drives, struct source *source, const json_t *node,
			struct error *error)
{
	const json_t *member = json_object_get(node, "backing"), *backing;
	struct source below = {.path = NULL};
	const char *driver;
	int result;

	/* What the image says: that was put there, too. */
	if (!member || name_below(drives, node))
		return 0;
	source->block.backing = "";
	if (json_is_null(member) || (json_is_string(member) && !*json_string_value(member)))
		return 0;
	backing = follow(drives, member);
	if (!backing)
		return error_set(error, ENOENT, "there is no -blockdev for the backing file");
	if (json_object_get(backing, "backing") && !json_is_null(json_object_get(backing, "backing")))
		return error_set(error, ENOTSUP,
				 "backing= of a backing file is taken from the image: leave it out");
	result = find_file(drives, &below, backing, error);
	if (result < 0)
		return result;
	driver = keyval_text(backing, "driver");
	source->block.backing = below.path;
	source->block.backing_format = is_file_driver(driver) ? "raw" : driver;
	return 0;
}

static int find_node(struct drives *drives, struct source *source, const json_t *node, struct error *error)
{
	const char *driver = keyval_text(node, "driver");
	const json_t *below;
	unsigned filters = 0;
	int result;

	for (; is_filter(node); node = below) {
		take_common(source, node);
		source->block.copies_on_read = true;
		below = follow(drives, json_object_get(node, "file"));
		/* They may name one another. */
		if (!below || ++filters == DRIVES_MAX)
			return error_set(error, ENOENT, "there is no -blockdev with node-name=%.60s",
					 keyval_text(node, "file") ? keyval_text(node, "file") : "");
		driver = keyval_text(below, "driver");
	}
	take_common(source, node);
	source->block.format = is_file_driver(driver) ? "raw" : driver;
	result = find_file(drives, source, node, error);
	return result < 0 ? result : find_backing(drives, source, node, error);
}

static int take_cache(struct source *source, const json_t *options, struct error *error)
{
	static const struct {
		const char *name;
		bool is_direct, no_flush;
		bool is_through;
	} modes[] = {
		{"none", true, false, false},	       {"off", true, false, false},
		{"writeback", false, false, false},    {"unsafe", false, true, false},
		{"writethrough", false, false, true},  {"directsync", true, false, true},
	};
	const char *mode = keyval_text(options, "cache");
	bool is_through = false;
	unsigned i, count = sizeof(modes) / sizeof(modes[0]);

	for (i = 0; mode && i < count; i++) {
		if (strcmp(modes[i].name, mode) != 0)
			continue;
		source->is_direct = modes[i].is_direct;
		source->no_flush = modes[i].no_flush;
		is_through = modes[i].is_through;
		break;
	}
	if (mode && i == count)
		return error_set(error, EINVAL,
				 "cache=%.60s: use writeback, none, writethrough, directsync or unsafe",
				 mode);
	if (json_object_get(options, "cache.writeback"))
		is_through = json_is_false(json_object_get(options, "cache.writeback"));
	if (json_object_get(options, "cache.direct"))
		source->is_direct = json_is_true(json_object_get(options, "cache.direct"));
	if (json_object_get(options, "cache.no-flush"))
		source->no_flush = json_is_true(json_object_get(options, "cache.no-flush"));
	if (is_through)
		source->block.cache = source->is_direct ? BLOCK_CACHE_DIRECTSYNC : BLOCK_CACHE_WRITETHROUGH;
	return 0;
}

static int find_drive(struct source *source, const json_t *options, struct error *error)
{
	const char *discard = keyval_text(options, "discard"), *aio = keyval_text(options, "aio");
	const char *locking = keyval_text(options, "file.locking");

	source->path = drive_path(options);
	source->block.format = keyval_text(options, "format");
	source->block.readonly = json_is_true(json_object_get(options, "readonly"));
	source->block.snapshot = json_is_true(json_object_get(options, "snapshot"));
	source->block.serial = keyval_text(options, "serial");
	source->block.copies_on_read = json_is_true(json_object_get(options, "copy-on-read"));
	source->block.discard = discard && (strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0);
	source->block.unlocked = locking && strcmp(locking, "off") == 0;
	take_zeroes(source, options);
	take_aio(source, aio ? aio : keyval_text(options, "file.aio"));
	return take_cache(source, options, error);
}

/* An image by its path, or by a descriptor that came with the process. */
static int open_source(const struct drives *drives, const struct source *source, struct block **block,
		       struct error *error)
{
	struct block_options options;
	int result, fd;

	if (source->block.zeroes == BLOCK_ZEROES_UNMAP && !source->block.discard)
		return error_set(error, EINVAL, "setting detect-zeroes to unmap is not allowed without setting discard operation "
						"to unmap");
	if (source->fd_plus_1) {
		/* A confined process makes no rings. */
		options = source->block;
		options.aio = BLOCK_AIO_THREADS;
		return block_open_fd(source->fd_plus_1 - 1, source->path, &options, block, error);
	}
	if (block_names_folder(source->path))
		log_hint("%s is a copy of the folder: what the guest writes there is lost at the end", source->path);
	if (drives->is_sealed && block_names_export(source->path))
		return error_set(error, EPERM, "%.200s: nothing has connected to it: remove its node, and add it anew", source->path);
	fd = fdsets_open(drives->fdsets, source->path, source->block.readonly ? O_RDONLY : O_RDWR,
				     error);

	if (fd == -ENOENT)
		return block_open(source->path, &source->block, block, error);
	if (fd < 0)
		return fd;
	result = block_open_fd(fd, source->path, &source->block, block, error);
	close(fd);
	return result;
}

bool drive_has_medium(const struct drive *drive)
{
	return drive->is_node || drive_path(drive->options);
}

int drive_open(struct drives *drives, struct drive *drive, const json_t *device, bool is_cdrom,
	       struct block **block, struct error *error)
{
	struct source source = {.path = NULL};
	const char *serial = keyval_text(device, "serial"), *id = keyval_text(device, "id");
	struct block_error_policy policy;
	int result;

	if (drive->is_used)
		return error_set(error, EBUSY, "%s has a device already", drive->name);
	drive->is_used = true;
	if (!drive_has_medium(drive))
		return error_set(error, EINVAL, "file=FILE is needed");
	result = drive->is_node ? find_node(drives, &source, drive->options, error)
				: find_drive(&source, drive->options, error);
	if (result < 0)
		return result;
	policy = on_error_read(drive->is_node ? NULL : drive->options, device);
	if (serial)
		source.block.serial = serial;
	if (source.block.serial && strlen(source.block.serial) > BLOCK_SERIAL_MAX)
		return error_set(error, EINVAL, "serial=%.60s: at most %u characters",
				 source.block.serial, BLOCK_SERIAL_MAX);
	source.block.snapshot |= drives->snapshot && !is_cdrom;
	source.block.readonly |= is_cdrom;
	if (source.no_flush)
		source.block.cache = BLOCK_CACHE_UNSAFE;
	else if (source.is_direct && source.block.cache == BLOCK_CACHE_WRITEBACK)
		source.block.cache = BLOCK_CACHE_NONE;
	result = open_source(drives, &source, block, error);
	if (result < 0)
		return result;
	block_set_error_policy(*block, &policy);
	drive->block = *block;
	drive->is_cdrom = is_cdrom;
	drive->no_flush = source.no_flush;
	drive->is_direct = source.is_direct;
	snprintf(drive->device, sizeof(drive->device), "%s", id ? id : "");
	return 0;
}

/* The disk of `from`, and what is known of it. */
static void move_disk(struct drive *to, struct drive *from)
{
	to->block = from->block;
	to->no_flush = from->no_flush;
	memcpy(to->group, from->group, sizeof(to->group));
	to->is_direct = from->is_direct;
	memcpy(to->device, from->device, sizeof(to->device));
	from->block = NULL;
	from->device[0] = 0;
}

int drive_open_overlay(struct drives *drives, struct drive *drive, struct block *block, struct block_overlay **overlay,
		       struct error *error)
{
	struct block_overlay_options options = {.fd = -1};
	const char *format;
	int result = drive_locate(drives, drive, &options.path, &options.fd, &format, error);

	if (result < 0)
		return result;
	if (strcmp(format, "qcow2") != 0)
		return error_set(error, ENOTSUP, "Node '%.60s' is %s, and has to be qcow2 to be put on a disk", drive->name,
				 format);
	return block_overlay_open(block, &options, overlay, error);
}

int drive_locate(struct drives *drives, struct drive *drive, const char **path, int *fd, const char **format,
		 struct error *error)
{
	struct source source = {.path = NULL};
	int result = find_node(drives, &source, drive->options, error);

	if (result < 0)
		return result;
	*path = source.path;
	*fd = source.fd_plus_1 - 1;
	*format = source.block.format;
	return 0;
}

void drive_replace(struct drives *drives, struct drive *old, struct drive *now)
{
	now->is_used = true;
	if (!old->is_node) {
		memcpy(now->below, old->name, sizeof(now->below));
		memcpy(old->node_name, now->name, sizeof(old->node_name));
		return;
	}
	move_disk(now, old);
	drive_release(drives, old);
}

void drive_uncover(struct drives *drives, struct drive *drive)
{
	struct block *block = drive->block;
	struct drive *top = drive->is_node ? drive : drives_find(drives, drive->node_name), *below;
	const char *path, *format;
	struct error error;
	int fd;

	for (; top && top->is_node; top = below) {
		below = *top->below ? drives_find(drives, top->below) : NULL;
		if (!below || (drive_locate(drives, top, &path, &fd, &format, &error) == 0 &&
			       strcmp(path, block_info(block)->path) == 0))
			break;
		if (top->block)
			move_disk(below, top);
		top->is_used = false;
		top->below[0] = 0;
	}
	if (!drive->is_node)
		snprintf(drive->node_name, sizeof(drive->node_name), "%s", top && top->is_node ? top->name : "");
}

static bool is_in_chain(struct drives *drives, struct drive *drive, const struct block *block)
{
	struct node *image = block_image(block);
	const char *path, *format;
	struct error unseen;
	int fd;

	if (drive_locate(drives, drive, &path, &fd, &format, &unseen) < 0)
		return false;
	while (image && strcmp(image_path(image), path) != 0)
		image = image_below(image);
	return image;
}

/* What a node stands on, as it was put there or says itself; NULL: none that has a name. */
static struct drive *find_below(struct drives *drives, const struct drive *drive)
{
	const char *backing = keyval_text(drive->options, "backing");

	if (*drive->below)
		return drives_find(drives, drive->below);
	return backing ? drives_find(drives, backing) : NULL;
}

/* What was right below it, and is in no chain any more. */
static void let_go_below(struct drives *drives, struct drive *above, const struct block *block)
{
	struct drive *below, *next, *file;
	const char *name;

	for (below = find_below(drives, above); below && below->is_node && !is_in_chain(drives, below, block); below = next) {
		next = find_below(drives, below);
		name = keyval_text(below->options, "file");
		file = name ? drives_find(drives, name) : NULL;
		if (file)
			file->is_used = false;
		below->is_used = false;
		below->below[0] = 0;
	}
	if (*above->below)
		snprintf(above->below, sizeof(above->below), "%s", below ? below->name : "");
	else if (json_object_get(above->options, "backing"))
		json_object_set_new((json_t *)above->options, "backing", below ? json_string(below->name) : json_null());
}

void drive_let_go_below(struct drives *drives, struct drive *drive)
{
	const struct block *block = drive->block;
	struct drive *at = drive->is_node ? drive : drives_find(drives, drive->node_name);

	for (; at && at->is_node; at = find_below(drives, at))
		let_go_below(drives, at, block);
}

void drive_put_on(struct drive *drive, struct drive *below)
{
	drive->is_used = true;
	memcpy(drive->below, *below->node_name ? below->node_name : below->name, sizeof(drive->below));
	/* A -drive is what its device has, whatever is in it; a node is an image. */
	if (!below->is_node) {
		memcpy(below->node_name, drive->name, sizeof(below->node_name));
		return;
	}
	move_disk(drive, below);
}

/* A node that names this one, in use or not (`used`: in use); or NULL. */
static const struct drive *find_referrer(const struct drives *drives, const char *name, bool used)
{
	unsigned i, k;

	for (i = 0; i < drives->count; i++) {
		for (k = 0; k < 2 && drives->list[i].is_node && (drives->list[i].is_used || !used); k++) {
			const char *other = keyval_text(drives->list[i].options, references[k]);

			if (other && strcmp(other, name) == 0)
				return &drives->list[i];
		}
	}
	return NULL;
}

/* Of the nodes below, too. */
static void let_go(struct drives *drives, const json_t *options)
{
	struct drive *below;
	unsigned i;

	for (i = 0; i < 2; i++) {
		const char *name = keyval_text(options, references[i]);

		below = name ? drives_find(drives, name) : NULL;
		/* Others may stand on it, and a drive or an export have it besides. */
		if (below && below->is_node && below->is_used && !below->block && !find_referrer(drives, below->name, true)) {
			below->is_used = false;
			let_go(drives, below->options);
		}
	}
}

void drive_release(struct drives *drives, struct drive *drive)
{
	unsigned i;

	drive->is_used = false;
	drive->block = NULL;
	drive->device[0] = drive->node_name[0] = drive->group[0] = 0;
	for (i = 0; i < drives->count; i++) {
		struct drive *other = &drives->list[i];

		/* What it was put on, and what was put on it. */
		if (other->is_used && (strcmp(other->below, drive->name) == 0 || strcmp(drive->below, other->name) == 0))
			drive_release(drives, other);
	}
	if (drive->is_node)
		let_go(drives, drive->options);
}

int drives_remove(struct drives *drives, const char *name, struct error *error)
{
	struct drive *drive = drives_find(drives, name);
	const struct drive *referrer = find_referrer(drives, name, false);

	if (!drive)
		return error_set(error, ENOENT, "Failed to find node with node-name='%.60s'", name);
	if (drive->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is busy: node is used", name);
	if (referrer)
		return error_set(error, EBUSY, "Node '%.60s' is busy: it is below '%.60s'", name, referrer->name);
	if (drive->fd_plus_1)
		close(drive->fd_plus_1 - 1);
	memmove(drive, drive + 1, (&drives->list[--drives->count] - drive) * sizeof(*drive));
	return 0;
}

void drives_close(struct drives *drives)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].fd_plus_1)
			close(drives->list[i].fd_plus_1 - 1);
	drives->count = 0;
}

/* -- what monitors are told -- */

/* The name of the image below, and how many there are. */
static void describe_backing(json_t *inserted, struct node *image)
{
	struct image_description description;
	int depth = 0;

	image_describe(image, &description);
	if (description.backing)
		json_object_set_new(inserted, "backing_file", json_string(description.backing));
	while ((image = image_below(image)))
		depth++;
	json_object_set_new(inserted, "backing_file_depth", json_integer(depth));
}

static void describe_rates(json_t *inserted, const char *unit, const struct block_rate *rates, bool has_bursts)
{
	static const char *const kinds[BLOCK_RATES] = {"", "_rd", "_wr"};
	char key[32];
	unsigned i;

	for (i = 0; i < BLOCK_RATES; i++) {
		snprintf(key, sizeof(key), "%s%s", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].average));
		if (!has_bursts)
			continue;
		snprintf(key, sizeof(key), "%s%s_max", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].burst));
		snprintf(key, sizeof(key), "%s%s_max_length", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].burst_seconds ? rates[i].burst_seconds : 1));
	}
}

static void describe_limits(json_t *inserted, const struct drive *drive)
{
	static const struct block_limits none = {.operation_bytes = 0};
	const struct block_limits *limits = block_read_limits(drive->block);
	bool has_limits = limits && block_limits_any(limits);

	if (!has_limits)
		limits = &none;
	describe_rates(inserted, "bps", limits->bytes, has_limits);
	describe_rates(inserted, "iops", limits->operations, has_limits);
	if (!has_limits)
		return;
	json_object_set_new(inserted, "iops_size", json_integer(limits->operation_bytes));
	json_object_set_new(inserted, "group", json_string(drive->group));
}

const char *drive_io_status(const struct drive *drive)
{
	static const char *const names[] = {
		[BLOCK_HEALTHY] = "ok", [BLOCK_HAS_FAILED] = "failed", [BLOCK_IS_FULL] = "nospace"};

	return names[drive->block ? block_health(drive->block) : BLOCK_HEALTHY];
}

static void describe_bitmaps(json_t *inserted, const struct block *block)
{
	const struct block_bitmap *bitmap;
	struct block_bitmap_facts facts;
	json_t *list = json_array();
	unsigned i;

	for (i = 0; (bitmap = block_bitmap_at(block, i)); i++) {
		block_bitmap_describe(bitmap, &facts);
		json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:b,s:b,s:b}", "name", facts.name, "count",
						      (json_int_t)facts.dirty_bytes, "granularity", (json_int_t)facts.granularity,
						      "recording", facts.is_enabled, "busy", facts.is_busy, "persistent", 0));
	}
	if (i)
		json_object_set_new(inserted, "dirty-bitmaps", list);
	else
		json_decref(list);
}

json_t *drive_describe_inserted(const struct drive *drive)
{
	const struct block_info *info = block_info(drive->block);
	json_t *inserted =
		json_pack("{s:s,s:s,s:b,s:s,s:b,s:s,s:i,s:o,s:{s:b,s:b,s:b}}", "file", info->path,
			  "node-name", *drive->node_name ? drive->node_name : drive->name, "ro", info->is_readonly, "drv", info->format, "encrypted", 0,
			  "detect_zeroes", block_zeroes_name(info->zeroes), "write_threshold", 0, "image", image_facts_of_chain(block_image(drive->block)), "cache", "writeback",
			  info->has_write_cache, "direct", drive->is_direct, "no-flush", drive->no_flush);

	describe_backing(inserted, block_image(drive->block));
	describe_limits(inserted, drive);
	describe_bitmaps(inserted, drive->block);
	return inserted;
}

json_t *drives_describe(const struct drives *drives)
{
	json_t *answer = json_array(), *one;
	unsigned i;

	for (i = 0; i < drives->count; i++) {
		if (!drives->list[i].block || drives->list[i].is_cdrom)
			continue;
		one = json_pack("{s:s,s:s,s:b,s:b,s:s,s:o}", "device",
				drives->list[i].is_node ? "" : drives->list[i].name, "type", "unknown",
				"removable", 0, "locked", 0, "io-status", drive_io_status(&drives->list[i]), "inserted",
				drive_describe_inserted(&drives->list[i]));
		if (drives->list[i].device[0])
			json_object_set_new(one, "qdev", json_string(drives->list[i].device));
		json_array_append_new(answer, one);
	}
	return answer;
}

json_t *drives_describe_nodes(const struct drives *drives)
{
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].block)
			json_array_append_new(answer, drive_describe_inserted(&drives->list[i]));
	return answer;
}
