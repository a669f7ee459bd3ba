#include "cli/qemu/line_devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/net_rom.h"
#include "cli/qemu/boot_turn.h"
#include "cli/qemu/devices.h"
#include "cli/qemu/folders.h"
#include "cli/qemu/interface.h"
#include "cli/qemu/limits.h"
#include "cli/qemu/line_cpus.h"
#include "cli/qemu/line_memory.h"
#include "cli/qemu/line_places.h"
#include "cli/qemu/storage.h"
#include "cli/qemu/tpm.h"
#include "device/pcie_root_port.h"
#include "device/virtio/disk.h"
#include "device/virtio/gpu.h"
#include "machine/board.h"

/* A GPU's display likes this best, as QEMU's. */
#define GPU_WIDTH  1280
#define GPU_HEIGHT 800

static unsigned place_of(const json_t *device)
{
	return json_integer_value(json_object_get(device, "place"));
}

static int add_root_port(struct line *line, const json_t *device, struct error *error)
{
	struct board_root_port *port = &line->config.root_ports[line->config.root_port_count];
	uint64_t number = 0, slot = 0;

	if (line->config.root_port_count == BOARD_ROOT_PORTS_MAX)
		return error_set(error, ENOSPC, "at most %u root ports", BOARD_ROOT_PORTS_MAX);
	if (keyval_number(device, "port", UINT8_MAX, &number, error) < 0 ||
	    keyval_number(device, "slot", PCIE_SLOT_NUMBER_MAX, &slot, error) < 0)
		return -EINVAL;
	*port = (struct board_root_port){place_of(device), number, slot};
	line->config.root_port_count++;
	return 0;
}

static int open_disk(struct line *line, const json_t *device, struct error *error)
{
	struct board_disk *disk = &line->config.disks[line->config.disk_count];
	const char *name = keyval_text(device, "drive");
	struct drive *drive = name ? drives_find(&line->drives, name) : NULL;
	struct boot_turn turn;
	uint64_t queues = 0;
	int result;

	if (!drive)
		return error_set(error, ENOENT, name ? "drive=%.60s: there is no such -drive or -blockdev"
						     : "drive=ID is needed", name);
	if (line->config.disk_count == BOARD_DISKS_MAX)
		return error_set(error, ENOSPC, "at most %u disks", BOARD_DISKS_MAX);
	if (keyval_number(device, "num-queues", UINT16_MAX, &queues, error) < 0)
		return -EINVAL;
	result = boot_turn_of(line, device, 'c', line->config.disk_count, &turn, error);
	if (result < 0)
		return result;
	*disk = (struct board_disk){
		.boot_plus_1 = turn.plus_1,
		.later_boot_plus_1 = turn.later_plus_1,
		.queues = queues > VIRTIO_DISK_QUEUES_MAX ? VIRTIO_DISK_QUEUES_MAX : queues,
		.pci_place = place_of(device),
		.rings = rings_of_device(device),
	};
	result = interface_of_device(device, &disk->interface, error);
	if (result == 0)
		result = limits_open(&line->drives, drive, device, false, &disk->block, error);
	if (result == 0)
		line->config.disk_count++;
	return result;
}

/* A PC's card has a ROM for firmware, if one is there: one that is to boot, or that names it, has to have it. */
static int read_net_rom(struct line *line, const json_t *device, struct board_net *net, struct error *error)
{
	const char *file = keyval_text(device, "romfile");
	uint64_t has_bar = 1;
	int result;

	if (keyval_number(device, "rombar", 1, &has_bar, error) < 0)
		return -EINVAL;
	/* What comes later comes too late for firmware. */
	if (!has_bar || (file && !*file) || line->nets.has_started || !line->config.boot.firmware.code)
		return 0;
	result = net_rom_read(file, net, error);
	return result == -ENOENT && !file && !net->may_boot ? 0 : result;
}

static int open_network(struct line *line, const json_t *device, struct error *error)
{
	unsigned number = line->config.net_count;
	struct board_net *net = &line->config.nets[number];
	struct boot_turn turn;
	enum board_interface interface;
	int result = interface_of_device(device, &interface, error);

	if (result < 0)
		return result;
	if (number == BOARD_NETS_MAX)
		return error_set(error, ENOSPC, "at most %u network devices", BOARD_NETS_MAX);
	result = boot_turn_of(line, device, 'n', number, &turn, error);
	if (result == 0)
		result = nets_open(&line->nets, device, number, net, error);
	if (result < 0)
		return result;
	net->place = place_of(device);
	net->interface = interface;
	net->boot_plus_1 = turn.plus_1;
	net->later_boot_plus_1 = turn.later_plus_1;
	net->may_boot = turn.plus_1 || turn.later_plus_1;
	result = read_net_rom(line, device, net, error);
	if (result < 0)
		board_net_close(net);
	else
		line->config.net_count++;
	return result;
}

/* One that `kvik run --device` has, too, by its text. */
static int add_option(struct line *line, const char *name, const json_t *device, struct error *error)
{
	static const char *const numbers[] = {"iobase", "iosize", "ioport", "membar"};
	static const char *const switches[] = {"packed", "event_idx", "indirect_desc", "deflate-on-oom",
					       "free-page-reporting"};
	char text[256];
	unsigned i, used = snprintf(text, sizeof(text), "%s", name);
	uint64_t value;
	struct device_option *option;
	enum board_interface interface;
	int result = interface_of_device(device, &interface, error);

	if (result < 0)
		return result;
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (!json_object_get(device, numbers[i]))
			continue;
		if (keyval_size(device, numbers[i], 1, &value, error) < 0)
			return -EINVAL;
		used += snprintf(text + used, sizeof(text) - used, ",%s=%llu", numbers[i],
				 (unsigned long long)value);
	}
	for (i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		if (json_object_get(device, switches[i]))
			used += snprintf(text + used, sizeof(text) - used, ",%s=%d", switches[i],
					 json_is_true(json_object_get(device, switches[i])));
	/* Only QEMU's has to be asked for that. */
	if (strcmp(name, "virtio-balloon") == 0 && !json_object_get(device, "deflate-on-oom"))
		snprintf(text + used, sizeof(text) - used, ",deflate-on-oom=0");
	if (line->config.device_count == DEVICE_OPTIONS_MAX)
		return error_set(error, ENOSPC, "at most %u devices", DEVICE_OPTIONS_MAX);
	option = &line->config.devices[line->config.device_count++];
	result = device_option_parse(option, text, error);
	option->place = place_of(device);
	option->interface = interface;
	return result;
}

static int check_entropy(const struct line *line, const json_t *device, struct error *error)
{
	const char *name = keyval_text(device, "rng");
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(line->said, "object"), i, one)
		if (name && keyval_text(one, "id") && strcmp(keyval_text(one, "id"), name) == 0)
			return strncmp(keyval_text(one, "qom-type"), "rng-", 4) == 0
				       ? 0
				       : error_set(error, EINVAL, "rng=%.60s is none", name);
	return name ? error_set(error, ENOENT, "rng=%.60s: there is no such -object", name) : 0;
}

static int open_vsock(struct line *line, const json_t *device, struct error *error)
{
	struct board_vsock *vsock = &line->config.vsock;
	const char *path = keyval_text(device, "socket");
	enum board_interface interface; /* there is one */
	uint64_t cid = 0;
	int result = interface_of_device(device, &interface, error);

	if (result < 0)
		return result;
	if (vsock->guest_cid)
		return error_set(error, EEXIST, "a guest has one of these");
	if (keyval_number(device, "guest-cid", VSOCK_CID_MAX, &cid, error) < 0)
		return -EINVAL;
	if (cid < VSOCK_CID_MIN)
		return error_set(error, EINVAL, "guest-cid=N is needed, from %u on", VSOCK_CID_MIN);
	if (!path)
		return error_set(error, EINVAL, "add socket=PATH: the host's kernel has no part in it here, "
						"and its programs connect there");
	result = vsock_host_open(&vsock->host, path, error);
	if (result < 0)
		return result;
	vsock->guest_cid = cid;
	vsock->place = place_of(device);
	vsock->rings = rings_of_device(device);
	return 0;
}

static int open_folder(struct line *line, const json_t *device, struct error *error)
{
	struct board_share *share = &line->config.shares[line->config.share_count];
	enum board_interface interface;
	int result = interface_of_device(device, &interface, error);

	if (result < 0)
		return result;
	if (line->config.share_count == BOARD_SHARES_MAX)
		return error_set(error, ENOSPC, "at most %u folders", BOARD_SHARES_MAX);
	result = fsdev_open(json_object_get(line->said, "fsdev"), json_object_get(line->said, "virtfs"),
			     device, share, error);
	if (result < 0)
		return result;
	share->place = place_of(device);
	share->interface = interface;
	share->rings = rings_of_device(device);
	line->config.share_count++;
	return 0;
}

static int check_side(const char *name, uint64_t pixels, uint64_t most, struct error *error)
{
	if (pixels >= VIRTIO_GPU_SIDE_MIN && pixels <= most)
		return 0;
	return error_set(error, EINVAL, "%s=%llu: use %u to %llu%s", name, (unsigned long long)pixels, VIRTIO_GPU_SIDE_MIN,
			 (unsigned long long)most, most < VIRTIO_GPU_SIDE_MAX ? ", or say edid=off" : "");
}

static int read_gpu(const json_t *device, struct board_gpu *gpu, struct error *error)
{
	uint64_t outputs = 1, width = GPU_WIDTH, height = GPU_HEIGHT, most, memory_bytes = VIRTIO_GPU_MEMORY_BYTES;
	enum board_interface interface;

	if (interface_of_device(device, &interface, error) < 0 ||
	    keyval_number(device, "max_outputs", VIRTIO_GPU_OUTPUTS_MAX, &outputs, error) < 0 ||
	    keyval_number(device, "xres", UINT32_MAX, &width, error) < 0 ||
	    keyval_number(device, "yres", UINT32_MAX, &height, error) < 0 ||
	    keyval_size(device, "max_hostmem", 1, &memory_bytes, error) < 0)
		return -EINVAL;
	gpu->has_no_edid = json_is_false(json_object_get(device, "edid"));
	most = gpu->has_no_edid ? VIRTIO_GPU_SIDE_MAX : VIRTIO_GPU_EDID_SIDE_MAX;
	if (!outputs)
		return error_set(error, EINVAL, "max_outputs=0: use 1 to %u", VIRTIO_GPU_OUTPUTS_MAX);
	if (memory_bytes > VIRTIO_GPU_MEMORY_BYTES_MAX)
		return error_set(error, EINVAL, "max_hostmem=%llu: use up to %lluM", (unsigned long long)memory_bytes,
				 VIRTIO_GPU_MEMORY_BYTES_MAX >> 20);
	if (check_side("xres", width, most, error) < 0 || check_side("yres", height, most, error) < 0)
		return -EINVAL;
	gpu->outputs = outputs;
	gpu->width = width;
	gpu->height = height;
	gpu->memory_bytes = memory_bytes;
	gpu->rings = rings_of_device(device);
	return 0;
}

static int open_display(struct line *line, const json_t *device, struct error *error)
{
	static const struct {
		const char *name;
		enum board_display display;
	} displays[] = {{"VGA", BOARD_VGA}, {"bochs-display", BOARD_PLAIN_DISPLAY}, {"virtio-vga", BOARD_VIRTIO_VGA},
			{"virtio-gpu-pci", BOARD_VIRTIO_GPU}, {"virtio-gpu-device", BOARD_VIRTIO_GPU}};
	struct machine_config *config = &line->config;
	const char *driver = keyval_text(device, "driver");
	unsigned i;

	if (config->display)
		return error_set(error, ENOTSUP, "there is one display: leave it out, or say -vga none");
	for (i = 0; strcmp(displays[i].name, driver) != 0; i++)
		continue;
	config->display = displays[i].display;
	config->display_place = place_of(device);
	return strncmp(driver, "virtio-", strlen("virtio-")) == 0 ? read_gpu(device, &config->gpu, error) : 0;
}

static int add_xhci(struct line *line, const json_t *device, struct error *error)
{
	struct board_usb *usb = &line->config.usb;

	if (usb->has_controller)
		return error_set(error, ENOTSUP, "there is one USB controller: leave this one out");
	if (line_is_microvm(line))
		return error_set(error, ENOTSUP, "a microvm has no USB");
	usb->has_controller = true;
	usb->place = place_of(device);
	return 0;
}

static int add_usb_device(struct line *line, const json_t *device, struct error *error)
{
	static const struct {
		const char *name;
		enum board_usb_kind kind;
	} kinds[] = {
		{"usb-tablet", BOARD_USB_TABLET}, {"usb-mouse", BOARD_USB_MOUSE}, {"usb-kbd", BOARD_USB_KEYBOARD}};
	struct board_usb *usb = &line->config.usb;
	const char *name = keyval_text(device, "driver");
	int port = line_usb_port(device, error);
	unsigned i;

	if (port < 0)
		return port;
	if (usb->device_count == BOARD_USB_DEVICES_MAX)
		return error_set(error, ENOSPC, "at most %u USB devices", BOARD_USB_DEVICES_MAX);
	for (i = 0; strcmp(kinds[i].name, name) != 0; i++)
		continue;
	usb->devices[usb->device_count++] = (struct board_usb_device){kinds[i].kind, port};
	return 0;
}

static int open_device(struct line *line, const json_t *device, struct error *error)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), error);

	switch (driver->role) {
	case ROLE_DISK: return open_disk(line, device, error);
	case ROLE_NVME:
	case ROLE_IDE_DISK:
	case ROLE_USB_DISK:
	case ROLE_SCSI_DISK: return storage_open(line, driver, device, error);
	case ROLE_NETWORK: return open_network(line, device, error);
	case ROLE_ENTROPY:
		if (check_entropy(line, device, error) < 0)
			return -EINVAL;
		return add_option(line, "virtio-rng", device, error);
	case ROLE_BALLOON: return add_option(line, "virtio-balloon", device, error);
	case ROLE_FOLDER: return open_folder(line, device, error);
	case ROLE_VSOCK: return open_vsock(line, device, error);
	case ROLE_SERIAL_BUS:
		line->config.console_place = place_of(device);
		line->config.console_rings = rings_of_device(device);
		return interface_of_device(device, &line->config.console_interface, error);
	case ROLE_ROOT_PORT: return add_root_port(line, device, error);
	case ROLE_DISPLAY: return open_display(line, device, error);
	case ROLE_XHCI: return add_xhci(line, device, error);
	case ROLE_USB_DEVICE: return add_usb_device(line, device, error);
	case ROLE_TPM: return tpm_open(line, device, error);
	case ROLE_CPU: return line_add_cpu(line, device, error);
	case ROLE_DIMM: return line_add_dimm(line, device, error);
	case ROLE_OPTION: return add_option(line, driver->name, device, error);
	default: return 0; /* line_connect */
	}
}

static bool has_usb_device(const struct line *line)
{
	const json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one)
		if (device_is_usb(device_driver_find(keyval_text(one, "driver"), NULL)))
			return true;
	return false;
}

int line_open_devices(struct line *line, struct error *error)
{
	struct machine_config *config = &line->config;
	json_t *device;
	size_t i;
	int result = storage_add_controllers(line, error);

	if (result < 0)
		return result;
	json_array_foreach(line->devices, i, device) {
		result = open_device(line, device, error);
		if (result < 0) {
			error_prefix(error, "-device %.60s", keyval_text(device, "driver"));
			break;
		}
	}
	if (result == 0 && has_usb_device(line) && !config->usb.has_controller)
		result = error_set(error, ENODEV, "No 'usb-bus' bus found for USB devices: add -device qemu-xhci");
	/* Nobody but a VGA has a use for its BIOS, and without one firmware prints to the serial port. */
	if (config->display == BOARD_VIRTIO_VGA)
		config->boot.firmware.vga_rom = config->boot.firmware.virtio_vga_rom;
	if (!board_display_is_vga(config->display)) {
		config->boot.firmware.vga_rom = NULL;
		config->firmware_is_silent = false;
	}
	if (result == 0)
		result = nets_start(&line->nets, config->root_port_count || line->type->board == BOARD_PC, error);
	while (result < 0 && config->disk_count)
		block_close(config->disks[--config->disk_count].block, NULL);
	while (result < 0 && config->net_count)
		board_net_close(&config->nets[--config->net_count]);
	while (result < 0 && config->share_count)
		share_close(&config->shares[--config->share_count].share);
	if (result < 0)
		board_vsock_close(&config->vsock);
	return result;
}

/* -- devices that come and go -- */

unsigned line_device_slot(const struct line *line, const json_t *device)
{
	unsigned place = place_of(device);
	int at_usb = line_usb_port(device, NULL);

	if (at_usb > 0)
		return BOARD_USB_PLACE(at_usb);
	if (json_object_get(device, "scsi place"))
		return json_integer_value(json_object_get(device, "scsi place"));
	if (!place || (!BOARD_PLACE_PORT(place) && line->type->board != BOARD_PC))
		return 0;
	return BOARD_PLACE_SLOT(place);
}

static json_t *find_device(const struct line *line, const char *id)
{
	json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one)
		if (keyval_text(one, "id") && strcmp(keyval_text(one, "id"), id) == 0)
			return one;
	return NULL;
}

int line_check_plugged(struct line *line, json_t *device, struct error *error)
{
	const char *id = keyval_text(device, "id");
	int result = line_check_device(line, device, error);

	if (result < 0)
		return result;
	if (id && find_device(line, id))
		return error_set(error, EEXIST, "Duplicate device ID '%.60s'", id);
	if (json_array_size(line->devices) == LINE_DEVICES_MAX)
		return error_set(error, ENOSPC, "at most %u devices", LINE_DEVICES_MAX);
	return 0;
}

static int check_plugged(struct line *line, json_t *device, struct error *error)
{
	const struct device_driver *driver;
	const char *bus = keyval_text(device, "bus");
	int result = line_check_plugged(line, device, error);

	if (result < 0)
		return result;
	driver = device_driver_find(keyval_text(device, "driver"), error);
	if (driver->role == ROLE_USB_DISK && storage_is_cdrom(line, device))
		return error_set(error, ENOTSUP, "a CD-ROM drive does not support hotplugging: have it from the start");
	if (device_is_usb(driver))
		return line->config.usb.has_controller
			       ? 0
			       : error_set(error, ENODEV, "No 'usb-bus' bus found for device '%.60s'", driver->name);
	if (driver->role == ROLE_SCSI_DISK)
		return storage_has_scsi(line)
			       ? 0
			       : error_set(error, ENODEV, "No 'SCSI' bus found for device '%.60s'", driver->name);
	if (driver->role != ROLE_DISK && driver->role != ROLE_NETWORK && driver->role != ROLE_ENTROPY &&
	    driver->role != ROLE_BALLOON && driver->role != ROLE_NVME && driver->role != ROLE_SCSI_ADAPTER && (driver->role != ROLE_OPTION || !driver->is_pci))
		return error_set(error, ENOTSUP, "Device '%.60s' does not support hotplugging", driver->name);
	if (!line_port_number(line, bus) && line->type->board != BOARD_PC)
		return error_set(error, ENOTSUP,
				 "Bus '%.60s' does not support hotplugging: say bus= of a pcie-root-port",
				 bus ? bus : "pcie.0");
	return 0;
}

/* As the network devices before it have theirs, where it does not say one. */
static void give_mac(const struct line *line, json_t *device)
{
	const struct device_driver *driver;
	unsigned count = 0;
	json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one) {
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		count += driver && driver->role == ROLE_NETWORK;
	}
	if (!json_object_get(device, "mac"))
		json_object_set_new(device, "mac", json_sprintf("52:54:00:12:34:%02x", (0x56 + count) & 0xff));
}

int line_plug_device(struct line *line, json_t *device, struct board_plug *plug, struct error *error)
{
	struct machine_config *config = &line->config;
	const struct device_driver *driver;
	int result = check_plugged(line, device, error), controller = -1;

	if (result < 0)
		return result;
	driver = device_driver_find(keyval_text(device, "driver"), error);
	if (driver->role != ROLE_SCSI_DISK)
		result = line_place_plugged(line, device, error);
	if (result < 0)
		return result;
	if (driver->role == ROLE_NETWORK)
		give_mac(line, device);
	/* What was there is the machine's. */
	config->disk_count = config->net_count = config->device_count = config->usb.device_count = 0;
	result = driver->role == ROLE_SCSI_ADAPTER ? controller = storage_add_controller(line, driver, device, error)
						   : open_device(line, device, error);
	if (result < 0)
		return result;
	*plug = (struct board_plug){
		.disk = config->disk_count ? &config->disks[0] : NULL,
		.net = config->net_count ? &config->nets[0] : NULL,
		.option = config->device_count ? &config->devices[0] : NULL,
		.usb = config->usb.device_count ? &config->usb.devices[0] : NULL,
		.controller = controller < 0 ? NULL : &config->controllers[controller],
		.controller_number = controller < 0 ? 0 : controller,
	};
	config->disk_count = config->net_count = config->device_count = config->usb.device_count = 0;
	return json_array_append(line->devices, device);
}

void line_unplug_device(struct line *line, json_t *device)
{
	size_t i;

	for (i = 0; i < json_array_size(line->devices); i++)
		if (json_array_get(line->devices, i) == device) {
			json_array_remove(line->devices, i);
			return;
		}
}

/* -- streams -- */

static struct char_stream *use(struct line *line, const char *id, struct error *error)
{
	struct chardev *chardev = id ? chardevs_find(&line->chardevs, id) : NULL;

	if (chardev)
		return chardev_use(chardev, error);
	error_set(error, ENOENT, "chardev=%.60s: there is no -chardev with that id", id ? id : "");
	return NULL;
}

static int connect_port(struct line *line, const json_t *device, bool is_console, struct error *error)
{
	struct virtio_console_port *port = &line->config.ports[line->config.port_count];
	const char *name = keyval_text(device, "name");

	if (line->config.port_count == VIRTIO_CONSOLE_PORTS_MAX)
		return error_set(error, ENOSPC, "at most %u consoles and ports", VIRTIO_CONSOLE_PORTS_MAX);
	if (name && strlen(name) > VIRTIO_CONSOLE_NAME_MAX)
		return error_set(error, EINVAL, "name=: at most %u characters", VIRTIO_CONSOLE_NAME_MAX);
	port->stream = use(line, keyval_text(device, "chardev"), error);
	port->name = is_console ? NULL : name ? name : "";
	if (!port->stream)
		return -EINVAL;
	line->ports[line->config.port_count++] = device;
	return 0;
}

/* Of a port, COM1 to COM4. */
static struct char_stream **serial_stream(struct board_streams *streams, unsigned port)
{
	return port ? &streams->more_serial[port - 1] : &streams->serial;
}

/* isa-serial: the port that it says, by its number or by its address, or the first that is free. */
static int connect_serial(struct line *line, const json_t *device, struct error *error)
{
	static const uint16_t addresses[BOARD_SERIALS_MAX] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
	struct board_streams *streams = &line->config.streams;
	uint64_t port = BOARD_SERIALS_MAX, address = 0, irq = 0;

	if (keyval_number(device, "index", BOARD_SERIALS_MAX - 1, &port, error) < 0 ||
	    keyval_number(device, "iobase", UINT16_MAX, &address, error) < 0 ||
	    keyval_number(device, "irq", 15, &irq, error) < 0)
		return -EINVAL;
	if (port == BOARD_SERIALS_MAX)
		for (port = 0; port < BOARD_SERIALS_MAX; port++)
			if (address ? addresses[port] == address : !*serial_stream(streams, port))
				break;
	if (port == BOARD_SERIALS_MAX || (address && addresses[port] != address) ||
	    (irq && irq != (port % 2 ? 3 : 4)))
		return error_set(error, ENOTSUP, "a PC's serial ports are 0x3f8 (irq 4), 0x2f8 (3), 0x3e8 (4) and "
						 "0x2e8 (3)");
	if (port && line->type->board == BOARD_MICROVM)
		return error_set(error, ENOTSUP, "a microvm has one serial port");
	if (*serial_stream(streams, port))
		return error_set(error, EBUSY, "serial port %u is taken", (unsigned)port);
	*serial_stream(streams, port) = use(line, keyval_text(device, "chardev"), error);
	return *serial_stream(streams, port) ? 0 : -EINVAL;
}

static int connect_device(struct line *line, const json_t *device, bool consoles, struct error *error)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), error);
	struct board_streams *streams = &line->config.streams;

	switch (driver->role) {
	case ROLE_CONSOLE: return consoles ? connect_port(line, device, true, error) : 0;
	case ROLE_PORT: return consoles ? 0 : connect_port(line, device, false, error);
	case ROLE_ISA_SERIAL:
		if (consoles)
			return 0;
		return connect_serial(line, device, error);
	case ROLE_ISA_DEBUGCON:
		if (consoles)
			return 0;
		streams->debug_console = use(line, keyval_text(device, "chardev"), error);
		return streams->debug_console ? 0 : -EINVAL;
	default: return 0;
	}
}

int line_connect(struct line *line, struct error *error)
{
	struct board_streams *streams = &line->config.streams;
	json_t *device;
	unsigned pass;
	size_t i;
	int result;

	/* The serial ports have the keys of a shared console first. */
	for (i = 0; i < BOARD_SERIALS_MAX; i++) {
		if (line->serials[i] < 0)
			continue;
		*serial_stream(streams, i) = chardev_use(&line->chardevs.list[line->serials[i]], error);
		if (!*serial_stream(streams, i))
			return -EINVAL;
	}
	if (line->debug_console >= 0) {
		streams->debug_console = chardev_use(&line->chardevs.list[line->debug_console], error);
		if (!streams->debug_console)
			return -EINVAL;
	}
	/* The console comes first: it is what a driver has that knows of no ports. */
	for (pass = 0; pass < 2; pass++) {
		json_array_foreach(line->devices, i, device) {
			result = connect_device(line, device, pass == 0, error);
			if (result < 0) {
				error_prefix(error, "-device %.60s", keyval_text(device, "driver"));
				return result;
			}
		}
	}
	return 0;
}
