/* What people can type, each on top of QMP's commands. */
#include "monitor/hmp_commands.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp_disks.h"
#include "monitor/hmp_info.h"
#include "monitor/hmp_line.h"
#include "monitor/hmp_look.h"
#include "monitor/hmp_migration.h"
#include "monitor/hmp_network.h"
#include "monitor/hmp_snapshots.h"

static void run_stop(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "stop"));
}

static void run_cont(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "cont"));
}

static void run_reset(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "system_reset"));
}

static void run_powerdown(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "system_powerdown"));
}

static void run_wakeup(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "system_wakeup"));
}

static void run_quit(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "quit"));
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
	char *word = hmp_word(&line->rest), *hold;
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
	hold = hmp_word(&line->rest);
	if (hold)
		json_object_set_new(arguments, "hold-time", json_integer(atol(hold)));
	hmp_tell(line, "send-key", arguments);
out:
	json_decref(wanted);
}

static void run_screendump(struct hmp_line *line)
{
	json_t *arguments = json_object();
	const char *name = NULL;
	char *word;

	while ((word = hmp_word(&line->rest))) {
		if (strcmp(word, "-f") == 0 && (word = hmp_word(&line->rest)))
			name = "format";
		else
			name = json_object_get(arguments, "filename") ? "device" : "filename";
		json_object_set_new(arguments, name, json_string(word ? word : ""));
	}
	hmp_tell(line, "screendump", arguments);
}

/* mouse_move X Y [WHEEL] */
static void run_mouse_move(struct hmp_line *line)
{
	int x = 0, y = 0, wheel = 0;

	if (sscanf(line->rest, "%d %d %d", &x, &y, &wheel) < 2) {
		hmp_print(line->text, "mouse_move: how far? as 10 -5\n");
		return;
	}
	hmp_tell(line, "input-send-event",
	     json_pack("{s:[{s:s,s:{s:s,s:i}},{s:s,s:{s:s,s:i}}]}", "events", "type", "rel", "data", "axis",
		       "x", "value", x, "type", "rel", "data", "axis", "y", "value", y));
	if (wheel)
		hmp_tell(line, "input-send-event",
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
	hmp_tell(line, "input-send-event", json_pack("{s:o}", "events", events));
}

/* `-chardev`'s words, which no program says: they go where QMP's arguments go. */
static void change_chardev(struct hmp_line *line, const char *command, json_t *arguments)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	struct error error = {.message = "consoles do not change here"};
	json_t *answer = NULL;

	if (facts->change_chardev)
		answer = facts->change_chardev(facts->change_context, command, arguments, &error);
	if (!answer)
		hmp_print(line->text, "Error: %s\n", error.message);
	else if (json_object_get(answer, "pty"))
		hmp_print(line->text, "char device redirected to %s\n", hmp_string(answer, "pty"));
	json_decref(answer);
	json_decref(arguments);
}

static void run_chardev_add(struct hmp_line *line)
{
	change_chardev(line, "chardev-add", json_pack("{s:s}", "line", hmp_rest(line->rest)));
}

static void run_chardev_change(struct hmp_line *line)
{
	const char *id = hmp_word(&line->rest), *words = hmp_rest(line->rest);

	if (*words)
		change_chardev(line, "chardev-change", json_pack("{s:s,s:s}", "id", id, "line", words));
	else
		hmp_print(line->text, "use chardev-change ID BACKEND,...\n");
}

static void run_chardev_remove(struct hmp_line *line)
{
	change_chardev(line, "chardev-remove", json_pack("{s:s}", "id", hmp_rest(line->rest)));
}

static void run_chardev_send_break(struct hmp_line *line)
{
	change_chardev(line, "chardev-send-break", json_pack("{s:s}", "id", hmp_rest(line->rest)));
}

static void run_device_add(struct hmp_line *line)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	struct error error = {.message = "there is no machine"};
	json_t *arguments = facts->parse_device ? facts->parse_device(hmp_rest(line->rest), &error) : NULL;

	if (arguments)
		hmp_tell(line, "device_add", arguments);
	else
		hmp_print(line->text, "Error: %s\n", error.message);
}

static void run_device_del(struct hmp_line *line)
{
	const char *id = hmp_word(&line->rest);

	hmp_tell(line, "device_del", json_pack("{s:s}", "id", id ? id : ""));
}

static void run_block_resize(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_resize(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "block_resize", arguments);
}

static void run_block_set_io_throttle(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_limits(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "block_set_io_throttle", arguments);
}

static void run_snapshot_blkdev(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_overlay(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "blockdev-snapshot-sync", arguments);
}

static void do_with_job(struct hmp_line *line, const char *name, const char *command)
{
	json_t *arguments = hmp_parse_job(line->text, name, line->rest);

	if (arguments)
		hmp_tell(line, command, arguments);
}

static void run_block_job_cancel(struct hmp_line *line)
{
	do_with_job(line, "block_job_cancel", "block-job-cancel");
}

static void run_block_job_complete(struct hmp_line *line)
{
	do_with_job(line, "block_job_complete", "block-job-complete");
}

static void run_block_job_pause(struct hmp_line *line)
{
	do_with_job(line, "block_job_pause", "block-job-pause");
}

static void run_block_job_resume(struct hmp_line *line)
{
	do_with_job(line, "block_job_resume", "block-job-resume");
}

static void run_block_job_set_speed(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_job_speed(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "block-job-set-speed", arguments);
}

static void run_block_stream(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_stream(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "block-stream", arguments);
}

static void run_nbd_server_start(struct hmp_line *line)
{
	bool gives_all, is_writable;
	json_t *arguments = hmp_parse_server(line->text, line->rest, &gives_all, &is_writable), *blocks, *block;
	size_t i;

	if (!arguments)
		return;
	hmp_tell(line, "nbd-server-start", arguments);
	blocks = gives_all ? hmp_ask(line, "query-block") : NULL;
	json_array_foreach(blocks, i, block) {
		const json_t *inserted = json_object_get(block, "inserted");
		const char *device = hmp_string(block, "device");

		if (inserted)
			hmp_tell(line, "nbd-server-add",
				 json_pack("{s:s,s:b}", "device", *device ? device : hmp_string(inserted, "node-name"), "writable",
					   is_writable && !json_is_true(json_object_get(inserted, "ro"))));
	}
	json_decref(blocks);
}

static void run_nbd_server_add(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_export(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "nbd-server-add", arguments);
}

static void run_nbd_server_remove(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_export_end(line->text, line->rest);

	if (arguments)
		hmp_tell(line, "nbd-server-remove", arguments);
}

static void run_nbd_server_stop(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "nbd-server-stop"));
}

/* eject [-f] DEVICE; change [-f] DEVICE FILE [FORMAT [MODE]] */
static void run_media(struct hmp_line *line, const char *command, const char *const *names, unsigned count)
{
	json_t *arguments = json_object();
	unsigned i = 0;
	char *word;

	while ((word = hmp_word(&line->rest))) {
		if (strcmp(word, "-f") == 0)
			json_object_set_new(arguments, "force", json_true());
		else if (i < count)
			json_object_set_new(arguments, names[i++], json_string(word));
	}
	hmp_tell(line, command, arguments);
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
	while (*line->rest == '-') {
		hmp_word(&line->rest);
		line->rest += strspn(line->rest, " \t");
	}
	hmp_tell(line, "migrate", json_pack("{s:s}", "uri", hmp_rest(line->rest)));
}

static void run_migrate_incoming(struct hmp_line *line)
{
	hmp_tell(line, "migrate-incoming", json_pack("{s:s}", "uri", hmp_rest(line->rest)));
}

static void run_migrate_cancel(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "migrate_cancel"));
}

static void run_calc_dirty_rate(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_dirty_rate(line->rest);

	if (arguments)
		hmp_tell(line, "calc-dirty-rate", arguments);
	else
		hmp_print(line->text, "calc_dirty_rate: SECONDS [PAGES]\n");
}

static void run_migrate_set_capability(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_capability(line->rest);

	if (arguments)
		hmp_tell(line, "migrate-set-capabilities", arguments);
	else
		hmp_print(line->text, "migrate_set_capability: NAME on|off\n");
}

static void run_migrate_set_parameter(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_parameter(line->rest);

	if (arguments)
		hmp_tell(line, "migrate-set-parameters", arguments);
	else
		hmp_print(line->text, "migrate_set_parameter: max-bandwidth BYTES[KMG], or downtime-limit MS\n");
}

static void run_set_link(struct hmp_line *line)
{
	json_t *arguments = hmp_parse_link(line->rest);

	if (arguments)
		hmp_tell(line, "set_link", arguments);
	else
		hmp_print(line->text, "set_link: NAME on, or NAME off\n");
}

static void forward(struct hmp_line *line, bool is_end)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	json_t *arguments = hmp_parse_forward(line->rest, is_end);
	struct error error = {.message = "there is no machine"};

	if (!arguments)
		hmp_print(line->text, "which port? as tcp:127.0.0.1:2222-:22\n");
	else if (!facts->change || !line->monitor->machine ||
		 facts->change(facts->change_context, MONITOR_FORWARD, arguments, &error) < 0)
		hmp_print(line->text, "Error: %s\n", error.message);
	else if (is_end)
		hmp_print(line->text, "host forwarding rule for %s removed\n",
			  json_string_value(json_object_get(arguments, "forward")));
	json_decref(arguments);
}

static void run_hostfwd_add(struct hmp_line *line)
{
	forward(line, false);
}

static void run_hostfwd_remove(struct hmp_line *line)
{
	forward(line, true);
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
	{"block_job_cancel", NULL, run_block_job_cancel, "[-f] DISK: end what copies it; -f: though it pauses, and without its rest"},
	{"block_job_complete", NULL, run_block_job_complete, "DISK: go on in the copy, which is ready"},
	{"block_job_pause", NULL, run_block_job_pause, "DISK: copy no more of it for now"},
	{"block_job_resume", NULL, run_block_job_resume, "DISK: go on copying it"},
	{"block_job_set_speed", NULL, run_block_job_set_speed, "DISK SPEED[KMGT]: how many bytes a second are copied; 0: no limit"},
	{"block_resize", NULL, run_block_resize, "DEVICE SIZE[KMGT]: another size of a disk"},
	{"block_set_io_throttle", NULL, run_block_set_io_throttle, "DEVICE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR: limits of a disk, a second; 0: none"},
	{"block_stream", NULL, run_block_stream, "DISK [SPEED [BASE]]: copy images below into the topmost one, down to a file"},
	{"calc_dirty_rate", NULL, run_calc_dirty_rate, "SECONDS [PAGES]: measure how fast memory is written to, by so many pages of each GiB"},
	{"change", NULL, run_change, "[-f] DRIVE FILE [FORMAT]: put another medium into a CD-ROM drive"},
	{"chardev-add", NULL, run_chardev_add, "BACKEND,id=ID,...: a console, as -chardev has it"},
	{"chardev-change", NULL, run_chardev_change, "ID BACKEND,...: lead it elsewhere, whoever has it"},
	{"chardev-remove", NULL, run_chardev_remove, "ID: one that nobody has"},
	{"chardev-send-break", NULL, run_chardev_send_break, "ID: a break on its line"},
	{"cont", "c", run_cont, "let the machine run"},
	{"cpu", NULL, hmp_cpu, "NUMBER: the CPU that is looked at"},
	{"delvm", NULL, run_delvm, "NAME: delete a snapshot"},
	{"device_add", NULL, run_device_add, "plug a device in: DRIVER,bus=PORT,..."},
	{"device_del", NULL, run_device_del, "ask the guest to let go of a device"},
	{"dump-guest-memory", NULL, hmp_dump, "[-p] FILE [BEGIN LENGTH]: memory and registers as an ELF core; -p: by virtual addresses"},
	{"eject", NULL, run_eject, "[-f] DRIVE: open a CD-ROM drive, and take out what is in it"},
	{"gva2gpa", NULL, hmp_gva2gpa, "ADDRESS: where the CPU has it in memory"},
	{"help", "?", run_help, "[COMMAND]: this list, or a line of it"},
	{"hostfwd_add", NULL, run_hostfwd_add, "[NETWORK] [tcp|udp]:[ADDRESS]:PORT-[GUESTADDRESS]:GUESTPORT: forward a port of the host's"},
	{"hostfwd_remove", NULL, run_hostfwd_remove, "[NETWORK] [tcp|udp]:[ADDRESS]:PORT: forward it no more"},
	{"i", NULL, hmp_in, "[/FORMAT] PORT: read an I/O port"},
	{"info", NULL, hmp_info, "tell about the machine; without a word, of what"},
	{"loadvm", NULL, run_loadvm, "NAME: the machine and its disks as they were"},
	{"memsave", NULL, hmp_memsave, "ADDRESS SIZE FILE: memory by virtual addresses to a file"},
	{"migrate", NULL, run_migrate, "[-d] URI: send the machine to file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT or fd:NAME"},
	{"migrate_cancel", NULL, run_migrate_cancel, "let the machine stay here"},
	{"migrate_incoming", NULL, run_migrate_incoming, "URI: receive it, after -incoming defer"},
	{"migrate_set_capability", NULL, run_migrate_set_capability, "NAME on|off: how machines are sent"},
	{"migrate_set_parameter", NULL, run_migrate_set_parameter, "max-bandwidth BYTES[KMG] or downtime-limit MS"},
	{"mouse_button", NULL, run_mouse_button, "press the buttons whose bits are set (1 left, 2 right, 4 middle)"},
	{"mouse_move", NULL, run_mouse_move, "X Y [WHEEL]: move the mouse"},
	{"nbd_server_add", NULL, run_nbd_server_add, "[-w] DEVICE [NAME]: give a disk to others by NBD"},
	{"nbd_server_remove", NULL, run_nbd_server_remove, "[-f] NAME: give it no more; -f: though somebody has it"},
	{"nbd_server_start", NULL, run_nbd_server_start, "[-a] [-w] HOST:PORT|unix:PATH: listen there; -a: give all disks, -w: to be written to"},
	{"nbd_server_stop", NULL, run_nbd_server_stop, "end all exports, and the server"},
	{"nmi", NULL, hmp_nmi, "an NMI for each CPU"},
	{"o", NULL, hmp_out, "[/SIZE] PORT VALUE: write to an I/O port"},
	{"pmemsave", NULL, hmp_pmemsave, "ADDRESS SIZE FILE: memory by physical addresses to a file"},
	{"print", "p", hmp_print_value, "[/FORM] EXPRESSION, such as $rsp + 8"},
	{"quit", "q", run_quit, "end at once"},
	{"savevm", NULL, run_savevm, "[NAME]: a snapshot of the machine in its disks, which are qcow2"},
	{"screendump", NULL, run_screendump, "FILE [-f png]: a picture of the display (PPM)"},
	{"sendkey", NULL, run_sendkey, "KEYS [MS]: press keys, as ctrl-alt-f1"},
	{"set_link", NULL, run_set_link, "NAME on|off: plug the cable of a network device in, or pull it out"},
	{"snapshot_blkdev", NULL, run_snapshot_blkdev, "DEVICE FILE: write to a new image on top of a disk from now on"},
	{"stop", "s", run_stop, "stop the machine"},
	{"system_powerdown", NULL, run_powerdown, "press the power button"},
	{"system_reset", NULL, run_reset, "press the reset button"},
	{"system_wakeup", NULL, run_wakeup, "wake a guest that sleeps with memory on"},
	{"x", NULL, hmp_x, "[/FORMAT] ADDRESS: memory by virtual addresses; a format is as 10xw, or 5i"},
	{"xp", NULL, hmp_xp, "[/FORMAT] ADDRESS: memory by physical addresses"},
};

static void run_help(struct hmp_line *line)
{
	const char *word = hmp_word(&line->rest);
	const struct hmp_command *wanted =
		word ? hmp_find(commands, sizeof(commands) / sizeof(commands[0]), word, strlen(word)) : NULL;
	unsigned i;

	if (word && !wanted)
		hmp_print(line->text, "unknown command: '%.100s'\n", word);
	/* "help info" lists what it tells. */
	if (wanted && strcmp(wanted->name, "info") == 0) {
		*line->rest = 0;
		hmp_info(line);
		return;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (wanted ? wanted == &commands[i] : !word)
			hmp_print(line->text, "%s%s%s -- %s\n", commands[i].name, commands[i].other_name ? "|" : "",
				  commands[i].other_name ? commands[i].other_name : "", commands[i].help);
}

void hmp_run(struct monitor *monitor, const char *text, unsigned *cpu, struct hmp_text *output)
{
	struct hmp_line line = {.monitor = monitor, .text = output, .cpu = cpu};
	const struct hmp_command *found;
	const char *problem;
	size_t length;
	char *copy;

	while (isspace((unsigned char)*text))
		text++;
	length = strcspn(text, " \t\r\n/"); /* "x/10i" */
	if (!length || *text == '#')
		return;
	found = hmp_find(commands, sizeof(commands) / sizeof(commands[0]), text, length);
	if (!found) {
		hmp_print(output, "unknown command: '%.*s'\n", (int)length, text);
		return;
	}
	problem = hmp_find_bad_quotes(text + length);
	copy = problem ? NULL : strdup(text + length);
	if (copy) {
		line.rest = copy + strspn(copy, " \t\r\n\v\f");
		found->run(&line);
	} else {
		hmp_print(output, "%.*s: %s\n", (int)length, text, problem ? problem : strerror(ENOMEM));
	}
	free(copy);
}
