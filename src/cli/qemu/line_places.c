#include "cli/qemu/line_places.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/storage.h"
#include "machine/board.h"

#define FIRST_FREE_SLOT 3 /* where QEMU's pc begins, behind chipset and graphics; and its q35: */
#define Q35_FIRST_FREE_SLOT 2
#define Q35_LAST_SLOT	    31 /* the chipset's */
#define MICROVM_SUFFIX	"-device"

/* -global's properties for a driver, where the device does not say them itself. */
static void take_globals(const struct line *line, const struct device_driver *driver, json_t *device)
{
	const json_t *one;
	const char *name, *key;
	size_t i;

	json_array_foreach(json_object_get(line->said, "global"), i, one) {
		name = keyval_text(one, "driver");
		key = keyval_text(one, "property");
		if (name && key &&
		    (strcmp(name, driver->name) == 0 ||
		     (driver->other_name && strcmp(name, driver->other_name) == 0)) &&
		    !json_object_get(device, key))
			json_object_set(device, key, json_object_get(one, "value"));
	}
}

unsigned line_port_number(const struct line *line, const char *bus)
{
	const struct device_driver *driver;
	const json_t *one;
	unsigned number = 0;
	size_t i;

	json_array_foreach(line->devices, i, one) {
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		if (!driver || driver->role != ROLE_ROOT_PORT)
			continue;
		number++;
		if (bus && keyval_text(one, "id") && strcmp(keyval_text(one, "id"), bus) == 0)
			return number;
	}
	return 0;
}

static int check_bus(const struct line *line, const struct device_driver *driver, const char *bus,
		     struct error *error)
{
	const char *name;
	const json_t *one;
	size_t i, length;

	if (!bus)
		return 0;
	if (driver->is_pci && (strcmp(bus, "pci.0") == 0 || strcmp(bus, "pcie.0") == 0))
		return 0;
	if (driver->is_pci && driver->role != ROLE_ROOT_PORT && line_port_number(line, bus))
		return 0;
	if (driver->role == ROLE_ROOT_PORT)
		return error_set(error, ENODEV, "Bus '%.60s' not found: root ports are on pcie.0", bus);
	if (driver->role == ROLE_IDE_DISK || driver->role == ROLE_SCSI_DISK)
		return storage_check_bus(line, driver->role, bus, error);
	if (device_is_usb(driver) && strcmp(bus, "usb-bus.0") == 0)
		return 0;
	if (driver->role == ROLE_ISA_SERIAL || driver->role == ROLE_ISA_DEBUGCON)
		return strcmp(bus, "isa.0") == 0 ? 0 : error_set(error, ENODEV, "Bus '%.60s' not found", bus);
	/* A port's: "ID.0" of a virtio-serial device. */
	json_array_foreach(line->devices, i, one) {
		name = keyval_text(one, "id");
		length = name ? strlen(name) : 0;
		if (length && strncmp(bus, name, length) == 0 && strcmp(bus + length, ".0") == 0)
			return 0;
	}
	return strcmp(bus, "virtio-serial0.0") == 0
		       ? 0
		       : error_set(error, ENODEV, "Bus '%.60s' not found: there is pci.0", bus);
}

/* "SLOT", "SLOT.FUNCTION", hexadecimal as QEMU reads it, as slot and function at once; or -errno and `error`. */
static int parse_address(const char *text, struct error *error)
{
	unsigned long slot, function = 0;
	char *end;

	slot = strtoul(text, &end, 16);
	if (*end == '.' && end[1])
		function = strtoul(end + 1, &end, 16);
	if (*text == 0 || *end || slot >= PCI_SLOTS || function >= 8)
		return error_set(error, EINVAL,
				 "addr=%.60s: use a slot from 0x0 to 0x1f, and .0 to .7 for a function", text);
	return PCI_SLOT_FUNCTION(slot, function);
}

/* Of pcie.0, and behind each root port: slots and functions. */
struct place_use {
	bool is_taken[1 + BOARD_ROOT_PORTS_MAX][PCI_FUNCTIONS];
};

static int take_place(struct place_use *places, json_t *device, unsigned port,
		      unsigned slot_function, struct error *error)
{
	if (port && slot_function >= PCI_SLOT_FUNCTION(1, 0))
		return error_set(error, EINVAL, "addr=0x%x: a root port has slot 0 only", slot_function >> 3);
	if (places->is_taken[port][slot_function])
		return error_set(error, EBUSY, "addr=0x%x: the slot is taken or not there", slot_function >> 3);
	places->is_taken[port][slot_function] = true;
	return json_object_set_new(device, "place", json_integer(BOARD_PLACE(port, slot_function)));
}

/* The places that devices name, before others get what is left. */
static int take_named_places(struct line *line, struct place_use *places, struct error *error)
{
	json_t *one;
	size_t i;
	int at, result;
	unsigned port;

	json_array_foreach(line->devices, i, one) {
		json_t *address = json_object_get(one, "addr");

		/* A DIMM's is another kind. */
		if (!device_driver_find(keyval_text(one, "driver"), NULL)->is_pci)
			continue;
		port = line_port_number(line, keyval_text(one, "bus"));
		if ((!address && !port) || line_is_microvm(line))
			continue;
		/* A number is slot and function at once. */
		at = !address			? 0
		     : json_is_integer(address) ? (int)json_integer_value(address)
						: parse_address(json_string_value(address), error);
		if (at < 0 || at >= PCI_FUNCTIONS)
			return at < 0 ? at : error_set(error, EINVAL, "addr=%d: use 0 to 255", at);
		result = take_place(places, one, port, at, error);
		if (result < 0)
			return result;
	}
	return 0;
}

static bool slot_is_free(const struct place_use *places, unsigned port, unsigned slot)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		if (places->is_taken[port][PCI_SLOT_FUNCTION(slot, i)])
			return false;
	return true;
}

static int choose_place(struct line *line, struct place_use *places, json_t *device, struct error *error)
{
	bool is_display = device_driver_find(keyval_text(device, "driver"), NULL)->role == ROLE_DISPLAY;
	unsigned slot = line->type->board == BOARD_Q35 ? Q35_FIRST_FREE_SLOT : FIRST_FREE_SLOT;

	slot -= is_display; /* right before the others */
	if (line_is_microvm(line) || json_object_get(device, "place"))
		return 0;
	while (slot < PCI_SLOTS && !slot_is_free(places, 0, slot))
		slot++;
	if (slot == PCI_SLOTS)
		return error_set(error, ENOSPC, "no PCI slot is free");
	return take_place(places, device, 0, PCI_SLOT_FUNCTION(slot, 0), error);
}

/* The chipset's own. */
static void take_chipset(const struct line *line, struct place_use *places)
{
	unsigned i, slot = line->type->board == BOARD_Q35 ? Q35_LAST_SLOT : 1;

	for (i = 0; i < 8; i++)
		places->is_taken[0][i] = places->is_taken[0][PCI_SLOT_FUNCTION(slot, i)] = true;
}

int line_usb_port(const json_t *device, struct error *error)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), NULL);
	uint64_t port = 0;

	if (!driver || !device_is_usb(driver))
		return 0;
	return keyval_number(device, "port", BOARD_USB_DEVICES_MAX, &port, error) < 0 ? -EINVAL : (int)port;
}

/* One that says no port gets the first that no other has. */
static int choose_usb_port(const struct line *line, json_t *device, struct error *error)
{
	int port = line_usb_port(device, error);
	uint32_t taken = 0;
	const json_t *one;
	size_t i;

	if (port || !device_is_usb(device_driver_find(keyval_text(device, "driver"), NULL)))
		return port < 0 ? port : 0;
	json_array_foreach(line->devices, i, one) {
		port = line_usb_port(one, error);
		if (port < 0)
			return port;
		taken |= 1u << port;
	}
	for (port = 1; port <= BOARD_USB_DEVICES_MAX && (taken >> port & 1); port++)
		continue;
	if (port > BOARD_USB_DEVICES_MAX)
		return error_set(error, ENOSPC, "at most %u USB devices", BOARD_USB_DEVICES_MAX);
	return json_object_set_new(device, "port", json_integer(port));
}

/* The form of a driver's name that this board has. */
static int check_board(const struct line *line, const struct device_driver *driver, struct error *error)
{
	size_t length = strlen(driver->name), suffix = strlen(MICROVM_SUFFIX);
	bool is_for_microvm = length > suffix && strcmp(driver->name + length - suffix, MICROVM_SUFFIX) == 0;

	if (driver->role == ROLE_DISPLAY && line_is_microvm(line) && !is_for_microvm)
		return error_set(error, ENODEV, "a microvm has no PCI: use virtio-gpu" MICROVM_SUFFIX);
	if (driver->is_virtio && line_is_microvm(line) && !is_for_microvm)
		return error_set(error, ENODEV, "a microvm has no PCI: use %.*s" MICROVM_SUFFIX,
				 (int)strcspn(driver->name + strlen("virtio-"), "-") + (int)strlen("virtio-"),
				 driver->name);
	if (driver->role == ROLE_ROOT_PORT && line->type->board != BOARD_Q35)
		return error_set(error, ENODEV, "PCI Express is on -M q35 alone");
	if (is_for_microvm && !line_is_microvm(line))
		return error_set(error, ENODEV, "it is for -M microvm: use %.*s-pci", (int)(length - suffix),
				 driver->name);
	return 0;
}

/* "virtio-blk" is the one of either board. */
static const struct device_driver *find_driver(const struct line *line, const char *name,
					       struct error *error)
{
	const struct device_driver *driver = device_driver_find(name, error);
	char for_microvm[64];

	if (!driver || !line_is_microvm(line) || !driver->is_virtio || !driver->other_name ||
	    strcmp(driver->other_name, name) != 0)
		return driver;
	snprintf(for_microvm, sizeof(for_microvm), "%s" MICROVM_SUFFIX, name);
	return device_driver_find(for_microvm, error);
}

/* What a device names among the objects. */
static int check_iothread(const struct line *line, const json_t *device, struct error *error)
{
	const char *name = keyval_text(device, "iothread");

	if (!name || object_find(json_object_get(line->said, "object"), "iothread", name))
		return 0;
	return error_set(error, ENOENT, "iothread=%.60s: there is no -object iothread with that id", name);
}

int line_check_device(struct line *line, json_t *device, struct error *error)
{
	const char *name = keyval_text(device, "driver");
	const struct device_driver *driver;

	driver = find_driver(line, name, error);
	if (!driver)
		return name ? -ENODEV : -EINVAL;
	take_globals(line, driver, device);
	if (check_board(line, driver, error) < 0 || device_check(driver, device, error) < 0 ||
	    check_bus(line, driver, keyval_text(device, "bus"), error) < 0 || check_iothread(line, device, error) < 0)
		return -EINVAL;
	/* A CPU's says its model. */
	return driver->role == ROLE_CPU ? 0 : json_object_set_new(device, "driver", json_string(driver->name));
}

static int check_ids(const struct line *line, struct error *error)
{
	const char *id, *other;
	size_t i, j;

	for (i = 0; i < json_array_size(line->devices); i++) {
		id = keyval_text(json_array_get(line->devices, i), "id");
		for (j = 0; id && j < i; j++) {
			other = keyval_text(json_array_get(line->devices, j), "id");
			if (other && strcmp(id, other) == 0)
				return error_set(error, EEXIST, "-device %.60s: Duplicate device ID '%.60s'",
						 keyval_text(json_array_get(line->devices, i), "driver"), id);
		}
	}
	return 0;
}

int line_place_devices(struct line *line, struct error *error)
{
	struct place_use places = {0};
	json_t *device;
	size_t i;
	int result;

	take_chipset(line, &places);
	if (json_array_size(line->devices) > LINE_DEVICES_MAX)
		return error_set(error, ENOSPC, "at most %u devices", LINE_DEVICES_MAX);
	json_array_foreach(line->devices, i, device) {
		result = line_check_device(line, device, error);
		if (result < 0) {
			error_prefix(error, "-device %.60s",
				     keyval_text(device, "driver") ? keyval_text(device, "driver") : "");
			return result;
		}
	}
	if (check_ids(line, error) < 0)
		return -EEXIST;
	result = take_named_places(line, &places, error);
	json_array_foreach(line->devices, i, device)
		if (result == 0 && device_driver_find(keyval_text(device, "driver"), NULL)->is_pci)
			result = choose_place(line, &places, device, error);
	json_array_foreach(line->devices, i, device)
		if (result == 0)
			result = choose_usb_port(line, device, error);
	if (result < 0)
		error_prefix(error, "-device");
	return result;
}

/* Where the devices are that there are. */
static void take_present_places(const struct line *line, struct place_use *places)
{
	const json_t *one;
	unsigned place;
	size_t i;

	take_chipset(line, places);
	json_array_foreach(line->devices, i, one) {
		place = json_integer_value(json_object_get(one, "place"));
		if (place)
			places->is_taken[BOARD_PLACE_PORT(place)][BOARD_PLACE_FUNCTION(place)] = true;
	}
}

static int place_usb(const struct line *line, json_t *device, struct error *error)
{
	const json_t *one;
	size_t i;
	int result = choose_usb_port(line, device, error);

	json_array_foreach(line->devices, i, one)
		if (result == 0 && line_usb_port(one, NULL) == line_usb_port(device, NULL))
			result = error_set(error, EBUSY, "port %d is taken", line_usb_port(device, NULL));
	return result;
}

static int place_on_pci(struct line *line, json_t *device, struct error *error)
{
	const json_t *address = json_object_get(device, "addr");
	unsigned port = line_port_number(line, keyval_text(device, "bus"));
	struct place_use places = {0};
	int at = !address		    ? 0
		 : json_is_integer(address) ? (int)json_integer_value(address)
					    : parse_address(json_string_value(address), error);

	if (at < 0)
		return at;
	/* A device comes alone: functions could not come one after the other (PCI Express 3.0 §6.7). */
	if (port && at != 0)
		return error_set(error, EINVAL, "addr=0x%x: what is plugged in is function 0 of slot 0", at);
	if (at % 8 || at >= PCI_FUNCTIONS)
		return error_set(error, EINVAL, "addr=0x%x.%x: what is plugged in is function 0 of its slot", at / 8,
				 at % 8);
	take_present_places(line, &places);
	if (port && places.is_taken[port][0])
		return error_set(error, EBUSY, "the slot of %.60s is taken", keyval_text(device, "bus"));
	if (!port && !address)
		return choose_place(line, &places, device, error);
	if (!slot_is_free(&places, port, at / 8))
		return error_set(error, EBUSY, "addr=0x%x: the slot is taken or not there", at / 8);
	return take_place(&places, device, port, at, error);
}

int line_place_plugged(struct line *line, json_t *device, struct error *error)
{
	if (device_is_usb(device_driver_find(keyval_text(device, "driver"), NULL)))
		return place_usb(line, device, error);
	return place_on_pci(line, device, error);
}
