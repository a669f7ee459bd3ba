/* QMP's commands for those who look at a machine's screen, type and point. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "monitor/monitor.h"
#include <qmp_commands.h>

#define HOLD_MS	    100
#define HOLD_MS_MAX 10000
#define KEYS_MAX    16

/* A display that is named must be the one there is. */
static bool is_display(struct qmp_call *call, const char *id)
{
	static const char *const types[] = {"VGA", "bochs-display", "virtio-vga", "virtio-gpu-pci", "virtio-gpu-device"};
	json_t *path = json_sprintf("/machine/peripheral/%s", id), *object;
	const char *type;
	unsigned i;

	object = json_object_get(call->monitor->facts.objects, json_string_value(path));
	json_decref(path);
	type = json_string_value(json_object_get(json_object_get(object, "type"), "value"));
	for (i = 0; type && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	call->error_class = "DeviceNotFound";
	error_set(&call->error, ENODEV, "Device '%.100s' not found", id);
	return false;
}

json_t *qmp_screendump(struct qmp_call *call)
{
	struct monitor_facts *facts = &call->monitor->facts;
	const char *path = json_string_value(json_object_get(call->arguments, "filename"));
	const char *id = json_string_value(json_object_get(call->arguments, "device"));
	const char *format = json_string_value(json_object_get(call->arguments, "format"));
	int fd, result;

	if (!qmp_need_machine(call) || (id && !is_display(call, id)))
		return NULL;
	if (json_integer_value(json_object_get(call->arguments, "head")) != 0) {
		error_set(&call->error, EINVAL, "a display has one head");
		return NULL;
	}
	if (!machine_configuration(call->monitor->machine)->display) {
		error_set(&call->error, ENODEV, "There is no console to take a screendump from");
		return NULL;
	}
	fd = facts->open_file(facts->file_context, MONITOR_FILE_WRITE, path, &call->error);
	if (fd < 0)
		return NULL;
	result = machine_screendump(call->monitor->machine,
				    format && strcmp(format, "png") == 0 ? PICTURE_PNG : PICTURE_PPM, fd,
				    &call->error);
	close(fd);
	return result < 0 ? NULL : qmp_done();
}

/* As a KeyValue says it: by its name, or by its code in set 1, with 0x80 for the extended ones. */
static const struct key *find_key(struct qmp_call *call, const json_t *value)
{
	const json_t *data = json_object_get(value, "data");
	json_int_t number = json_integer_value(data);
	const struct key *key = NULL;

	if (json_is_string(data))
		key = key_by_name(json_string_value(data), json_string_length(data));
	else if (number > 0 && number < 0x100)
		key = key_by_set1(number & 0x80 ? KEY_EXTENDED | (number & 0x7f) : number);
	if (!key)
		error_set(&call->error, EINVAL, "Parameter 'keys': there is no such key on a PC's keyboard");
	return key;
}

json_t *qmp_send_key(struct qmp_call *call)
{
	json_t *list = json_object_get(call->arguments, "keys"), *one;
	json_t *hold = json_object_get(call->arguments, "hold-time");
	json_int_t hold_ms = hold ? json_integer_value(hold) : HOLD_MS;
	const struct key *pressed[KEYS_MAX];
	size_t i;

	if (!qmp_need_machine(call))
		return NULL;
	if (hold_ms < 0 || hold_ms > HOLD_MS_MAX || json_array_size(list) > KEYS_MAX) {
		error_set(&call->error, EINVAL, "use at most %u keys, held for 0 to %u ms", KEYS_MAX,
			  HOLD_MS_MAX);
		return NULL;
	}
	json_array_foreach(list, i, one)
		if (!(pressed[i] = find_key(call, one)))
			return NULL;
	if (typist_press(&call->monitor->typist, pressed, json_array_size(list), hold_ms) < 0) {
		error_set(&call->error, ENOSPC, "too many keys are still to be pressed");
		return NULL;
	}
	return qmp_done();
}

static const struct {
	const char *name;
	enum mouse_button button;
	int wheel; /* or a turn of the wheel */
} buttons[] = {
	{"left", MOUSE_LEFT, 0},   {"right", MOUSE_RIGHT, 0}, {"middle", MOUSE_MIDDLE, 0},
	{"side", MOUSE_SIDE, 0},   {"extra", MOUSE_EXTRA, 0}, {"wheel-up", 0, -1},
	{"wheel-down", 0, 1},
};

/* The button's place in the list; schema.json has the same ones, and others that no mouse here has. */
static int find_button(struct qmp_call *call, const json_t *data)
{
	const char *name = json_string_value(json_object_get(data, "button"));
	unsigned i;

	for (i = 0; i < sizeof(buttons) / sizeof(buttons[0]); i++)
		if (strcmp(buttons[i].name, name) == 0)
			return i;
	return error_set(&call->error, ENOTSUP, "no mouse here has the button %.40s", name);
}

static bool is_type(const json_t *event, const char *type)
{
	return strcmp(json_string_value(json_object_get(event, "type")), type) == 0;
}

/* Whether it can be done: none is, unless all can. */
static bool check_event(struct qmp_call *call, const json_t *event)
{
	const json_t *data = json_object_get(event, "data");
	json_int_t value = json_integer_value(json_object_get(data, "value"));

	if (is_type(event, "key"))
		return find_key(call, json_object_get(data, "key"));
	if (is_type(event, "btn"))
		return find_button(call, data) >= 0;
	if (is_type(event, "rel")) {
		if (value >= -0x10000 && value <= 0x10000)
			return true;
		error_set(&call->error, EINVAL, "Parameter 'value': a mouse does not move as far");
	} else if (!machine_has_tablet(call->monitor->machine)) {
		error_set(&call->error, ENOTSUP, "there is a mouse, and nothing that knows places: use rel, or usb-tablet");
	} else {
		if (value >= 0 && value <= MACHINE_PLACE_MAX)
			return true;
		error_set(&call->error, EINVAL, "Parameter 'value': places are from 0 to %d", MACHINE_PLACE_MAX);
	}
	return false;
}

static void send_event(struct qmp_call *call, const json_t *event)
{
	struct machine *machine = call->monitor->machine;
	const json_t *data = json_object_get(event, "data");
	bool is_down = json_is_true(json_object_get(data, "down")), is_vertical;
	int value = json_integer_value(json_object_get(data, "value")), button;

	if (is_type(event, "key")) {
		machine_press_key(machine, find_key(call, json_object_get(data, "key")), is_down);
	} else if (is_type(event, "btn")) {
		button = find_button(call, data);
		if (buttons[button].wheel)
			machine_move_mouse(machine, 0, 0, is_down ? buttons[button].wheel : 0);
		else
			machine_press_mouse(machine, buttons[button].button, is_down);
	} else {
		is_vertical = strcmp(json_string_value(json_object_get(data, "axis")), "y") == 0;
		if (is_type(event, "abs"))
			machine_place_pointer(machine, is_vertical, value);
		else if (is_vertical)
			machine_move_mouse(machine, 0, -value, 0); /* on a screen, y grows downwards */
		else
			machine_move_mouse(machine, value, 0, 0);
	}
}

json_t *qmp_input_send_event(struct qmp_call *call)
{
	json_t *events = json_object_get(call->arguments, "events"), *event;
	size_t i;

	if (!qmp_need_machine(call))
		return NULL;
	if (json_object_get(call->arguments, "device")) {
		call->error_class = "DeviceNotFound";
		error_set(&call->error, ENODEV, "there are one keyboard and one mouse: leave out 'device'");
		return NULL;
	}
	json_array_foreach(events, i, event)
		if (!check_event(call, event))
			return NULL;
	json_array_foreach(events, i, event)
		send_event(call, event);
	return qmp_done();
}

/* The tablet is what places go to, the mouse what moves do. */
json_t *qmp_query_mice(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;
	json_t *answer = json_array();
	bool has_tablet = machine && machine_has_tablet(machine);

	if (machine && board_kind_is_pc(machine_configuration(machine)->board))
		json_array_append_new(answer, json_pack("{s:s,s:i,s:b,s:b}", "name", "QEMU PS/2 Mouse", "index", 2,
							"current", !has_tablet, "absolute", 0));
	if (has_tablet)
		json_array_append_new(answer, json_pack("{s:s,s:i,s:b,s:b}", "name", "QEMU HID Tablet", "index", 3,
							"current", 1, "absolute", 1));
	return answer;
}
