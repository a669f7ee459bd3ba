#include "cli/qemu/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/accel.h"
#include "cli/qemu/devices.h"
#include "cli/qemu/drive_name.h"
#include "cli/qemu/folders.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_boot.h"
#include "cli/qemu/line_clock.h"
#include "cli/qemu/line_consoles.h"
#include "cli/qemu/line_cpus.h"
#include "cli/qemu/line_memory.h"
#include "cli/qemu/line_devices.h"
#include "cli/qemu/line_firmware.h"
#include "cli/qemu/line_gdb.h"
#include "cli/qemu/line_nets.h"
#include "cli/qemu/line_places.h"
#include "cli/qemu/line_said.h"
#include "cli/qemu/memory_backend.h"
#include "cli/qemu/net_dump.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/parts.h"
#include "cli/qemu/stand_ins.h"
#include "cli/qemu/storage.h"
#include "cli/qemu/tpm.h"
#include "machine/inspect.h"
#include "util/log.h"

#define MIB	       (1ull << 20)
#define LAST_VERSION   12 /* of QEMU's that may be, by the time that this is old */

const struct machine_type machine_types[] = {
	{"pc-i440fx-7.2", "pc", "PC with an i440FX host bridge (kvik's pc)", true, BOARD_PC, true},
	{"pc-q35-7.2", "q35", "PCI Express PC with a Q35 host bridge and ICH9 (kvik's q35)", true, BOARD_Q35},
	{"microvm", NULL, "what a kernel of today needs", true, BOARD_MICROVM},
	{"none", NULL, "empty machine, for monitors", false},
};
const unsigned machine_type_count = sizeof(machine_types) / sizeof(machine_types[0]);

/* Versions of a board are the same to a guest here: QEMU's own, from 1.0 on, and those of distributions, by name. */
static bool is_version(const char *text)
{
	unsigned major, minor;
	int end = -1;

	if (*text >= 'a' && *text <= 'z')
		return true;
	return sscanf(text, "%2u.%2u%n", &major, &minor, &end) == 2 && end == (int)strlen(text) && major >= 1 &&
	       major <= LAST_VERSION;
}

static int examine_type(struct line *line, struct error *error)
{
	const char *name = keyval_text(said(line, "machine"), "type");
	unsigned i;

	for (i = 0; i < machine_type_count; i++)
		if (name ? strcmp(machine_types[i].name, name) == 0 ||
				   (machine_types[i].other_name &&
				    strcmp(machine_types[i].other_name, name) == 0)
			 : machine_types[i].is_default)
			break;
	if (i == machine_type_count && strncmp(name, "pc-i440fx-", 10) == 0 && is_version(name + 10))
		i = 0;
	else if (i == machine_type_count && strncmp(name, "pc-q35-", 7) == 0 && is_version(name + 7))
		i = 1;
	if (i == machine_type_count)
		return error_set(error, EINVAL,
				 "-machine %.60s: unsupported machine type: use pc, q35, microvm or none",
				 name);
	line->type = &machine_types[i];
	line->has_machine = line->type->has_machine;
	line->config.board = line->type->board;
	return 0;
}

/* One accelerator of a list. Whether it is known. */
static bool take_accel(const char *name, size_t length, bool *wants_kvm, bool *wants_engine)
{
	if (length == 3 && strncmp(name, "kvm", 3) == 0)
		*wants_kvm = true;
	else if ((length == 3 && strncmp(name, "tcg", 3) == 0) ||
		 (length == 6 && strncmp(name, "engine", 6) == 0))
		*wants_engine = true;
	else
		return false;
	return true;
}

static int take_accels(const char *list, bool *wants_kvm, bool *wants_engine, struct error *error)
{
	size_t length;

	for (; list && *list; list += length + (list[length] == ':')) {
		length = strcspn(list, ":");
		if (!take_accel(list, length, wants_kvm, wants_engine))
			return error_set(error, EINVAL, "-accel %.*s: use kvm, tcg or engine",
					 (int)(length < 40 ? length : 40), list);
	}
	return 0;
}

static int take_irqchip(struct line *line, const json_t *options)
{
	const char *kind = keyval_text(options, "kernel-irqchip");

	if (kind)
		line->config.irqchip = strcmp(kind, "split") == 0 ? INTERRUPTS_SPLIT : INTERRUPTS_FULL;
	return 0;
}

static int take_code_cache_file(struct line *line, const json_t *options, struct error *error)
{
	struct code_cache_file_option *file = &line->code_cache_file;
	const char *path = keyval_text(options, "code-cache-file");

	if (keyval_size(options, "code-cache-file-size", MIB, &file->size, error) < 0)
		return -EINVAL;
	if (file->size && (file->size < CODE_CACHE_FILE_MIN || file->size > CODE_CACHE_FILE_MAX))
		return error_set(error, EINVAL, "-accel: code-cache-file-size is out of range: use %lluM to %lluM",
				 CODE_CACHE_FILE_MIN >> 20, CODE_CACHE_FILE_MAX >> 20);
	if (path && !*path)
		return error_set(error, EINVAL, "-accel: code-cache-file names no file: use a file's name, or default");
	if (path)
		file->path = path;
	return 0;
}

static int take_code_cache(struct line *line, const json_t *options, struct error *error)
{
	uint64_t mib = 0;

	if (keyval_number(options, "tb-size", UINT32_MAX, &mib, error) < 0)
		return -EINVAL;
	if (mib)
		line->config.kvm_options.code_cache_bytes =
			mib * MIB < KVM_CODE_CACHE_MAX ? mib * MIB : KVM_CODE_CACHE_MAX;
	return 0;
}

static int examine_accel(struct line *line, struct error *error)
{
	bool wants_kvm = has(line, "enable-kvm"), wants_engine = false;
	const json_t *one;
	enum accel accel;
	size_t i;

	take_irqchip(line, said(line, "machine"));
	if (take_accels(keyval_text(said(line, "machine"), "accel"), &wants_kvm, &wants_engine, error) < 0)
		return -EINVAL;
	json_array_foreach((json_t *)said(line, "accel"), i, one) {
		take_irqchip(line, one);
		if (take_accels(keyval_text(one, "accel"), &wants_kvm, &wants_engine, error) < 0 ||
		    take_code_cache(line, one, error) < 0 || take_code_cache_file(line, one, error) < 0)
			return -EINVAL;
	}
	line->has_kvm = access("/dev/kvm", R_OK | W_OK) == 0;
	if (!line->has_machine) {
		line->uses_kvm = wants_kvm && line->has_kvm;
		line->config.backend = &kvm_backend_engine;
		return 0;
	}
	accel = wants_kvm == wants_engine ? ACCEL_AUTO : wants_kvm ? ACCEL_KVM : ACCEL_ENGINE;
	if (accel == ACCEL_KVM && !line->has_kvm)
		return error_set_errno(error, errno, "-accel kvm: /dev/kvm cannot be used: use -accel tcg, which is kvik's engine");
	line->config.backend = accel_choose(accel, line->accel_reason, sizeof(line->accel_reason));
	line->uses_kvm = line->config.backend == &kvm_backend_linux;
	if (wants_kvm && !line->uses_kvm)
		log_print(LOG_ERROR, "kvik's engine runs the CPUs: %s", line->accel_reason);
	return 0;
}

/* Words of a CPU's that say nothing about the CPU here. */
static bool is_idle_word(const char *word, size_t length)
{
	static const char *const words[] = {"migratable=", "l3-cache=", "host-cache-info=", "hv-", "hv_",
					    "vmware-cpuid-freq=", "tsc-frequency=", "tsc-freq=", "pmu=",
					    "host-phys-bits"};
	unsigned i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (length >= strlen(words[i]) && strncmp(word, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

static int examine_cpu_model(struct line *line, struct error *error)
{
	const char *model = text(line, "cpu");
	bool wants_hyperv = false;
	char *cut, *to;
	size_t length;
	int result;

	if (!model)
		return 0;
	to = cut = calloc(1, strlen(model) + 1);
	if (!cut)
		return error_set_errno(error, ENOMEM, "-cpu");
	for (; *model; model += length + (model[length] == ',')) {
		length = strcspn(model, ",");
		wants_hyperv |= strncmp(model, "hv_", 3) == 0 || strncmp(model, "hv-", 3) == 0;
		if (is_idle_word(model, length))
			continue;
		if (to != cut)
			*to++ = ',';
		memcpy(to, model, length);
		to += length;
	}
	if (wants_hyperv)
		log_hint("-cpu hv-...: there are no interfaces of Hyper-V's here, and the guest finds none");
	result = cpu_spec_parse(&line->config.cpu, cut, error);
	free(cut);
	if (result < 0)
		error_prefix(error, "-cpu");
	return result;
}

/* Who says nothing of where the display that comes by itself is shown may wait for a window. */
static void tell_of_display(const struct line *line)
{
	static const char *const others[] = {"display", "nographic", "daemonize", "vnc", "spice", "sdl", "curses", "full-screen"};
	unsigned i;

	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (has(line, others[i]))
			return;
	log_hint("nothing shows the display here: -nographic has firmware print to the terminal, and the guest what it prints "
		 "to its serial port; a monitor takes pictures (screendump)");
}

/* The display that -vga means, or that there is by itself, unless it is a -device. */
static int examine_display(struct line *line, struct error *error)
{
	const char *display = text(line, "display"), *vga = text(line, "vga");
	json_t *said_so = NULL;
	const struct device_driver *driver;
	bool wants_vga = !has(line, "nodefaults") && line->config.boot.firmware.code &&
			 line->type->board != BOARD_MICROVM, is_virtio;
	const json_t *one;
	size_t i;

	if (display && *display == '{') {
		said_so = keyval_parse(display, NULL, NULL, false, error);
		display = said_so ? keyval_text(said_so, "type") : NULL;
		if (said_so && !display)
			error_set(error, EINVAL, "-display: a type is needed, as {\"type\": \"none\"}");
		if (!display) {
			json_decref(said_so);
			return -EINVAL;
		}
	}
	if (display && !stand_in_of_display(display)) {
		error_set(error, EINVAL, "-display %.60s: there is none of that kind: use none, and screendump", display);
		json_decref(said_so);
		return -EINVAL;
	}
	json_decref(said_so);
	json_array_foreach(line->devices, i, one) {
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		wants_vga = wants_vga && !(driver && driver->role == ROLE_DISPLAY);
	}
	if (vga) {
		vga = stand_in_of_vga(vga);
		if (!vga)
			return error_set(error, ENOTSUP, "-vga %.60s: use std, virtio or none", text(line, "vga"));
	}
	if (vga && strcmp(vga, "none") != 0 && line->type->board == BOARD_MICROVM)
		return error_set(error, ENOTSUP, "-vga %.60s: a microvm has no VGA: use -device virtio-gpu-device", vga);
	if (vga)
		wants_vga = strcmp(vga, "none") != 0;
	is_virtio = vga && strcmp(vga, "virtio") == 0;
	line->config.firmware_is_silent = !has(line, "nographic");
	line->shows_itself = wants_vga;
	return wants_vga ? json_array_append_new(line->devices, json_pack("{s:s}", "driver", is_virtio ? "virtio-vga" : "VGA")) : 0;
}

/* -usb and -usbdevice, as the devices that they mean. */
static int examine_usb(struct line *line, struct error *error)
{
	static const struct {
		const char *name, *driver;
	} names[] = {{"tablet", "usb-tablet"}, {"mouse", "usb-mouse"}, {"keyboard", "usb-kbd"}};
	bool wants = has(line, "usb") || has(line, "usbdevice") || json_is_true(json_object_get(said(line, "machine"), "usb"));
	const struct device_driver *driver;
	const json_t *one;
	unsigned j;
	size_t i;

	json_array_foreach((json_t *)said(line, "usbdevice"), i, one) {
		for (j = 0; j < 3 && strcmp(names[j].name, json_string_value(one)) != 0; j++)
			continue;
		if (j == 3)
			return error_set(error, ENOTSUP, "-usbdevice %.60s: use tablet, mouse or keyboard",
					 json_string_value(one));
		json_array_append_new(line->devices, json_pack("{s:s}", "driver", names[j].driver));
	}
	json_array_foreach(line->devices, i, one) {
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		wants = wants && !(driver && driver->role == ROLE_XHCI);
	}
	return wants ? json_array_append_new(line->devices, json_pack("{s:s}", "driver", "qemu-xhci")) : 0;
}

static int examine_objects(struct line *line, struct error *error)
{
	json_t *object;
	size_t i;
	int result = 0;

	json_array_foreach((json_t *)said(line, "object"), i, object) {
		if (result == 0)
			result = net_dump_is(object) ? net_dump_check(object, error) : object_check(object, error);
		if (result == 0)
			result = object_check_file(object, error);
	}
	line->nets.objects = said(line, "object");
	return result;
}

static int examine_drives(struct line *line, struct error *error)
{
	const json_t *one;
	const char *interface;
	json_t *device;
	size_t i;

	line->drives.fdsets = &line->fdsets;
	line->drives.snapshot = has(line, "snapshot");
	json_array_foreach((json_t *)said(line, "blockdev"), i, one) {
		if (drives_add_node(&line->drives, one, error) < 0) {
			error_prefix(error, "-blockdev %.60s", keyval_text(one, "node-name"));
			return -EINVAL;
		}
	}
	if (storage_take_short_options(line, error) < 0)
		return -EINVAL;
	json_array_foreach((json_t *)said(line, "drive"), i, one) {
		if (drive_name_take((json_t *)one, error) < 0) {
			error_prefix(error, "-drive");
			return -EINVAL;
		}
	}
	if (!has(line, "snapshot") && drive_names_check(said(line, "drive"), error) < 0) {
		error_prefix(error, "-drive");
		return -EBUSY;
	}
	json_array_foreach((json_t *)said(line, "drive"), i, one) {
		interface = keyval_text(one, "if");
		if (interface && strcmp(interface, "pflash") == 0)
			continue;
		if (drives_add(&line->drives, one, error) < 0) {
			error_prefix(error, "-drive");
			return -EINVAL;
		}
		if (storage_device_of(line, &line->drives.list[line->drives.count - 1], &device, error) < 0) {
			error_prefix(error, "-drive");
			return -EINVAL;
		}
		if (device)
			json_array_append_new(line->devices, device);
	}
	return 0;
}

/* What is played nowhere, and recorded from nowhere, is said as QEMU has it all the same. */
static int examine_audio(struct line *line, struct error *error)
{
	static const char *const names[] = {"none", "alsa", "dbus", "jack", "oss", "pa", "pipewire", "sdl", "sndio", "spice", "wav"};
	const char *driver;
	const json_t *one;
	size_t i, j;

	json_array_foreach((json_t *)said(line, "audiodev"), i, one) {
		driver = keyval_text(one, "driver");
		if (!driver || !keyval_text(one, "id"))
			return error_set(error, EINVAL, "-audiodev: DRIVER,id=ID is needed");
		for (j = 0; j < sizeof(names) / sizeof(names[0]) && strcmp(names[j], driver) != 0; j++)
			continue;
		if (j == sizeof(names) / sizeof(names[0]))
			return error_set(error, EINVAL, "-audiodev %.60s: there is no such driver: use none", driver);
	}
	return 0;
}

static int examine_folders(struct line *line, struct error *error)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)said(line, "fsdev"), i, one)
		if (fsdev_check(one, error) < 0) {
			error_prefix(error, "-fsdev");
			return -EINVAL;
		}
	json_array_foreach((json_t *)said(line, "virtfs"), i, one) {
		if (fsdev_check(one, error) < 0) {
			error_prefix(error, "-virtfs");
			return -EINVAL;
		}
		json_array_append_new(line->devices, fsdev_device_of(one));
	}
	return 0;
}

static int examine_watchdog(struct line *line, struct error *error)
{
	const char *action = keyval_text(said(line, "action"), "watchdog");

	if (!action)
		action = text(line, "watchdog-action");
	if (action && machine_watchdog_parse(action, &line->config.watchdog) < 0)
		return error_set(error, EINVAL,
				 "-watchdog-action %.60s: use reset, shutdown, poweroff, pause, inject-nmi, debug or none",
				 action);
	return 0;
}

static int examine_panic(struct line *line, struct error *error)
{
	const char *action = keyval_text(said(line, "action"), "panic");

	line->config.panic = MACHINE_PANIC_SHUTDOWN;
	if (action && machine_panic_parse(action, &line->config.panic) < 0)
		return error_set(error, EINVAL, "-action panic=%.60s: use shutdown, pause, exit-failure or none", action);
	return 0;
}

static int examine_globals(struct line *line, struct error *error)
{
	const json_t *globals = said(line, "global");

	line->config.has_no_i8042 = json_is_false(json_object_get(said(line, "machine"), "i8042"));
	if (parts_check_globals(globals, error) < 0)
		return -EINVAL;
	line->config.has_no_sleep = parts_switch_on(globals, "PIIX4_PM", "disable_s3") ||
				    parts_switch_on(globals, "ICH9-LPC", "disable_s3");
	return 0;
}

static void examine_life(struct line *line)
{
	const json_t *action = said(line, "action");
	const char *reboot = keyval_text(action, "reboot"), *shutdown = keyval_text(action, "shutdown");
	const json_t *sandbox = json_object_get(said(line, "sandbox"), "enable");

	line->gdb = has(line, "s") ? "tcp::1234" : text(line, "gdb");
	if (line->gdb && strcmp(line->gdb, "none") == 0)
		line->gdb = NULL;
	/* Who debugs a machine from its first instruction lets it go on. */
	if (has(line, "S"))
		line->config.pauses = line->gdb ? MACHINE_PAUSE_DEBUGGER : MACHINE_PAUSE_USER;
	line->incoming = text(line, "incoming");
	line->loadvm = text(line, "loadvm");
	if (line->incoming)
		line->config.pauses |= MACHINE_PAUSE_INCOMING;
	line->config.ends_at_reset = has(line, "no-reboot") || (reboot && strcmp(reboot, "shutdown") == 0);
	line->config.stays_when_off = has(line, "no-shutdown") || (shutdown && strcmp(shutdown, "pause") == 0);
	line->config.resets_at_triple_fault = true;
	line->config.is_confined = !sandbox || json_is_true(sandbox);
	line->config.save_fd = line->config.load_fd = -1;
	line->config.print_port = line->config.debug_exit_port = -1;
	line->name = keyval_text(said(line, "name"), "guest");
	line->uuid = text(line, "uuid");
}

static int examine_descriptors(struct line *line, struct error *error)
{
	const json_t *one;
	uint64_t fd = 0;
	size_t i;

	json_array_foreach((json_t *)said(line, "add-fd"), i, one) {
		if (fdsets_add(&line->fdsets, one, error) < 0) {
			error_prefix(error, "-add-fd");
			return -EINVAL;
		}
	}
	/* One may be in several sets, which have copies. */
	json_array_foreach((json_t *)said(line, "add-fd"), i, one)
		if (keyval_number(one, "fd", INT32_MAX, &fd, error) == 0)
			close(fd);
	return 0;
}

static int examine_escape(struct line *line, struct error *error)
{
	const char *escape = text(line, "echr");
	uint64_t number;

	line->chardevs.escape = CHAR_MUX_ESCAPE;
	if (!escape)
		return 0;
	if (size_from_text(escape, 1, &number) < 0 || number > 255)
		return error_set(error, EINVAL, "-echr %.60s: use a number up to 255", escape);
	line->chardevs.escape = number;
	return 0;
}

int line_examine(struct line *line, struct error *error)
{
	const json_t *one;
	size_t i;

	for (i = 0; i < BOARD_SERIALS_MAX; i++)
		line->serials[i] = -1;
	line->debug_console = line->gdb_chardev = -1;
	line->chardevs.fdsets = &line->fdsets;
	line->devices = json_array();
	examine_life(line);
	if (examine_globals(line, error) < 0 || examine_watchdog(line, error) < 0 ||
	    examine_panic(line, error) < 0 || examine_type(line, error) < 0)
		return -EINVAL;
	stand_ins_take(line);
	if (examine_accel(line, error) < 0 || examine_descriptors(line, error) < 0 ||
	    examine_escape(line, error) < 0 || line_examine_consoles(line, error) < 0 || line_examine_gdb(line, error) < 0)
		return -EINVAL;
	if (!line->has_machine)
		return 0;
	if (line_examine_firmware_facts(line, error) < 0 || examine_objects(line, error) < 0 ||
	    line_examine_memory(line, error) < 0 || line_examine_cpus(line, error) < 0 ||
	    examine_cpu_model(line, error) < 0 || line_examine_boot(line, error) < 0 || line_examine_clock(line, error) < 0 || line_examine_nets(line, error) < 0 ||
	    examine_folders(line, error) < 0 || examine_audio(line, error) < 0 || tpm_check(line, error) < 0)
		return -EINVAL;
	json_array_foreach((json_t *)said(line, "device"), i, one)
		json_array_append(line->devices, (json_t *)one);
	if (examine_drives(line, error) < 0 || examine_display(line, error) < 0 || examine_usb(line, error) < 0)
		return -EINVAL;
	if (line_place_devices(line, error) < 0)
		return -EINVAL;
	if (line->shows_itself)
		tell_of_display(line);
	return 0;
}

void line_free(struct line *line)
{
	line_close_memory(line);
	drives_close(&line->drives);
	fdsets_close(&line->fdsets);
	nets_close(&line->nets);
	line_forget_firmware_facts(line);
	json_decref(line->devices);
	json_decref(line->said);
}
