#include "cli/qemu/storage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/boot_turn.h"
#include "cli/qemu/interface.h"
#include "cli/qemu/limits.h"
#include "cli/qemu/media.h"
#include "device/storage/ahci.h"
#include "device/storage/ide.h"
#include "device/virtio/scsi.h"

#define Q35_AHCI_PLACE BOARD_PLACE(0, PCI_SLOT_FUNCTION(0x1f, 2))

/* -- -hda, -drive -- */

/* Whether it has the empty CD-ROM drive that a PC has by itself, as QEMU's: ide1-cd0, on a q35 ide2-cd0. */
static bool wants_empty_drive(const struct line *line)
{
	const char *const names[] = {"ide-cd", "ide-hd", "scsi-cd", "scsi-hd"};
	const json_t *one;
	const char *text;
	uint64_t index;
	unsigned j;
	size_t i;

	if (json_object_get(line->said, "nodefaults") || !board_kind_is_pc(line->type->board))
		return false;
	json_array_foreach(json_object_get(line->said, "device"), i, one)
		for (j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			if ((text = keyval_text(one, "driver")) && strcmp(text, names[j]) == 0)
				return false;
	/* Its place. */
	json_array_foreach(json_object_get(line->said, "drive"), i, one) {
		index = UINT64_MAX;
		text = keyval_text(one, "if");
		if (text && strcmp(text, "ide") == 0 &&
		    (json_object_get(one, "bus") || (keyval_number(one, "index", UINT32_MAX, &index, NULL) == 0 && index == 2)))
			return false;
	}
	return true;
}

int storage_take_short_options(struct line *line, struct error *error)
{
	static const struct {
		const char *name, *media;
		unsigned index;
	} options[] = {
		{"hda", "disk", 0}, {"hdb", "disk", 1}, {"hdc", "disk", 2}, {"hdd", "disk", 3},
		{"cdrom", "cdrom", 2},
	};
	json_t *drives = json_object_get(line->said, "drive"), *one;
	const char *path;
	unsigned i;
	size_t at;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		path = json_string_value(json_object_get(line->said, options[i].name));
		if (!path)
			continue;
		if (!drives) {
			drives = json_array();
			json_object_set_new(line->said, "drive", drives);
		}
		json_array_append_new(drives, json_pack("{s:s,s:s,s:i}", "file", path, "media",
							options[i].media, "index", options[i].index));
	}
	json_array_foreach(drives, at, one) {
		if (keyval_text(one, "if"))
			continue;
		if (line->type->board == BOARD_MICROVM)
			return error_set(error, ENOTSUP, "-drive: a microvm has no IDE: say if=virtio, or "
							 "if=none for -device");
		json_object_set_new(one, "if", json_string("ide"));
	}
	if (!wants_empty_drive(line))
		return 0;
	if (!drives) {
		drives = json_array();
		json_object_set_new(line->said, "drive", drives);
	}
	return json_array_append_new(drives, json_pack("{s:s,s:s,s:i}", "if", "ide", "media", "cdrom", "index", 2));
}

static bool is_cdrom(const struct drive *drive)
{
	const char *media = keyval_text(drive->options, "media");

	return media && strcmp(media, "cdrom") == 0;
}

/* The places that -drives by IDE have: said, or the first that is free. */
static int choose_index(struct line *line, const struct drive *drive, unsigned places, uint64_t *index,
			struct error *error)
{
	unsigned units = line->type->board == BOARD_PC ? IDE_CHANNEL_DRIVES : 1;
	uint64_t bus = 0, unit = 0, given = UINT64_MAX;
	const json_t *one;
	uint64_t taken = 0;
	size_t i;

	if (keyval_number(drive->options, "index", places - 1, &given, error) < 0 ||
	    keyval_number(drive->options, "bus", places / units - 1, &bus, error) < 0 ||
	    keyval_number(drive->options, "unit", units - 1, &unit, error) < 0)
		return -EINVAL;
	if (given != UINT64_MAX) {
		*index = given;
		return 0;
	}
	if (json_object_get(drive->options, "bus") || json_object_get(drive->options, "unit")) {
		*index = bus * units + unit;
		return 0;
	}
	json_array_foreach(json_object_get(line->said, "drive"), i, one)
		if (keyval_text(one, "if") && strcmp(keyval_text(one, "if"), "ide") == 0 &&
		    keyval_number(one, "index", places - 1, &given, error) == 0 && given != UINT64_MAX) {
			taken |= 1ull << given;
			given = UINT64_MAX;
		}
	*index = __builtin_ctzll(~taken);
	/* So that the next one knows. */
	return json_object_set_new((json_t *)drive->options, "index", json_integer(*index));
}

/* As QEMU calls those that say no id=: "ide1-cd0", "virtio0". */
static void name_drive(struct line *line, struct drive *drive, const char *format, unsigned bus, unsigned unit)
{
	char name[sizeof(drive->name)];

	snprintf(name, sizeof(name), format, bus, is_cdrom(drive) ? "cd" : "hd", unit);
	if (drive->is_nameless && !drives_find(&line->drives, name))
		memcpy(drive->name, name, sizeof(name));
}

int storage_device_of(struct line *line, struct drive *drive, json_t **device, struct error *error)
{
	const char *interface = drive_interface(drive);
	unsigned bus, unit, units = line->type->board == BOARD_Q35 ? 1 : IDE_CHANNEL_DRIVES;
	char bus_name[16];
	uint64_t index;

	*device = NULL;
	if (strcmp(interface, "virtio") == 0) {
		name_drive(line, drive, "virtio%u", line->virtio_drives++, 0);
		*device = json_pack("{s:s,s:s}", "driver", "virtio-blk", "drive", drive->name);
	} else if (strcmp(interface, "scsi") == 0) {
		name_drive(line, drive, "scsi%u-%s%u", 0, line->scsi_drives++);
		*device = json_pack("{s:s,s:s}", "driver", is_cdrom(drive) ? "scsi-cd" : "scsi-hd", "drive",
				    drive->name);
	} else if (strcmp(interface, "ide") == 0) {
		if (choose_index(line, drive, units == 1 ? AHCI_PORTS : IDE_DRIVES, &index, error) < 0)
			return -EINVAL;
		bus = index / units;
		unit = index % units;
		name_drive(line, drive, "ide%u-%s%u", bus, unit);
		snprintf(bus_name, sizeof(bus_name), "ide.%u", bus);
		*device = json_pack("{s:s,s:s,s:s,s:i}", "driver", is_cdrom(drive) ? "ide-cd" : "ide-hd",
				    "drive", drive->name, "bus", bus_name, "unit", (int)unit);
	} else {
		name_drive(line, drive, "none%u", line->bare_drives++, 0);
	}
	return 0;
}

/* -- controllers -- */

static int add_controller(struct line *line, enum board_bus bus, unsigned place, uint64_t queues,
			  const char *id, struct error *error)
{
	unsigned number = 0;

	/* The first that is none any more, or a new one. */
	while (number < line->config.controller_count && line->config.controllers[number].bus != BOARD_BUSES)
		number++;
	if (number == BOARD_CONTROLLERS_MAX)
		return error_set(error, ENOSPC, "at most %u controllers", BOARD_CONTROLLERS_MAX);
	line->config.controllers[number] =
		(struct board_controller){.bus = bus, .place = place, .queues = queues};
	snprintf(line->controller_names[number], sizeof(line->controller_names[number]), "%s", id ? id : "");
	if (number == line->config.controller_count)
		line->config.controller_count++;
	return number;
}

int storage_add_controller(struct line *line, const struct device_driver *driver, const json_t *device, struct error *error)
{
	uint64_t queues = 0;
	int number, result;

	if (keyval_number(device, "num_queues", UINT16_MAX, &queues, error) < 0)
		return -EINVAL;
	number = add_controller(line, driver->role == ROLE_AHCI ? BOARD_BUS_AHCI : BOARD_BUS_SCSI,
				json_integer_value(json_object_get(device, "place")), queues,
				keyval_text(device, "id"), error);
	if (number < 0)
		return number;
	line->config.controllers[number].rings = rings_of_device(device);
	result = interface_of_device(device, &line->config.controllers[number].interface, error);
	if (result < 0) {
		storage_forget_controller(line, number);
		return result;
	}
	json_object_set_new((json_t *)device, "controller", json_integer(number));
	return number;
}

void storage_forget_controller(struct line *line, unsigned number)
{
	line->config.controllers[number].bus = BOARD_BUSES;
	*line->controller_names[number] = 0;
}

bool storage_is_on_controller(const json_t *device, unsigned number)
{
	const json_t *place = json_object_get(device, "scsi place");

	return place && BOARD_SCSI_PLACE_CONTROLLER((unsigned)json_integer_value(place)) == number;
}

int storage_add_controllers(struct line *line, struct error *error)
{
	const struct device_driver *driver;
	const json_t *device;
	size_t i;
	int result;

	json_array_foreach(line->devices, i, device) {
		driver = device_driver_find(keyval_text(device, "driver"), error);
		if (driver->role != ROLE_AHCI && driver->role != ROLE_SCSI_ADAPTER)
			continue;
		result = storage_add_controller(line, driver, device, error);
		if (result < 0)
			return result;
	}
	return 0;
}

/* The controller of that kind, with that name or the first; -1: none. */
static int find_controller(const struct line *line, enum board_bus bus, const char *name, size_t length)
{
	unsigned i;

	for (i = 0; i < line->config.controller_count; i++)
		if (line->config.controllers[i].bus == bus &&
		    (!name || (strlen(line->controller_names[i]) == length &&
			       strncmp(line->controller_names[i], name, length) == 0)))
			return i;
	return -1;
}

/* "NAME.NUMBER"; NULL: no such form. */
static const char *split_bus(const char *bus, unsigned long *number)
{
	const char *dot = strrchr(bus, '.');
	char *end;

	if (!dot || !dot[1])
		return NULL;
	*number = strtoul(dot + 1, &end, 10);
	return *end ? NULL : dot;
}

static bool names_device(const struct line *line, enum device_role role, const char *name, size_t length)
{
	const struct device_driver *driver;
	const json_t *device;
	const char *id;
	size_t i;

	json_array_foreach(line->devices, i, device) {
		driver = device_driver_find(keyval_text(device, "driver"), NULL);
		id = keyval_text(device, "id");
		if (driver && driver->role == role && id && strlen(id) == length &&
		    strncmp(id, name, length) == 0)
			return true;
	}
	return false;
}

int storage_check_bus(const struct line *line, enum device_role role, const char *bus, struct error *error)
{
	unsigned long number = 0;
	const char *dot = split_bus(bus, &number);
	size_t length = dot ? dot - bus : 0;
	bool is_known = false;

	if (dot && role == ROLE_IDE_DISK)
		is_known = (length == 3 && strncmp(bus, "ide", 3) == 0 &&
			    number < (line->type->board == BOARD_PC ? IDE_CHANNELS : AHCI_PORTS)) ||
			   (number < AHCI_PORTS && names_device(line, ROLE_AHCI, bus, length));
	else if (dot && role == ROLE_SCSI_DISK)
		is_known = number == 0 && ((length == 4 && strncmp(bus, "scsi", 4) == 0) ||
					   names_device(line, ROLE_SCSI_ADAPTER, bus, length));
	return is_known ? 0
			: error_set(error, ENODEV, "Bus '%.60s' not found: use %s", bus,
				    role == ROLE_IDE_DISK ? "ide.0, ide.1 or ID.PORT of an ahci device"
							  : "ID.0 of a virtio-scsi-pci device");
}

/* -- drives -- */

static int place_ide(struct line *line, const json_t *device, struct board_disk *disk, struct error *error)
{
	const char *bus = keyval_text(device, "bus"), *dot = NULL;
	bool is_pc = line->type->board == BOARD_PC;
	unsigned long number = 0;
	uint64_t unit = UINT64_MAX;
	int controller;

	if (keyval_number(device, "unit", IDE_CHANNEL_DRIVES - 1, &unit, error) < 0)
		return -EINVAL;
	if (bus)
		dot = split_bus(bus, &number);
	if (is_pc && (!bus || strncmp(bus, "ide.", 4) == 0)) {
		disk->bus = BOARD_BUS_IDE;
		if (bus && unit == UINT64_MAX)
			unit = line->ide_units[number & 1]++ & 1;
		if (bus)
			disk->place_plus_1 = number * IDE_CHANNEL_DRIVES + unit + 1;
		return 0;
	}
	disk->bus = BOARD_BUS_AHCI;
	controller = find_controller(line, BOARD_BUS_AHCI, dot ? bus : NULL, dot ? dot - bus : 0);
	/* A q35 has one on board, whose ports are ide.0 to ide.5. */
	if (controller < 0 || (!bus && !is_pc))
		controller = find_controller(line, BOARD_BUS_AHCI, "ide", 3);
	if (controller < 0)
		controller = add_controller(line, BOARD_BUS_AHCI, Q35_AHCI_PLACE, 0, "ide", error);
	if (controller < 0)
		return controller;
	disk->controller = controller;
	disk->place_plus_1 = dot ? number + 1 : 0;
	return 0;
}

/* The adapter that it is for; -1: there is none yet. */
static int scsi_controller(const struct line *line, const json_t *device)
{
	const char *bus = keyval_text(device, "bus"), *dot = bus ? strrchr(bus, '.') : NULL;
	int controller = dot ? find_controller(line, BOARD_BUS_SCSI, bus, dot - bus) : -1;

	return controller >= 0 ? controller : find_controller(line, BOARD_BUS_SCSI, NULL, 0);
}

#define ANY UINT64_MAX

static int read_scsi_address(const json_t *device, uint64_t *target, uint64_t *lun, struct error *error)
{
	uint64_t channel = 0;

	*target = *lun = ANY;
	return keyval_number(device, "scsi-id", VIRTIO_SCSI_TARGETS - 1, target, error) < 0 ||
			       keyval_number(device, "lun", VIRTIO_SCSI_LUNS - 1, lun, error) < 0 ||
			       keyval_number(device, "channel", 0, &channel, error) < 0
		       ? -EINVAL
		       : 0;
}

/* Where a device is, or says that it will be; 0: that is open. */
static unsigned known_scsi_place(const struct line *line, const json_t *device)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), NULL);
	int controller = scsi_controller(line, device);
	uint64_t target, lun;

	if (!driver || driver->role != ROLE_SCSI_DISK)
		return 0;
	if (json_object_get(device, "scsi place"))
		return json_integer_value(json_object_get(device, "scsi place"));
	if (controller < 0 || read_scsi_address(device, &target, &lun, NULL) < 0 || target == ANY || lun == ANY)
		return 0;
	return BOARD_SCSI_PLACE(controller, target, lun);
}

static bool is_scsi_place_free(const struct line *line, const json_t *device, unsigned place)
{
	const json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one)
		if (one != device && known_scsi_place(line, one) == place)
			return false;
	return true;
}

/* As QEMU does: without a target the first whose unit is free, without a unit the first of that target. */
static int place_scsi(struct line *line, const json_t *device, struct board_disk *disk, struct error *error)
{
	int controller = scsi_controller(line, device);
	bool any_target, any_lun;
	uint64_t target, lun;

	if (read_scsi_address(device, &target, &lun, error) < 0)
		return -EINVAL;
	if (controller < 0)
		controller = add_controller(line, BOARD_BUS_SCSI, BOARD_ANYWHERE, 0, "scsi", error);
	if (controller < 0)
		return controller;
	any_target = target == ANY;
	any_lun = !any_target && lun == ANY;
	target = any_target ? 0 : target;
	lun = lun == ANY ? 0 : lun;
	while (!is_scsi_place_free(line, device, BOARD_SCSI_PLACE(controller, target, lun))) {
		if (any_target ? ++target == VIRTIO_SCSI_TARGETS : !any_lun || ++lun == VIRTIO_SCSI_LUNS)
			return error_set(error, EBUSY, any_target || any_lun ? "no target is free"
									     : "lun=%u of scsi-id=%u is taken",
					 (unsigned)lun, (unsigned)target);
	}
	disk->bus = BOARD_BUS_SCSI;
	disk->controller = controller;
	disk->scsi_place = BOARD_SCSI_PLACE(controller, target, lun);
	return json_object_set_new((json_t *)device, "scsi place", json_integer(disk->scsi_place));
}

bool storage_has_scsi(const struct line *line)
{
	return find_controller(line, BOARD_BUS_SCSI, NULL, 0) >= 0;
}

bool storage_is_cdrom(struct line *line, const json_t *device)
{
	const char *name = keyval_text(device, "drive");
	const struct drive *drive = name ? drives_find(&line->drives, name) : NULL;

	return drive && is_cdrom(drive);
}

/* Text of printable ASCII (SPC-4 §4.3.1), of at most `size` - 1 characters. */
static int take_name(const json_t *device, const char *key, char *name, size_t size, struct error *error)
{
	const char *text = keyval_text(device, key), *at;

	if (!text)
		return 0;
	for (at = text; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			return error_set(error, EINVAL, "%s=: use letters of ASCII", key);
	if ((size_t)(at - text) >= size)
		return error_set(error, EINVAL, "%s=%.60s: at most %u characters", key, text, (unsigned)size - 1);
	memcpy(name, text, at - text + 1);
	return 0;
}

static int take_identity(const json_t *device, struct drive_identity *identity, struct error *error)
{
	return take_name(device, "vendor", identity->vendor, sizeof(identity->vendor), error) < 0 ||
			       take_name(device, "product", identity->product, sizeof(identity->product), error) < 0 ||
			       take_name(device, "ver", identity->revision, sizeof(identity->revision), error) < 0 ||
			       keyval_number(device, "wwn", UINT64_MAX, &identity->wwn, error) < 0 ||
			       keyval_number(device, "port_wwn", UINT64_MAX, &identity->port_wwn, error) < 0
		       ? -EINVAL
		       : 0;
}

int storage_open(struct line *line, const struct device_driver *driver, const json_t *device,
		 struct error *error)
{
	struct board_disk *disk = &line->config.disks[line->config.disk_count];
	const char *name = keyval_text(device, "drive");
	struct drive *drive = name ? drives_find(&line->drives, name) : NULL;
	bool is_usb = driver->role == ROLE_USB_DISK;
	bool is_cd = strstr(driver->name, "-cd") != NULL || (is_usb && drive && is_cdrom(drive));
	unsigned number = line->config.disk_count;
	uint64_t port = 0;
	struct boot_turn turn;
	int result;

	/* One that comes while the machine is there has a tray that no other has. */
	if (is_cd && line->nets.has_started)
		number = media_free_tray(line);
	if (number == BOARD_DISKS_MAX || line->config.disk_count == BOARD_DISKS_MAX)
		return error_set(error, ENOSPC, "at most %u disks", BOARD_DISKS_MAX);
	if (!drive && (name || !is_cd))
		return error_set(error, ENOENT, name ? "drive=%.60s: there is no such -drive or -blockdev"
						     : "drive=ID is needed", name);
	*disk = (struct board_disk){.is_cdrom = is_cd, .tray = number};
	if (driver->role == ROLE_NVME) {
		disk->bus = BOARD_BUS_NVME;
		disk->pci_place = json_integer_value(json_object_get(device, "place"));
		result = 0;
	} else if (is_usb) {
		disk->bus = BOARD_BUS_USB;
		disk->is_removable = json_is_true(json_object_get(device, "removable"));
		result = keyval_number(device, "port", BOARD_USB_DEVICES_MAX, &port, error);
		disk->place_plus_1 = port;
	} else {
		result = driver->role == ROLE_SCSI_DISK ? place_scsi(line, device, disk, error)
							: place_ide(line, device, disk, error);
	}
	if (result == 0 && driver->role == ROLE_SCSI_DISK)
		result = take_identity(device, &disk->identity, error);
	if (result == 0)
		result = boot_turn_of(line, device, is_cd ? 'd' : 'c', line->config.disk_count, &turn, error);
	if (result < 0)
		return result;
	disk->boot_plus_1 = turn.plus_1;
	disk->later_boot_plus_1 = turn.later_plus_1;
	if (drive && (!is_cd || drive_has_medium(drive)))
		result = limits_open(&line->drives, drive, device, is_cd, &disk->block, error);
	if (result < 0)
		return result;
	if (is_cd)
		media_add_drive(line, number, device, drive);
	if (is_cd)
		json_object_set_new((json_t *)device, "tray", json_integer(number));
	line->config.disk_count++;
	return 0;
}
