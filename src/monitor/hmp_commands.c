/* What people can type, each on top of QMP's commands. */
#include "monitor/hmp_commands.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp_migration.h"
#include "monitor/hmp_pci.h"
#include "monitor/hmp_snapshots.h"
#include "monitor/qmp.h"
#include "monitor/version.h"

struct hmp_line {
	struct monitor *monitor;
	struct hmp_text *text;
	const char *rest; /* behind the command's name */
};

/* What a QMP command answers, the caller's; NULL: it has failed, which was printed. */
static json_t *ask(struct hmp_line *line, const char *command)
{
	struct qmp_call call = {.monitor = line->monitor};
	json_t *answer = qmp_run(&call, command);

	if (!answer)
		hmp_print(line->text, "Error: %s\n", call.error.message);
	return answer;
}

static void run_stop(struct hmp_line *line)
{
	json_decref(ask(line, "stop"));
}

static void run_cont(struct hmp_line *line)
{
	json_decref(ask(line, "cont"));
}

static void run_reset(struct hmp_line *line)
{
	json_decref(ask(line, "system_reset"));
}

static void run_powerdown(struct hmp_line *line)
{
	json_decref(ask(line, "system_powerdown"));
}

static void run_wakeup(struct hmp_line *line)
{
	json_decref(ask(line, "system_wakeup"));
}

static void run_quit(struct hmp_line *line)
{
	json_decref(ask(line, "quit"));
}

static const char *string(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static void info_version(struct hmp_line *line)
{
	hmp_print(line->text, "%d.%d.%d (kvik " KVIK_VERSION ")\n", VERSION_QEMU_MAJOR,
		  VERSION_QEMU_MINOR, VERSION_QEMU_MICRO);
}

static void info_status(struct hmp_line *line)
{
	json_t *status = ask(line, "query-status");
	const char *name = string(status, "status");
	bool runs = json_is_true(json_object_get(status, "running"));

	hmp_print(line->text, "VM status: %s%s%s%s\n", runs ? "running" : "paused",
		  runs || strcmp(name, "paused") == 0 ? "" : " (",
		  runs || strcmp(name, "paused") == 0 ? "" : name,
		  runs || strcmp(name, "paused") == 0 ? "" : ")");
	json_decref(status);
}

static void info_cpus(struct hmp_line *line)
{
	json_t *cpus = ask(line, "query-cpus-fast"), *cpu;
	size_t i;

	json_array_foreach(cpus, i, cpu)
		hmp_print(line->text, "%c CPU #%lld: thread_id=%lld\n", i ? ' ' : '*',
			  json_integer_value(json_object_get(cpu, "cpu-index")),
			  json_integer_value(json_object_get(cpu, "thread-id")));
	json_decref(cpus);
}

static void info_block(struct hmp_line *line)
{
	json_t *blocks = ask(line, "query-block"), *block, *inserted, *cache;
	size_t i;

	json_array_foreach(blocks, i, block) {
		inserted = json_object_get(block, "inserted");
		cache = json_object_get(inserted, "cache");
		hmp_print(line->text, "%s%s", i ? "\n" : "", string(block, "device"));
		if (json_is_true(json_object_get(block, "removable")) && !*string(block, "device"))
			hmp_print(line->text, "%s", string(block, "qdev"));
		if (!inserted) {
			hmp_print(line->text, ": [not inserted]\n");
			continue;
		}
		if (*string(inserted, "node-name"))
			hmp_print(line->text, " (%s)", string(inserted, "node-name"));
		hmp_print(line->text, ": %s (%s%s)\n", string(inserted, "file"), string(inserted, "drv"),
			  json_is_true(json_object_get(inserted, "ro")) ? ", read-only" : "");
		if (*string(block, "qdev"))
			hmp_print(line->text, "    Attached to:      %s\n", string(block, "qdev"));
		hmp_print(line->text, "    Cache mode:       %s%s%s\n",
			  json_is_true(json_object_get(cache, "writeback")) ? "writeback" : "writethrough",
			  json_is_true(json_object_get(cache, "direct")) ? ", direct" : "",
			  json_is_true(json_object_get(cache, "no-flush")) ? ", ignore flushes" : "");
	}
	json_decref(blocks);
}

static void info_chardev(struct hmp_line *line)
{
	json_t *list = ask(line, "query-chardev"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		hmp_print(line->text, "%s: filename=%s\n", string(one, "label"), string(one, "filename"));
	json_decref(list);
}

static void info_name(struct hmp_line *line)
{
	if (line->monitor->facts.name)
		hmp_print(line->text, "%s\n", line->monitor->facts.name);
}

static void info_uuid(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-uuid");

	hmp_print(line->text, "%s\n", string(answer, "UUID"));
	json_decref(answer);
}

static void info_kvm(struct hmp_line *line)
{
	hmp_print(line->text, "kvm support: %s\n",
		  line->monitor->facts.uses_kvm ? "enabled" : "disabled");
}

static void info_memory(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-memory-size-summary");

	if (answer)
		hmp_print(line->text, "base memory: %lld\nplugged memory: 0\n",
			  json_integer_value(json_object_get(answer, "base-memory")));
	json_decref(answer);
}

static void info_balloon(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-balloon");

	if (answer)
		hmp_print(line->text, "balloon: actual=%lld\n",
			  json_integer_value(json_object_get(answer, "actual")) >> 20);
	json_decref(answer);
}

static void info_pci(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-pci");

	if (answer)
		hmp_print_pci(line->text, answer);
	json_decref(answer);
}

static void info_snapshots(struct hmp_line *line)
{
	hmp_info_snapshots(line->monitor, line->text);
}

static void info_migrate(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-migrate");

	hmp_print_migration(line->text, answer);
	json_decref(answer);
}

static void info_migrate_parameters(struct hmp_line *line)
{
	json_t *answer = ask(line, "query-migrate-parameters");

	hmp_print(line->text, "max-bandwidth: %lld bytes/second\ndowntime-limit: %lld ms\n",
		  json_integer_value(json_object_get(answer, "max-bandwidth")),
		  json_integer_value(json_object_get(answer, "downtime-limit")));
	json_decref(answer);
}

static const struct hmp_command {
	const char *name, *other_name;
	void (*run)(struct hmp_line *line);
	const char *help;
} information[] = {
	{"balloon", NULL, info_balloon, "how many MiB of memory the guest has kept"},
	{"block", NULL, info_block, "the disks"},
	{"chardev", NULL, info_chardev, "the consoles, and where they lead"},
	{"cpus", NULL, info_cpus, "the CPUs, and their threads on the host"},
	{"kvm", NULL, info_kvm, "whether /dev/kvm runs the CPUs"},
	{"memory_size_summary", NULL, info_memory, "how much memory there is"},
	{"migrate", NULL, info_migrate, "what has become of a migration"},
	{"migrate_parameters", NULL, info_migrate_parameters, "what a migration may take"},
	{"name", NULL, info_name, "the machine's name"},
	{"pci", NULL, info_pci, "what is on the PCI buses"},
	{"snapshots", NULL, info_snapshots, "snapshots of the machine, in its disks"},
	{"status", NULL, info_status, "whether the machine runs"},
	{"uuid", NULL, info_uuid, "the machine's UUID"},
	{"version", NULL, info_version, "this program's version"},
};

static void list_information(struct hmp_line *line)
{
	unsigned i;

	for (i = 0; i < sizeof(information) / sizeof(information[0]); i++)
		hmp_print(line->text, "info %s -- %s\n", information[i].name, information[i].help);
}

static void run_info(struct hmp_line *line)
{
	size_t length = strcspn(line->rest, " \t");
	unsigned i;

	if (!length) {
		list_information(line);
		return;
	}
	for (i = 0; i < sizeof(information) / sizeof(information[0]); i++) {
		if (strlen(information[i].name) == length &&
		    strncmp(information[i].name, line->rest, length) == 0) {
			information[i].run(line);
			return;
		}
	}
	hmp_print(line->text, "info: nothing is known of '%.*s': 'info' lists what is\n", (int)length,
		  line->rest);
}

/* The next word, cut off; NULL: there is none. */
static char *next_word(char **at)
{
	char *word = *at + strspn(*at, " \t");
	size_t length = strcspn(word, " \t\r\n");

	if (!length)
		return NULL;
	*at = word + length + (word[length] != 0);
	word[length] = 0;
	return word;
}

/* As `ask`, with arguments, which are checked as a program's are and given back. */
static void tell(struct hmp_line *line, const char *command, json_t *arguments)
{
	struct qmp_call call = {.monitor = line->monitor, .arguments = arguments};
	json_t *answer = NULL;

	if (schema_check(line->monitor->schema, command, arguments, &call.error) == 0)
		answer = qmp_run(&call, command);
	if (!answer)
		hmp_print(line->text, "Error: %s\n", call.error.message);
	json_decref(answer);
	json_decref(arguments);
}

/* One key of "ctrl-alt-f1", or NULL. */
static json_t *parse_key(const char *word, size_t length)
{
	const struct key *key = key_by_name(word, length);
	unsigned long number;
	char *end;

	if (length == 1 && *word == '<')
		key = key_by_name("less", 4);
	if (key)
		return json_pack("{s:s,s:s%}", "type", "qcode", "data", word, length);
	number = strtoul(word, &end, 0);
	if (strncmp(word, "0x", 2) != 0 || end != word + length || number > 0xff)
		return NULL;
	return json_pack("{s:s,s:i}", "type", "number", "data", (int)number);
}

static void run_sendkey(struct hmp_line *line)
{
	char *at = strdup(line->rest), *rest = at, *word = at ? next_word(&rest) : NULL, *hold;
	json_t *wanted = json_array(), *key, *arguments;
	size_t length;

	for (; word && *word; word += length + (word[length] == '-')) {
		length = strcspn(word, "-");
		key = parse_key(word, length);
		if (!key) {
			hmp_print(line->text, "invalid parameter: %.*s\n", (int)length, word);
			goto out;
		}
		json_array_append_new(wanted, key);
	}
	if (!json_array_size(wanted)) {
		hmp_print(line->text, "sendkey: which keys? as ctrl-alt-f1\n");
		goto out;
	}
	arguments = json_pack("{s:O}", "keys", wanted);
	hold = next_word(&rest);
	if (hold)
		json_object_set_new(arguments, "hold-time", json_integer(atol(hold)));
	tell(line, "send-key", arguments);
out:
	json_decref(wanted);
	free(at);
}

static void run_screendump(struct hmp_line *line)
{
	char *at = strdup(line->rest), *rest = at, *word;
	json_t *arguments = json_object();
	const char *name = NULL;

	while (at && (word = next_word(&rest))) {
		if (strcmp(word, "-f") == 0 && (word = next_word(&rest)))
			name = "format";
		else
			name = json_object_get(arguments, "filename") ? "device" : "filename";
		json_object_set_new(arguments, name, json_string(word ? word : ""));
	}
	free(at);
	tell(line, "screendump", arguments);
}

/* mouse_move X Y [WHEEL] */
static void run_mouse_move(struct hmp_line *line)
{
	int x = 0, y = 0, wheel = 0;

	if (sscanf(line->rest, "%d %d %d", &x, &y, &wheel) < 2) {
		hmp_print(line->text, "mouse_move: how far? as 10 -5\n");
		return;
	}
	tell(line, "input-send-event",
	     json_pack("{s:[{s:s,s:{s:s,s:i}},{s:s,s:{s:s,s:i}}]}", "events", "type", "rel", "data", "axis",
		       "x", "value", x, "type", "rel", "data", "axis", "y", "value", y));
	if (wheel)
		tell(line, "input-send-event",
		     json_pack("{s:[{s:s,s:{s:s,s:b}}]}", "events", "type", "btn", "data", "button",
			       wheel > 0 ? "wheel-up" : "wheel-down", "down", 1));
}

/* mouse_button STATE: a bit for each of left, right and middle. */
static void run_mouse_button(struct hmp_line *line)
{
	static const char *const names[] = {"left", "right", "middle"};
	unsigned i, state = strtoul(line->rest, NULL, 0);
	json_t *events = json_array();

	for (i = 0; i < 3; i++)
		json_array_append_new(events, json_pack("{s:s,s:{s:s,s:b}}", "type", "btn", "data", "button",
							names[i], "down", state >> i & 1));
	tell(line, "input-send-event", json_pack("{s:o}", "events", events));
}

static void run_device_add(struct hmp_line *line)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	struct error error = {.message = "there is no machine"};
	json_t *arguments = facts->parse_device ? facts->parse_device(line->rest, &error) : NULL;

	if (arguments)
		tell(line, "device_add", arguments);
	else
		hmp_print(line->text, "Error: %s\n", error.message);
}

static void run_device_del(struct hmp_line *line)
{
	tell(line, "device_del",
		 json_pack("{s:o}", "id", json_stringn(line->rest, strcspn(line->rest, " \t\r\n"))));
}

/* eject [-f] DEVICE; change [-f] DEVICE FILE [FORMAT [MODE]] */
static void run_media(struct hmp_line *line, const char *command, const char *const *names, unsigned count)
{
	char *at = strdup(line->rest), *rest = at, *word;
	json_t *arguments = json_object();
	unsigned i = 0;

	while (at && (word = next_word(&rest))) {
		if (strcmp(word, "-f") == 0)
			json_object_set_new(arguments, "force", json_true());
		else if (i < count)
			json_object_set_new(arguments, names[i++], json_string(word));
	}
	free(at);
	tell(line, command, arguments);
}

static void run_eject(struct hmp_line *line)
{
	static const char *const names[] = {"device"};

	run_media(line, "eject", names, 1);
}

static void run_change(struct hmp_line *line)
{
	static const char *const names[] = {"device", "filename", "format", "read-only-mode"};

	run_media(line, "blockdev-change-medium", names, 4);
}

/* "-d" and the like make no difference: it does not wait for the end anyway. */
static void run_migrate(struct hmp_line *line)
{
	const char *uri = line->rest;

	while (*uri == '-') {
		uri += strcspn(uri, " \t");
		uri += strspn(uri, " \t");
	}
	tell(line, "migrate", json_pack("{s:s%}", "uri", uri, strcspn(uri, "\r\n")));
}

static void run_migrate_incoming(struct hmp_line *line)
{
	tell(line, "migrate-incoming", json_pack("{s:s%}", "uri", line->rest, strcspn(line->rest, "\r\n")));
}

static void run_migrate_cancel(struct hmp_line *line)
{
	json_decref(ask(line, "migrate_cancel"));
}

static void run_migrate_set_parameter(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_parameter(line->rest);

	if (arguments)
		tell(line, "migrate-set-parameters", arguments);
	else
		hmp_print(line->text, "migrate_set_parameter: max-bandwidth BYTES[KMG], or downtime-limit MS\n");
}

static void run_savevm(struct hmp_line *line)
{
	hmp_savevm(line->monitor, line->rest, line->text);
}

static void run_loadvm(struct hmp_line *line)
{
	hmp_loadvm(line->monitor, line->rest, line->text);
}

static void run_delvm(struct hmp_line *line)
{
	hmp_delvm(line->monitor, line->rest, line->text);
}

static void run_help(struct hmp_line *line);

static const struct hmp_command commands[] = {
	{"change", NULL, run_change, "[-f] DRIVE FILE [FORMAT]: put another medium into a CD-ROM drive"},
	{"cont", "c", run_cont, "let the machine run"},
	{"delvm", NULL, run_delvm, "NAME: delete a snapshot"},
	{"device_add", NULL, run_device_add, "plug a device in: DRIVER,bus=PORT,..."},
	{"device_del", NULL, run_device_del, "ask the guest to let go of a device"},
	{"eject", NULL, run_eject, "[-f] DRIVE: open a CD-ROM drive, and take out what is in it"},
	{"help", "?", run_help, "this list"},
	{"info", NULL, run_info, "tell about the machine; without a word, of what"},
	{"loadvm", NULL, run_loadvm, "NAME: the machine and its disks as they were"},
	{"migrate", NULL, run_migrate, "[-d] URI: send the machine to file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT or fd:NAME"},
	{"migrate_cancel", NULL, run_migrate_cancel, "let the machine stay here"},
	{"migrate_incoming", NULL, run_migrate_incoming, "URI: receive it, after -incoming defer"},
	{"migrate_set_parameter", NULL, run_migrate_set_parameter, "max-bandwidth BYTES[KMG] or downtime-limit MS"},
	{"mouse_button", NULL, run_mouse_button, "press the buttons whose bits are set (1 left, 2 right, 4 middle)"},
	{"mouse_move", NULL, run_mouse_move, "X Y [WHEEL]: move the mouse"},
	{"quit", "q", run_quit, "end at once"},
	{"savevm", NULL, run_savevm, "[NAME]: a snapshot of the machine in its disks, which are qcow2"},
	{"screendump", NULL, run_screendump, "FILE [-f png]: a picture of the display (PPM)"},
	{"sendkey", NULL, run_sendkey, "KEYS [MS]: press keys, as ctrl-alt-f1"},
	{"stop", "s", run_stop, "stop the machine"},
	{"system_powerdown", NULL, run_powerdown, "press the power button"},
	{"system_reset", NULL, run_reset, "press the reset button"},
	{"system_wakeup", NULL, run_wakeup, "wake a guest that sleeps with memory on"},
};

static void run_help(struct hmp_line *line)
{
	unsigned i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		hmp_print(line->text, "%s%s%s -- %s\n", commands[i].name,
			  commands[i].other_name ? "|" : "",
			  commands[i].other_name ? commands[i].other_name : "", commands[i].help);
}

static bool is_named(const struct hmp_command *command, const char *name, size_t length)
{
	return (strlen(command->name) == length && strncmp(command->name, name, length) == 0) ||
	       (command->other_name && strlen(command->other_name) == length &&
		strncmp(command->other_name, name, length) == 0);
}

void hmp_run(struct monitor *monitor, const char *text, struct hmp_text *output)
{
	struct hmp_line line = {.monitor = monitor, .text = output};
	size_t length;
	unsigned i;

	while (isspace((unsigned char)*text))
		text++;
	length = strcspn(text, " \t\r\n");
	if (!length || *text == '#')
		return;
	line.rest = text + length;
	while (isspace((unsigned char)*line.rest))
		line.rest++;
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (is_named(&commands[i], text, length)) {
			commands[i].run(&line);
			return;
		}
	}
	hmp_print(output, "unknown command: '%.*s'\n", (int)length, text);
}
