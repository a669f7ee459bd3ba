#include "cli/qemu/served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/nbd_server.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/door_request.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"

struct served_export {
	struct hotplug *hotplug;
	struct nbd_export *export;
	char *id, *node; /* owned */
	struct block *own; /* of a node that no device has; NULL: a device's disk */
	struct served_export *next;
};

/* -- the server -- */

int served_start(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	json_int_t most = json_integer_value(json_object_get(arguments, "max-connections"));
	struct nbd_server_options options = {.clients_max = most < NBD_CLIENTS_MAX ? most : 0};
	struct door_request request;
	int result;

	if (hotplug->served.server)
		return error_set(error, EBUSY, "NBD server already running");
	if (json_object_get(arguments, "tls-creds") || json_object_get(arguments, "tls-authz"))
		return error_set(error, ENOTSUP, "tls-creds: there is no TLS: use a tunnel");
	if (most < 0)
		return error_set(error, EINVAL, "Parameter 'max-connections' expects a non-negative value");
	if (!door_request_of_server(arguments, &request))
		return error_set(error, EINVAL, "addr: use type 'inet' with host and port, or 'unix' with path");
	options.listening_fd = facts->open_file(facts->file_context, request.kind, request.name, error);
	if (options.listening_fd < 0)
		return options.listening_fd;
	result = nbd_server_start(&options, &hotplug->served.server, error);
	if (result < 0)
		close(options.listening_fd);
	return result;
}

/* -- exports -- */

static struct served_export *find_export(struct hotplug *hotplug, const char *id)
{
	struct served_export *one = hotplug->served.exports;

	while (one && strcmp(one->id, id) != 0)
		one = one->next;
	return one;
}

/* Its clients are gone already. */
static void forget(struct served_export *one)
{
	struct hotplug *hotplug = one->hotplug;
	struct served_export **at = &hotplug->served.exports;
	struct drive *drive;

	while (*at != one)
		at = &(*at)->next;
	*at = one->next;
	if (one->own) {
		block_close(one->own, NULL);
		drive = drives_find(&hotplug->line->drives, one->node);
		if (drive)
			drive_release(&hotplug->line->drives, drive);
	}
	monitor_export_deleted(hotplug->monitor, one->id);
	free(one->id);
	free(one->node);
	free(one);
}

/* Its disk was closed, by whoever had it. */
static void gone(void *context)
{
	forget(context);
}

static void end_export(struct served_export *one)
{
	nbd_export_remove(one->export);
	forget(one);
}

int served_stop(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	(void)arguments;
	if (!hotplug->served.server)
		return error_set(error, EINVAL, "NBD server not running");
	served_end(hotplug);
	return 0;
}

void served_end(struct hotplug *hotplug)
{
	while (hotplug->served.exports)
		end_export(hotplug->served.exports);
	nbd_server_stop(hotplug->served.server);
	hotplug->served.server = NULL;
}

/* A node that nothing uses is opened for its export. */
static int open_node(struct hotplug *hotplug, const char *name, struct block **block, struct error *error)
{
	struct drives *drives = &hotplug->line->drives;
	struct drive *drive = drives_find(drives, name);
	json_t *device;
	int result;

	if (!drive || !drive->is_node)
		return error_set(error, ENOENT, "Cannot find device='' nor node-name='%.60s'", name);
	if (drive->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is in use below another", name);
	device = json_object();
	result = device ? drive_open(drives, drive, device, false, block, error) : error_set_errno(error, ENOMEM, "a node");
	json_decref(device);
	if (result == 0) {
		result = block_start(*block, error);
		if (result < 0)
			block_close(*block, NULL);
	}
	if (result < 0)
		drive_release(drives, drive);
	return result;
}

static int check_export(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *type = keyval_text(arguments, "type"), *id = keyval_text(arguments, "id");
	static const char *const missing[] = {"bitmaps", "iothread"};
	unsigned i;

	if (strcmp(type, "nbd") != 0)
		return error_set(error, ENOTSUP, "type=%.60s is not there: use nbd", type);
	if (!hotplug->served.server)
		return error_set(error, EINVAL, "NBD server not running");
	if (find_export(hotplug, id))
		return error_set(error, EEXIST, "Block export id '%.60s' is already in use", id);
	for (i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
		if (json_object_get(arguments, missing[i]))
			return error_set(error, ENOTSUP, "%s is not there: leave it out", missing[i]);
	if (json_is_true(json_object_get(arguments, "writethrough")))
		return error_set(error, ENOTSUP, "writethrough=true is not there: clients flush");
	return 0;
}

int served_add(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *node = keyval_text(arguments, "node-name"), *name = keyval_text(arguments, "name");
	struct nbd_export_options options = {
		.name = name ? name : node,
		.description = keyval_text(arguments, "description"),
		.is_writable = json_is_true(json_object_get(arguments, "writable")),
		.shows_depth = json_is_true(json_object_get(arguments, "allocation-depth")),
	};
	struct served_export *one;
	struct error unseen;
	struct drive *drive;
	int result = check_export(hotplug, arguments, error);

	if (result < 0)
		return result;
	one = calloc(1, sizeof(*one));
	if (!one || !(one->id = strdup(keyval_text(arguments, "id"))) || !(one->node = strdup(node))) {
		result = error_set_errno(error, ENOMEM, "an export");
		goto fail;
	}
	one->hotplug = hotplug;
	if (disks_find(hotplug, node, &drive, &unseen) < 0)
		result = open_node(hotplug, node, &one->own, error);
	if (result == 0)
		result = nbd_export_add(hotplug->served.server, one->own ? one->own : drive->block, &options, gone, one,
					&one->export, error);
	if (result < 0 && one->own) {
		block_close(one->own, NULL);
		drive_release(&hotplug->line->drives, drives_find(&hotplug->line->drives, node));
	}
	if (result < 0)
		goto fail;
	one->next = hotplug->served.exports;
	hotplug->served.exports = one;
	return 0;

fail:
	if (one) {
		free(one->id);
		free(one->node);
	}
	free(one);
	return result;
}

int served_remove(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *id = keyval_text(arguments, "id"), *mode = keyval_text(arguments, "mode");
	struct served_export *one = find_export(hotplug, id);

	if (!one)
		return error_set(error, ENOENT, "Export '%.60s' is not found", id);
	if ((!mode || strcmp(mode, "safe") == 0) && nbd_export_clients(one->export) > 0)
		return error_set(error, EBUSY, "export '%.60s' still in use: mode 'hard' cuts its clients off", id);
	end_export(one);
	return 0;
}

json_t *served_describe(void *context)
{
	const struct hotplug *hotplug = context;
	const struct served_export *one;
	json_t *answer = json_array();

	for (one = hotplug->served.exports; one; one = one->next)
		json_array_append_new(answer, json_pack("{s:s,s:s,s:s,s:b}", "id", one->id, "type", "nbd", "node-name",
							one->node, "shutting-down", 0));
	return answer;
}
