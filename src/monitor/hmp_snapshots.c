#include "monitor/hmp_snapshots.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_BYTES (MACHINE_SNAPSHOT_NAME_MAX + 2) /* one too many is refused, and not cut */

/* The one word that is there; false: none. */
static bool take_name(const char *rest, char name[NAME_BYTES])
{
	size_t length = strcspn(rest, " \t\r\n");

	snprintf(name, NAME_BYTES, "%.*s", (int)length, rest);
	return length > 0;
}

static bool has_machine(struct monitor *monitor, struct hmp_text *text)
{
	if (!monitor->machine)
		hmp_print(text, "Error: there is no machine (-machine none)\n");
	return monitor->machine != NULL;
}

void hmp_savevm(struct monitor *monitor, const char *rest, struct hmp_text *text)
{
	char name[NAME_BYTES];
	time_t now = time(NULL);
	struct tm local;
	struct error error;

	if (!has_machine(monitor, text))
		return;
	if (!take_name(rest, name)) {
		localtime_r(&now, &local);
		strftime(name, sizeof(name), "vm-%Y%m%d%H%M%S", &local);
	}
	if (machine_snapshot_save(monitor->machine, NULL, name, &error) < 0)
		hmp_print(text, "Error: %s\n", error.message);
}

void hmp_loadvm(struct monitor *monitor, const char *rest, struct hmp_text *text)
{
	char name[NAME_BYTES];
	struct error error;

	if (!has_machine(monitor, text))
		return;
	if (!take_name(rest, name))
		hmp_print(text, "loadvm: which one? info snapshots lists them\n");
	else if (machine_snapshot_load(monitor->machine, NULL, name, &error) < 0)
		hmp_print(text, "Error: %s\n", error.message);
}

void hmp_delvm(struct monitor *monitor, const char *rest, struct hmp_text *text)
{
	char name[NAME_BYTES];
	struct error error;

	if (!has_machine(monitor, text))
		return;
	if (!take_name(rest, name))
		hmp_print(text, "delvm: which one? info snapshots lists them\n");
	else if (machine_snapshot_delete(monitor->machine, NULL, name, &error) < 0)
		hmp_print(text, "Error: %s\n", error.message);
}

/* Three digits that count, as QEMU's tools print sizes. */
static void print_size(char *text, size_t room, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double size = bytes;
	unsigned unit = 0;

	while (size >= 1000 && unit < 4) {
		size /= 1024;
		unit++;
	}
	snprintf(text, room, "%.3g %s", size, units[unit]);
}

void hmp_info_snapshots(struct monitor *monitor, struct hmp_text *text)
{
	struct machine_snapshot one;
	char size[32], date[32], clock[32];
	struct tm local;
	time_t when;
	unsigned i, count = 0;
	int result = 0;

	if (!has_machine(monitor, text))
		return;
	for (i = 0; (result = machine_snapshot_list(monitor->machine, i, &one)) == 1; i++) {
		if (!one.is_complete)
			continue;
		if (!count++)
			hmp_print(text, "List of snapshots present on all disks:\n%-10s%-17s%8s%20s%13s%11s\n", "ID",
				  "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
		when = one.seconds;
		localtime_r(&when, &local);
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
		print_size(size, sizeof(size), one.state_bytes);
		snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(one.clock_ns / 3600000000000),
			 (unsigned)(one.clock_ns / 60000000000 % 60), (unsigned)(one.clock_ns / 1000000000 % 60),
			 (unsigned)(one.clock_ns / 1000000 % 1000));
		hmp_print(text, "%-9s %-16s %8s%20s%13s%11s\n", "--", one.name, size, date, clock, "");
	}
	if (result < 0)
		hmp_print(text, "No available block device supports snapshots\n");
	else if (!count)
		hmp_print(text, "There is no snapshot available.\n");
}
