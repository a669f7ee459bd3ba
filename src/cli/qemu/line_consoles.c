#include "cli/qemu/line_consoles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"

static int add_monitor(struct line *line, int chardev, bool is_control, bool is_pretty,
		       struct error *error)
{
	if (chardev < 0)
		return 0;
	if (line->monitor_count == LINE_MONITORS_MAX)
		return error_set(error, ENOSPC, "at most %u monitors", LINE_MONITORS_MAX);
	line->monitors[line->monitor_count].chardev = chardev;
	line->chardevs.list[chardev].is_monitor = true;
	line->chardevs.list[chardev].is_control = is_control;
	line->monitors[line->monitor_count].is_control = is_control;
	line->monitors[line->monitor_count++].is_pretty = is_pretty;
	return 0;
}

static int add_monitors(struct line *line, const char *option, const char *label, bool is_control,
			struct error *error)
{
	const json_t *one;
	char id[64];
	size_t i;
	int chardev;

	json_array_foreach((json_t *)said(line, option), i, one) {
		snprintf(id, sizeof(id), "compat_%s%u", label, line->monitor_count);
		if (chardevs_add_text(&line->chardevs, json_string_value(one), id, &chardev, error) < 0 ||
		    add_monitor(line, chardev, is_control, strcmp(option, "qmp-pretty") == 0, error) < 0) {
			error_prefix(error, "-%s", option);
			return -EINVAL;
		}
	}
	return 0;
}

static int add_mons(struct line *line, struct error *error)
{
	const struct chardev *chardev;
	const char *name, *mode;
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)said(line, "mon"), i, one) {
		name = keyval_text(one, "chardev");
		mode = keyval_text(one, "mode");
		chardev = name ? chardevs_find(&line->chardevs, name) : NULL;
		if (!chardev)
			return error_set(error, ENOENT, "-mon: there is no -chardev with id=%.60s",
					 name ? name : "");
		if (add_monitor(line, chardev - line->chardevs.list, mode && strcmp(mode, "control") == 0,
				json_is_true(json_object_get(one, "pretty")), error) < 0)
			return -ENOSPC;
	}
	return 0;
}

static int add_serial(struct line *line, const char *where, unsigned number, struct error *error)
{
	char id[32];
	int chardev;

	if (number >= BOARD_SERIALS_MAX)
		return strcmp(where, "none") == 0 ? 0
						  : error_set(error, ENOTSUP, "a PC has %u serial ports",
							      BOARD_SERIALS_MAX);
	if (number && line->type->board == BOARD_MICROVM && strcmp(where, "none") != 0)
		return error_set(error, ENOTSUP, "a microvm has one serial port");
	snprintf(id, sizeof(id), "serial%u", number);
	if (chardevs_add_text(&line->chardevs, where, id, &chardev, error) < 0)
		return -EINVAL;
	line->serials[number] = chardev;
	return 0;
}

/* Does a serial port share what it leads to with a monitor? */
static bool has_shared_serial(const struct line *line)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)said(line, "serial"), i, one)
		if (strncmp(json_string_value(one), "mon:", 4) == 0)
			return true;
	return false;
}

/* Does a device say that it is the serial port? */
static bool has_serial_device(const struct line *line)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)said(line, "device"), i, one)
		if (keyval_text(one, "driver") && strcmp(keyval_text(one, "driver"), "isa-serial") == 0)
			return true;
	return false;
}

int line_examine_consoles(struct line *line, struct error *error)
{
	bool defaults = !has(line, "nodefaults"), on_terminal = has(line, "nographic");
	bool own_serial = has(line, "serial") || has_serial_device(line);
	bool own_monitor = has(line, "monitor") || has(line, "qmp") || has(line, "qmp-pretty") || has(line, "mon") ||
			   has_shared_serial(line);
	const json_t *one;
	int chardev;
	size_t i;

	json_array_foreach((json_t *)said(line, "chardev"), i, one)
		if (chardevs_add(&line->chardevs, (json_t *)one, error) < 0)
			goto fail_chardev;
	json_array_foreach((json_t *)said(line, "serial"), i, one)
		if (add_serial(line, json_string_value(one), i, error) < 0)
			goto fail_serial;
	json_array_foreach((json_t *)said(line, "parallel"), i, one)
		if (strcmp(json_string_value(one), "none") != 0 && strcmp(json_string_value(one), "null") != 0)
			return error_set(error, ENOTSUP, "-parallel: there is no parallel port: use none");
	/* As QEMU does: the terminal has both, if both are left to it. */
	if (defaults && on_terminal && !own_serial &&
	    add_serial(line, own_monitor ? "stdio" : "mon:stdio", 0, error) < 0)
		goto fail_serial;
	if (add_monitors(line, "monitor", "monitor", false, error) < 0 ||
	    add_monitors(line, "qmp", "monitor", true, error) < 0 ||
	    add_monitors(line, "qmp-pretty", "monitor", true, error) < 0 || add_mons(line, error) < 0)
		return -EINVAL;
	if (defaults && on_terminal && !own_monitor && own_serial &&
	    (chardevs_add_text(&line->chardevs, "stdio", "compat_monitor0", &chardev, error) < 0 ||
	     add_monitor(line, chardev, false, false, error) < 0))
		return -EINVAL;
	if (text(line, "debugcon") && chardevs_add_text(&line->chardevs, text(line, "debugcon"), "debugcon",
							&line->debug_console, error) < 0)
		return -EINVAL;
	/* What is said to be shared with a monitor by "mon:" has one by that. */
	json_array_foreach((json_t *)said(line, "serial"), i, one)
		if (strncmp(json_string_value(one), "mon:", 4) == 0 &&
		    add_monitor(line, line->serials[i], false, false, error) < 0)
			return -EINVAL;
	if (defaults && on_terminal && !own_serial && !own_monitor)
		return add_monitor(line, line->serials[0], false, false, error);
	return 0;

fail_chardev:
	error_prefix(error, "-chardev");
	return -EINVAL;
fail_serial:
	error_prefix(error, "-serial");
	return -EINVAL;
}
