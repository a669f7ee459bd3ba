#include "cli/qemu/hotplug.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/bitmaps.h"
#include "cli/qemu/devices.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/door.h"
#include "cli/qemu/door_request.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/facts.h"
#include "cli/qemu/hotplug_cpus.h"
#include "cli/qemu/hotplug_memory.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/limits.h"
#include "cli/qemu/line.h"
#include "cli/qemu/line_devices.h"
#include "cli/qemu/line_memory.h"
#include "cli/qemu/media.h"
#include "cli/qemu/memory_backend.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/net_user.h"
#include "cli/qemu/new_image.h"
#include "cli/qemu/options.h"
#include "cli/qemu/served.h"
#include "cli/qemu/storage.h"
#include "machine/board.h"

static json_t *find(json_t *list, const char *key, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		if (keyval_text(one, key) && strcmp(keyval_text(one, key), name) == 0)
			return one;
	return NULL;
}

/* A list of the line's, made when it is needed. What disks, networks and objects are made of lives there. */
static json_t *kept(struct line *line, const char *what)
{
	json_t *list = json_object_get(line->said, what);

	if (!list) {
		list = json_array();
		json_object_set_new(line->said, what, list);
	}
	return list;
}

static void forget(json_t *list, const json_t *gone)
{
	size_t i;

	for (i = 0; i < json_array_size(list); i++)
		if (json_array_get(list, i) == gone) {
			json_array_remove(list, i);
			return;
		}
}

/* -- devices -- */

/* What a device has is free for another: its disk is `used`, or whatever is in its tray by now. */
static void free_parts(struct hotplug *hotplug, const json_t *device, struct drive *used)
{
	struct line *line = hotplug->line;
	const json_t *tray = json_object_get(device, "tray"), *controller = json_object_get(device, "controller");
	const char *net = nets_name_of_device(device);

	if (controller)
		storage_forget_controller(line, json_integer_value(controller));
	if (tray)
		media_forget_drive(line, json_integer_value(tray));
	else if (used)
		drive_release(&line->drives, used);
	if (net)
		nets_release(&line->nets, net);
}

/* What a device was to have, and what it got of it. */
static void give_back(struct hotplug *hotplug, const json_t *device)
{
	const char *drive = keyval_text(device, "drive");

	free_parts(hotplug, device, drive ? drives_find(&hotplug->line->drives, drive) : NULL);
}

/* What a device has had. Its disk may be another by now than the one that it came with, whose name may be another's. */
static void release(struct hotplug *hotplug, const json_t *device)
{
	const char *id = keyval_text(device, "id");

	if (id)
		free_parts(hotplug, device, drives_find_device(&hotplug->line->drives, id));
	else
		give_back(hotplug, device);
}

/* Whether the device's drive or network has another device already: then it is not its own to release. */
static bool is_taken(const struct hotplug *hotplug, const json_t *device)
{
	const char *name = keyval_text(device, "drive"), *net = keyval_text(device, "netdev");
	const struct drive *drive = name ? drives_find(&hotplug->line->drives, name) : NULL;

	return (drive && drive->is_used) || (net && nets_device(hotplug->line->devices, net));
}

/* A balloon's guest-stats-polling-interval, of a machine that has the balloon. */
static void set_balloon_period(struct hotplug *hotplug, const json_t *device)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), NULL);
	uint64_t seconds = 0;

	if (driver && driver->role == ROLE_BALLOON &&
	    keyval_number(device, "guest-stats-polling-interval", UINT32_MAX, &seconds, NULL) == 0 && seconds)
		machine_set_balloon_period(hotplug->machine, seconds);
}

static int add_device(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	struct line *line = hotplug->line;
	json_t *device = json_deep_copy(arguments);
	bool taken = is_taken(hotplug, arguments);
	struct board_plug plug;
	int result;

	if (!device)
		return error_set_errno(error, ENOMEM, "a device");
	if (hotplug_is_cpu(device) || hotplug_is_dimm(device)) {
		result = hotplug_is_cpu(device) ? hotplug_add_cpu(hotplug, device, error)
						: hotplug_add_dimm(hotplug, device, error);
		json_decref(device);
		return result;
	}
	result = line_plug_device(line, device, &plug, error);
	if (result == 0) {
		result = machine_plug(hotplug->machine, &plug, error);
		if (result < 0)
			line_unplug_device(line, device);
		else
			set_balloon_period(hotplug, device);
	}
	if (result < 0 && !taken)
		give_back(hotplug, device);
	json_decref(device);
	facts_renew(hotplug->facts, line);
	return result;
}

static int delete_device(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *id = keyval_text(arguments, "id"), *name = id;
	static const char peripheral[] = "/machine/peripheral/";
	const json_t *device;

	if (strncmp(id, peripheral, strlen(peripheral)) == 0)
		name += strlen(peripheral);
	device = find(hotplug->line->devices, "id", name);
	if (!device)
		return error_set(error, ENODEV, "Device '%.60s' not found", id);
	if (hotplug_is_cpu(device))
		return hotplug_delete_cpu(hotplug, device, error);
	if (hotplug_is_dimm(device))
		return hotplug_delete_dimm(hotplug, device, error);
	if (!line_device_slot(hotplug->line, device))
		return error_set(error, ENOTSUP, "Device '%.60s' does not support hotplugging: it is behind no root "
						 "port, nor in a slot of a pc", id);
	return machine_unplug(hotplug->machine, line_device_slot(hotplug->line, device), error);
}

/* Those that have gone move from the line into `gone`: what is at a place, or is a unit of that adapter (else -1). */
static void collect_gone(struct line *line, unsigned slot, int controller, json_t *gone)
{
	json_t *device, *number;
	size_t i;

	for (i = json_array_size(line->devices); i-- > 0;) {
		device = json_array_get(line->devices, i);
		if (controller >= 0 ? !storage_is_on_controller(device, controller)
				    : line_device_slot(line, device) != slot)
			continue;
		json_array_append(gone, device);
		line_unplug_device(line, device);
		number = json_object_get(device, "controller");
		if (number) {
			collect_gone(line, 0, json_integer_value(number), gone);
			i = json_array_size(line->devices);
		}
	}
}

/* machine_observer.unplugged. */
static void unplugged(void *context, unsigned slot)
{
	struct hotplug *hotplug = context;
	json_t *gone = json_array();
	size_t i;

	/* All are closed: nobody looks at any before all are forgotten. */
	collect_gone(hotplug->line, slot, -1, gone);
	for (i = json_array_size(gone); i-- > 0;)
		release(hotplug, json_array_get(gone, i));
	facts_renew(hotplug->facts, hotplug->line);
	/* Units before their adapter. */
	for (i = json_array_size(gone); i-- > 0;)
		monitor_device_deleted(hotplug->monitor, keyval_text(json_array_get(gone, i), "id"));
	json_decref(gone);
}

/* -- what they stand on -- */

/* Its file, if it names one: who may open it does (facts.open_file). */
static int open_node(struct hotplug *hotplug, const json_t *options, struct error *error)
{
	struct drive *drive = drives_find(&hotplug->line->drives, keyval_text(options, "node-name"));
	const struct monitor_facts *facts = hotplug->facts;
	struct door_request request;
	int fd;

	if (!door_request_of_node(options, &request))
		return 0;
	fd = facts->open_file(facts->file_context, request.kind, request.name, error);
	if (fd < 0)
		return fd;
	drive->fd_plus_1 = fd + 1;
	return 0;
}

static int add_node(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *options = json_deep_copy(arguments);
	struct error unseen;
	int result = options ? drives_add_node(&hotplug->line->drives, options, error)
			     : error_set_errno(error, ENOMEM, "a node");

	if (result == 0) {
		result = open_node(hotplug, options, error);
		if (result < 0)
			drives_remove(&hotplug->line->drives, keyval_text(options, "node-name"), &unseen);
		else
			json_array_append(kept(hotplug->line, "plugged nodes"), options);
	}
	json_decref(options);
	return result;
}

static int delete_node(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *list = kept(hotplug->line, "plugged nodes");
	const char *name = keyval_text(arguments, "node-name");
	int result = drives_remove(&hotplug->line->drives, name, error);

	if (result == 0)
		forget(list, find(list, "node-name", name));
	return result;
}

/* One that is confined has it from its door, which makes the processes behind it. */
static int add_net(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	struct nets *nets = &hotplug->line->nets;
	json_t *options = json_deep_copy(arguments);
	struct net_link link;
	struct error unseen;
	const char *name;
	int result = options ? options_check_network(options, error) : error_set_errno(error, ENOMEM, "a network");

	if (result == 0)
		result = nets_add(nets, options, &name, error);
	if (result == 0) {
		result = hotplug->door ? door_open_network(hotplug->door, arguments, &link, error)
				       : nets_open_link(options, &link, error);
		if (result < 0)
			nets_remove(nets, name, &unseen);
	}
	if (result == 0) {
		nets_give(nets, name, &link);
		json_array_append(kept(hotplug->line, "plugged networks"), options);
	}
	json_decref(options);
	return result;
}

static int delete_net(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *list = kept(hotplug->line, "plugged networks");
	const char *name = keyval_text(arguments, "id");
	int result = nets_remove(&hotplug->line->nets, name, error);

	if (result == 0)
		forget(list, find(list, "id", name));
	return result;
}

static int set_link(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *name = keyval_text(arguments, "name");
	const struct net *net = nets_find(&hotplug->line->nets, hotplug->line->devices, name);

	if (!net || machine_set_link(hotplug->machine, net->name, json_is_true(json_object_get(arguments, "up"))) < 0)
		return error_set(error, ENODEV, "Device '%.60s' not found", name);
	return 0;
}

/* The network in user space that is meant, by its name or as the first one. */
static const struct net *user_network(const struct hotplug *hotplug, const char *name, struct error *error)
{
	const struct nets *nets = &hotplug->line->nets;
	const struct net *net = name ? nets_find(nets, hotplug->line->devices, name) : NULL;
	unsigned i;

	for (i = 0; i < nets->count && !name && !net; i++)
		if (nets_is_user(&nets->list[i]))
			net = &nets->list[i];
	if (net && nets_is_user(net))
		return net;
	error_set(error, ENODEV, "there is no network in user space '%.60s'", name ? name : "");
	return NULL;
}

/* Whom a network's process listens to; -1: it is not there yet. */
static int helper_of(const struct hotplug *hotplug, const struct net *net)
{
	return net->is_open ? net->link.helper : hotplug->machine ? machine_net_helper(hotplug->machine, net->name) : -1;
}

json_t *hotplug_read_user_networks(void *context)
{
	const struct hotplug *hotplug = context;
	const struct nets *nets = &hotplug->line->nets;
	json_t *all = json_array();
	char text[NET_USER_TEXT];
	unsigned i;
	int helper;

	for (i = 0; i < nets->count; i++) {
		if (!nets_is_user(&nets->list[i]))
			continue;
		helper = helper_of(hotplug, &nets->list[i]);
		if (helper >= 0 && net_user_describe(helper, text) == 0)
			json_array_append_new(all, json_pack("{s:s,s:s}", "name", nets->list[i].name, "text", text));
	}
	return all;
}

static int forward_port(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct net *net = user_network(hotplug, keyval_text(arguments, "device"), error);
	bool is_end = json_is_true(json_object_get(arguments, "is-end"));
	struct net_forward forward;
	int helper;

	if (!net || net_user_parse_forward(net->options, keyval_text(arguments, "forward"), is_end, &forward, error) < 0)
		return -EINVAL;
	helper = helper_of(hotplug, net);
	if (helper < 0)
		return error_set(error, ENODEV, "the network '%s' is not there yet", net->name);
	return net_user_forward(helper, &forward, !is_end, error);
}

static int add_object(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *list = kept(hotplug->line, "object");
	const char *id = keyval_text(arguments, "id");
	json_t *object = json_deep_copy(arguments);
	int result = object_check(object, error);

	if (result == 0 && memory_backend_is_file(object))
		result = error_set(error, ENOTSUP,
				   "memory-backend-file: a machine's own memory alone is in a file: use memory-backend-ram");
	else if (result == 0 && find(list, "id", id))
		result = error_set(error, EEXIST,
				   "attempt to add duplicate property '%.60s' to object (type 'container')", id);
	if (result == 0)
		json_array_append(list, object);
	json_decref(object);
	return result;
}

static int delete_object(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *list = kept(hotplug->line, "object"), *object;
	const char *id = keyval_text(arguments, "id");

	object = find(list, "id", id);
	if (!object)
		return error_set(error, ENOENT, "object '%.60s' not found", id);
	if (find(hotplug->line->devices, "rng", id) || find(hotplug->line->devices, "iothread", id) ||
	    line_uses_memory(hotplug->line, id))
		return error_set(error, EBUSY, "object '%.60s' is in use, can not be deleted", id);
	forget(list, object);
	return 0;
}

int hotplug_change(void *context, enum monitor_change what, const json_t *arguments, struct error *error)
{
	static int (*const changes[])(struct hotplug *, const json_t *, struct error *) = {
		[MONITOR_DEVICE_ADD] = add_device,    [MONITOR_DEVICE_DEL] = delete_device,
		[MONITOR_BLOCKDEV_ADD] = add_node,    [MONITOR_BLOCKDEV_DEL] = delete_node,
		[MONITOR_NETDEV_ADD] = add_net,	      [MONITOR_NETDEV_DEL] = delete_net,
		[MONITOR_OBJECT_ADD] = add_object,    [MONITOR_OBJECT_DEL] = delete_object,
		[MONITOR_EJECT] = media_eject,	      [MONITOR_OPEN_TRAY] = media_open_tray,
		[MONITOR_CLOSE_TRAY] = media_close_tray, [MONITOR_REMOVE_MEDIUM] = media_remove,
		[MONITOR_INSERT_MEDIUM] = media_insert, [MONITOR_CHANGE_MEDIUM] = media_change,
		[MONITOR_SET_LINK] = set_link,	      [MONITOR_FORWARD] = forward_port,
		[MONITOR_BLOCK_RESIZE] = disks_resize,  [MONITOR_TRANSACTION] = disks_put_on_top,
		[MONITOR_BITMAP] = bitmaps_change,
		[MONITOR_SET_LIMITS] = limits_set,	[MONITOR_NEW_IMAGE] = new_image_make,
		[MONITOR_NBD_START] = served_start,	[MONITOR_NBD_STOP] = served_stop,
		[MONITOR_EXPORT_ADD] = served_add,	[MONITOR_EXPORT_DEL] = served_remove,
	};
	struct hotplug *hotplug = context;
	int result = changes[what](hotplug, arguments, error);

	if (result == 0)
		facts_renew(hotplug->facts, hotplug->line);
	return result;
}

json_t *hotplug_add_fd(void *context, const json_t *arguments, struct error *error)
{
	struct hotplug *hotplug = context;
	const struct monitor_facts *facts = hotplug->facts;
	struct door_request request;
	int fd;

	door_request_of_descriptor(&request);
	fd = facts->open_file(facts->file_context, request.kind, request.name, error);
	return fd < 0 ? NULL : fdsets_add_passed(&hotplug->line->fdsets, arguments, fd, error);
}

int hotplug_remove_fd(void *context, const json_t *arguments, struct error *error)
{
	struct hotplug *hotplug = context;

	return fdsets_remove(&hotplug->line->fdsets, arguments, error);
}

json_t *hotplug_read_fdsets(void *context)
{
	const struct hotplug *hotplug = context;

	return fdsets_describe(&hotplug->line->fdsets);
}

void hotplug_look(void *context)
{
	struct hotplug *hotplug = context;

	facts_look(hotplug->facts, hotplug->line, hotplug->machine);
}

const char *hotplug_find_device(void *context, unsigned place)
{
	const struct hotplug *hotplug = context;
	const json_t *device;
	size_t i;

	json_array_foreach(hotplug->line->devices, i, device)
		if (place && json_integer_value(json_object_get(device, "place")) == place)
			return keyval_text(device, "id");
	return NULL;
}

const char *hotplug_port_changed(void *context, unsigned port, bool is_open)
{
	const struct hotplug *hotplug = context;
	const json_t *device = hotplug->line->ports[port];
	struct chardev *chardev = chardevs_find(&hotplug->line->chardevs, keyval_text(device, "chardev"));

	if (chardev)
		chardev->is_closed = !is_open;
	return keyval_text(device, "id");
}

json_t *hotplug_parse_device(const char *text, struct error *error)
{
	return keyval_parse(text, "driver", NULL, false, error);
}

void hotplug_set_machine(struct hotplug *hotplug, struct machine *machine)
{
	const json_t *device;
	size_t i;

	hotplug->machine = machine;
	hotplug->observer = (struct machine_observer){
		.unplugged = unplugged, .tray_moved = media_tray_moved, .disk_failed = disks_failed, .cpu_unplugged = hotplug_cpu_unplugged,
		.cpu_reported = hotplug_cpu_reported, .memory_unplugged = hotplug_memory_unplugged,
		.memory_reported = hotplug_memory_reported, .context = hotplug};
	machine_observe(machine, &hotplug->observer);
	hotplug_note_dimms(hotplug);
	json_array_foreach(hotplug->line->devices, i, device)
		set_balloon_period(hotplug, device);
}
