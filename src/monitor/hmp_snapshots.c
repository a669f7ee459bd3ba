#include "monitor/hmp_snapshots.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "monitor/hmp_words.h"
#include "util/snapshot_text.h"

static bool has_machine(struct monitor *monitor, struct hmp_text *text)
{
	if (!monitor->machine)
		hmp_print(text, "Error: there is no machine (-machine none)\n");
	return monitor->machine != NULL;
}

void hmp_savevm(struct monitor *monitor, char *rest, struct hmp_text *text)
{
	char now_name[sizeof("vm-YYYYmmddHHMMSS") + 8], *name;
	time_t now = time(NULL);
	struct tm local;
	struct error error;

	if (!has_machine(monitor, text))
		return;
	name = hmp_word(&rest);
	if (!name) {
		localtime_r(&now, &local);
		strftime(now_name, sizeof(now_name), "vm-%Y%m%d%H%M%S", &local);
		name = now_name;
	}
	if (machine_snapshot_save(monitor->machine, NULL, name, &error) < 0)
		hmp_print(text, "Error: %s\n", error.message);
}

typedef int snapshot_action(struct machine *machine, const struct machine_snapshot_choice *choice,
			    const char *name, struct error *error);

/* One that must be named. */
static void act(struct monitor *monitor, const char *command, snapshot_action *action, char *rest,
		struct hmp_text *text)
{
	struct error error;
	char *name;

	if (!has_machine(monitor, text))
		return;
	name = hmp_word(&rest);
	if (!name)
		hmp_print(text, "%s: which one? info snapshots lists them\n", command);
	else if (action(monitor->machine, NULL, name, &error) < 0)
		hmp_print(text, "Error: %s\n", error.message);
}

void hmp_loadvm(struct monitor *monitor, char *rest, struct hmp_text *text)
{
	act(monitor, "loadvm", machine_snapshot_load, rest, text);
}

void hmp_delvm(struct monitor *monitor, char *rest, struct hmp_text *text)
{
	act(monitor, "delvm", machine_snapshot_delete, rest, text);
}

void hmp_info_snapshots(struct monitor *monitor, struct hmp_text *text)
{
	struct machine_snapshot one;
	struct snapshot_text columns;
	unsigned i, count = 0;
	int result = 0;

	if (!has_machine(monitor, text))
		return;
	for (i = 0; (result = machine_snapshot_list(monitor->machine, i, &one)) == 1; i++) {
		if (!one.is_complete)
			continue;
		if (!count++)
			hmp_print(text, "List of snapshots present on all disks:\n" SNAPSHOT_TEXT_HEAD);
		snapshot_text_make(&columns, one.state_bytes, one.seconds, one.clock_ns);
		hmp_print(text, SNAPSHOT_TEXT_ROW, "--", one.name, columns.size, columns.date, columns.clock, "");
	}
	if (result < 0)
		hmp_print(text, "No available block device supports snapshots\n");
	else if (!count)
		hmp_print(text, "There is no snapshot available.\n");
}
