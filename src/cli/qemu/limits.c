#include "cli/qemu/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/throttle.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"

/* How a limit is called: of all, of reads, of writes; and what is said of its burst. */
struct form {
	const char *kinds[BLOCK_RATES];
	const char *prefix, *burst, *length, *size, *group;
};
static const struct form of_drive = {
	{"-total", "-read", "-write"}, "throttling.", "-max", "-max-length", "throttling.iops-size", "throttling.group"};
static const struct form of_command = {{"", "_rd", "_wr"}, "", "_max", "_max_length", "iops_size", "group"};

static int read_rates(const json_t *said, const struct form *form, const char *unit, struct block_rate *rates,
		      struct error *error)
{
	unsigned i, part;

	for (i = 0; i < BLOCK_RATES; i++) {
		const char *const ends[] = {"", form->burst, form->length};
		uint64_t *const values[] = {&rates[i].average, &rates[i].burst, &rates[i].burst_seconds};
		char key[64];

		for (part = 0; part < 3; part++) {
			snprintf(key, sizeof(key), "%s%s%s%s", form->prefix, unit, form->kinds[i], ends[part]);
			if (keyval_number(said, key, BLOCK_RATE_MAX, values[part], error) < 0)
				return -EINVAL;
		}
	}
	return 0;
}

static int read_limits(const json_t *said, const struct form *form, struct block_limits *limits, struct error *error)
{
	int result;

	*limits = (struct block_limits){.operation_bytes = 0};
	result = read_rates(said, form, "bps", limits->bytes, error);
	if (result == 0)
		result = read_rates(said, form, "iops", limits->operations, error);
	return result < 0 ? result : keyval_number(said, form->size, BLOCK_RATE_MAX, &limits->operation_bytes, error);
}

/* Another disk of that group. NULL: there is none. */
static struct block *find_group(struct drives *drives, const struct drive *drive, const char *group)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (&drives->list[i] != drive && drives->list[i].block && strcmp(drives->list[i].group, group) == 0)
			return drives->list[i].block;
	return NULL;
}

static int apply(struct drives *drives, struct drive *drive, const struct block_limits *limits, const char *group,
		 struct error *error)
{
	int result;

	if (!group)
		group = *drive->group ? drive->group : drive->name;
	if (strlen(group) >= sizeof(drive->group))
		return error_set(error, EINVAL, "group=%.20s... is too long a name", group);
	result = block_set_limits(drive->block, limits, find_group(drives, drive, group), error);
	if (result == 0 && group != drive->group)
		snprintf(drive->group, sizeof(drive->group), "%s", group);
	if (result == 0 && !block_limits_any(limits))
		drive->group[0] = 0;
	return result;
}

static int take(struct drives *drives, struct drive *drive, struct error *error)
{
	const char *group = keyval_text(drive->options, of_drive.group);
	struct block_limits limits;
	int result = read_limits(drive->options, &of_drive, &limits, error);

	if (result < 0 || (!block_limits_any(&limits) && !limits.operation_bytes && !group))
		return result;
	return apply(drives, drive, &limits, group, error);
}

int limits_open(struct drives *drives, struct drive *drive, const json_t *device, bool is_cdrom, struct block **block,
		struct error *error)
{
	int result = drive_open(drives, drive, device, is_cdrom, block, error);

	if (result < 0 || drive->is_node)
		return result;
	result = take(drives, drive, error);
	if (result < 0) {
		block_close(*block, NULL);
		drive_release(drives, drive);
	}
	return result;
}

/* A device by its id, or by its place among objects, be it a part of it that has the disk. */
static int find_disk(struct hotplug *hotplug, const json_t *arguments, struct drive **drive, struct error *error)
{
	static const char place[] = "/machine/peripheral/";
	const char *device = keyval_text(arguments, "device"), *id = keyval_text(arguments, "id");
	char name[64];

	if (!id == !device)
		return error_set(error, EINVAL, "Need exactly one of 'device' and 'id'");
	if (id && strncmp(id, place, strlen(place)) == 0)
		id += strlen(place);
	if (id)
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(id, "/"), id);
	return disks_find(hotplug, id ? name : device, drive, error);
}

int limits_set(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	struct block_limits limits;
	struct drive *drive;
	int result = find_disk(hotplug, arguments, &drive, error);

	if (result == 0)
		result = read_limits(arguments, &of_command, &limits, error);
	if (result < 0)
		return result;
	return apply(&hotplug->line->drives, drive, &limits, keyval_text(arguments, "group"), error);
}
