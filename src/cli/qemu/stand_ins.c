#include "cli/qemu/stand_ins.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"
#include "util/log.h"

#define OWN_DISPLAY_MIB "16"

enum stand_in_kind {
	STAND_IN_VGA,	     /* a display with a VGA in it */
	STAND_IN_DISPLAY,    /* one without */
	STAND_IN_VIRTIO_VGA, /* the same by virtio, without 3D */
	STAND_IN_VIRTIO_GPU,
	STAND_IN_CONTROLLER, /* for USB devices */
	STAND_IN_POINTER,
	STAND_IN_E1000, /* another of the family, which drivers know as well */
	LEFT_OUT,
	LEFT_OUT_IF_EMPTY, /* a bridge */
};

/* Names that begin so, the longer ones first. */
static const struct stand_in {
	const char *beginning;
	enum stand_in_kind kind;
	const char *why; /* of what is left out */
} table[] = {
	{"virtio-vga-gl", STAND_IN_VIRTIO_VGA},
	{"qxl-vga", STAND_IN_VGA},
	{"cirrus-vga", STAND_IN_VGA},
	{"vmware-svga", STAND_IN_VGA},
	{"ati-vga", STAND_IN_VGA},
	{"virtio-gpu-gl", STAND_IN_VIRTIO_GPU},
	{"ramfb", STAND_IN_DISPLAY},
	{"secondary-vga", STAND_IN_DISPLAY},
	{"qxl", STAND_IN_DISPLAY},
	{"usb-ehci", STAND_IN_CONTROLLER},
	{"ich9-usb-ehci", STAND_IN_CONTROLLER},
	{"ich9-usb-uhci", STAND_IN_CONTROLLER},
	{"piix3-usb-uhci", STAND_IN_CONTROLLER},
	{"piix4-usb-uhci", STAND_IN_CONTROLLER},
	{"pci-ohci", STAND_IN_CONTROLLER},
	{"virtio-tablet", STAND_IN_POINTER},
	{"e1000-82544gc", STAND_IN_E1000},
	{"e1000-82545em", STAND_IN_E1000},
	{"virtio-keyboard", LEFT_OUT, "the PS/2 keyboard is there"},
	{"virtio-mouse", LEFT_OUT, "the PS/2 mouse is there"},
	{"vmmouse", LEFT_OUT, "the PS/2 mouse is there"},
	{"AC97", LEFT_OUT, "there is no sound"},
	{"ES1370", LEFT_OUT, "there is no sound"},
	{"sb16", LEFT_OUT, "there is no sound"},
	{"adlib", LEFT_OUT, "there is no sound"},
	{"cs4231a", LEFT_OUT, "there is no sound"},
	{"gus", LEFT_OUT, "there is no sound"},
	{"hda-", LEFT_OUT, "there is no sound"},
	{"intel-hda", LEFT_OUT, "there is no sound"},
	{"ich9-intel-hda", LEFT_OUT, "there is no sound"},
	{"usb-audio", LEFT_OUT, "there is no sound"},
	{"virtio-sound", LEFT_OUT, "there is no sound"},
	{"usb-redir", LEFT_OUT, "there is no viewer that has USB devices"},
	{"usb-ccid", LEFT_OUT, "there is no viewer that has smart cards"},
	{"ccid-card-", LEFT_OUT, "there is no viewer that has smart cards"},
	{"sga", LEFT_OUT, "firmware prints to the serial port by -nographic"},
	{"pci-bridge", LEFT_OUT_IF_EMPTY, "nothing is behind it, and nothing can be put there"},
	{"i82801b11-bridge", LEFT_OUT_IF_EMPTY, "nothing is behind it, and nothing can be put there"},
	{"pcie-pci-bridge", LEFT_OUT_IF_EMPTY, "nothing is behind it, and nothing can be put there"},
};

static const struct stand_in *find(const json_t *device)
{
	const char *name = keyval_text(device, "driver");
	unsigned i;

	for (i = 0; name && i < sizeof(table) / sizeof(table[0]); i++)
		if (strncmp(name, table[i].beginning, strlen(table[i].beginning)) == 0)
			return &table[i];
	return NULL;
}

static bool is_driver(const json_t *device, const char *name)
{
	const char *driver = keyval_text(device, "driver");

	return driver && strcmp(driver, name) == 0;
}

/* The device is another from now on, with nothing of what was said but its id. */
static void become(json_t *device, const char *driver)
{
	json_t *id = json_incref(json_object_get(device, "id"));

	log_hint("-device %.60s: %s stands in for it", keyval_text(device, "driver"), driver);
	json_object_clear(device);
	json_object_set_new(device, "driver", json_string(driver));
	if (id)
		json_object_set_new(device, "id", id);
}

static void leave_out(json_t *devices, size_t index, const char *why)
{
	log_hint("-device %.60s is left out: %s", keyval_text(json_array_get(devices, index), "driver"), why);
	json_array_remove(devices, index);
}

/* -- displays -- */

/* Whether there is one without any -device. */
static bool has_own_display(const struct line *line)
{
	const char *vga = text(line, "vga");

	return vga ? strcmp(vga, "none") != 0 : !has(line, "nodefaults") && !has(line, "kernel");
}

static bool is_display(const json_t *device)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), NULL);

	return driver && driver->role == ROLE_DISPLAY;
}

/* What stands in for a display; NULL: it is not one, or is there itself. */
static const char *other_display(const json_t *device)
{
	const struct stand_in *stand_in = find(device);

	switch (stand_in ? stand_in->kind : LEFT_OUT) {
	case STAND_IN_VGA: return "VGA";
	case STAND_IN_DISPLAY: return "bochs-display";
	case STAND_IN_VIRTIO_VGA: return "virtio-vga";
	case STAND_IN_VIRTIO_GPU: return "virtio-gpu-pci";
	default: return NULL;
	}
}

/* Whether it is one that people have beside a VGA. */
static bool is_second_display(const json_t *device)
{
	return is_driver(device, "virtio-gpu-pci") || is_driver(device, "virtio-gpu");
}

static void take_displays(const struct line *line, json_t *devices)
{
	bool has_one = text(line, "vga") && has_own_display(line), is_second;
	const char *other;
	json_t *device;
	size_t i;

	json_array_foreach(devices, i, device) {
		has_one |= is_display(device) && !is_second_display(device);
		if (is_driver(device, "VGA") && json_object_get(device, "vgamem_mb"))
			json_object_set_new(device, "vgamem_mb", json_string(OWN_DISPLAY_MIB));
	}
	for (i = 0; i < json_array_size(devices); i++) {
		device = json_array_get(devices, i);
		other = other_display(device);
		is_second = is_second_display(device);
		if (!other && !is_second)
			continue;
		if (has_one || (other && strcmp(other, "bochs-display") == 0 && has_own_display(line))) {
			leave_out(devices, i--, "there is one display");
			continue;
		}
		has_one = true;
		if (other)
			become(device, other);
	}
}

/* -- USB -- */

static bool is_controller(const json_t *device)
{
	const struct stand_in *stand_in = find(device);

	return is_driver(device, "qemu-xhci") || is_driver(device, "nec-usb-xhci") ||
	       (stand_in && stand_in->kind == STAND_IN_CONTROLLER);
}

/* Whether the bus is "ID.0". */
static bool is_bus_of(const char *bus, const char *id)
{
	size_t length = id ? strlen(id) : 0;

	return length && strncmp(bus, id, length) == 0 && strcmp(bus + length, ".0") == 0;
}

/* What was on one controller is on the other: its bus, and the first port that is free. */
static void move_to(json_t *devices, const json_t *from, const json_t *to)
{
	const char *id = keyval_text(to, "id"), *bus;
	json_t *device;
	size_t i;

	json_array_foreach(devices, i, device) {
		bus = keyval_text(device, "bus");
		if (!bus || !is_bus_of(bus, keyval_text(from, "id")))
			continue;
		json_object_del(device, "port");
		json_object_set_new(device, "bus", id ? json_sprintf("%s.0", id) : json_string("usb-bus.0"));
	}
}

/* The one that stays: an xHCI if there is one, or else the first. */
static json_t *choose_controller(json_t *devices)
{
	json_t *device, *first = NULL;
	size_t i;

	json_array_foreach(devices, i, device) {
		if (!is_controller(device))
			continue;
		if (!find(device))
			return device;
		first = first ? first : device;
	}
	return first;
}

static void take_controllers(json_t *devices)
{
	json_t *kept = choose_controller(devices), *device;
	size_t i;

	for (i = 0; kept && i < json_array_size(devices); i++) {
		device = json_array_get(devices, i);
		if (device == kept || !is_controller(device) || !find(device))
			continue;
		move_to(devices, device, kept);
		leave_out(devices, i--, "there is one USB controller, and what it had is on that");
	}
	if (kept && find(kept)) {
		move_to(devices, kept, kept);
		become(kept, "qemu-xhci");
	}
}

/* -- the others -- */

static bool has_something_behind(const json_t *devices, const json_t *bridge)
{
	const char *id = keyval_text(bridge, "id"), *bus;
	const json_t *device;
	size_t i;

	json_array_foreach((json_t *)devices, i, device) {
		bus = keyval_text(device, "bus");
		if (id && bus && strcmp(bus, id) == 0)
			return true;
	}
	return false;
}

/* With its network and address. */
static void become_e1000(json_t *device)
{
	log_hint("-device %.60s: e1000 stands in for it", keyval_text(device, "driver"));
	json_object_set_new(device, "driver", json_string("e1000"));
}

/* From the last to the first: a bridge behind a bridge goes first. */
static void take_others(json_t *devices)
{
	size_t i = json_array_size(devices);
	const struct stand_in *stand_in;
	json_t *device;

	while (i--) {
		device = json_array_get(devices, i);
		stand_in = find(device);
		if (!stand_in)
			continue;
		if (stand_in->kind == STAND_IN_POINTER) {
			become(device, "usb-tablet");
			if (!choose_controller(devices))
				json_array_append_new(devices, json_pack("{s:s}", "driver", "qemu-xhci"));
		}
		if (stand_in->kind == STAND_IN_E1000)
			become_e1000(device);
		if (stand_in->kind == LEFT_OUT ||
		    (stand_in->kind == LEFT_OUT_IF_EMPTY && !has_something_behind(devices, device)))
			leave_out(devices, i, stand_in->why);
	}
}

/* Of a viewer's side: nobody is there. */
static void take_chardevs(json_t *chardevs)
{
	static const char *const names[] = {"spicevmc", "spiceport", "qemu-vdagent", "dbus", "msmouse", "wctablet", "braille"};
	const char *backend, *id;
	json_t *one;
	unsigned j;
	size_t i;

	json_array_foreach(chardevs, i, one) {
		backend = keyval_text(one, "backend");
		for (j = 0; backend && j < sizeof(names) / sizeof(names[0]); j++) {
			if (strcmp(backend, names[j]) != 0)
				continue;
			log_hint("-chardev %s: nobody is there: null stands in for it", backend);
			id = keyval_text(one, "id");
			json_array_set_new(chardevs, i, json_pack("{s:s,s:s?}", "backend", "null", "id", id));
			break;
		}
	}
}

/* A larger display's memory: there is one size. */
static void take_globals(json_t *globals)
{
	const char *property;
	json_t *one;
	size_t i;

	json_array_foreach(globals, i, one) {
		property = keyval_text(one, "property");
		if (is_driver(one, "VGA") && property && strcmp(property, "vgamem_mb") == 0)
			json_object_set_new(one, "value", json_string(OWN_DISPLAY_MIB));
	}
}

void stand_ins_take(struct line *line)
{
	json_t *devices = json_object_get(line->said, "device");

	take_chardevs(json_object_get(line->said, "chardev"));
	take_globals(json_object_get(line->said, "global"));
	if (!devices || line->type->board == BOARD_MICROVM)
		return;
	take_displays(line, devices);
	take_others(devices);
	take_controllers(devices);
}

const char *stand_in_of_vga(const char *name)
{
	static const char *const alike[] = {"cirrus", "qxl", "vmware"};
	unsigned i;

	for (i = 0; i < sizeof(alike) / sizeof(alike[0]); i++) {
		if (strcmp(name, alike[i]) != 0)
			continue;
		log_hint("-vga %s: std stands in for it", name);
		return "std";
	}
	return strcmp(name, "std") == 0 || strcmp(name, "virtio") == 0 || strcmp(name, "none") == 0 ? name : NULL;
}

const char *stand_in_of_display(const char *name)
{
	static const char *const windows[] = {"gtk", "sdl", "curses", "cocoa", "vnc", "spice-app", "dbus", "default"};
	size_t length = strcspn(name, ",=");
	unsigned i;

	if (length == strlen("none") && strncmp(name, "none", length) == 0)
		return "none";
	if (length == strlen("egl-headless") && strncmp(name, "egl-headless", length) == 0)
		return "none";
	for (i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		if (strlen(windows[i]) != length || strncmp(name, windows[i], length) != 0)
			continue;
		log_hint("-display %s: nothing shows the display here: a monitor takes pictures of it (screendump)",
			 windows[i]);
		return "none";
	}
	return NULL;
}
