#include "cli/qemu/drive_facts.h"

#include <stdio.h>

#include "block/dirty.h"
#include "block/error_policy.h"
#include "block/image.h"
#include "block/throttle.h"
#include "cli/image_facts.h"

/* The name of the image below, and how many there are. */
static void describe_backing(json_t *inserted, struct node *image)
{
	struct image_description description;
	int depth = 0;

	image_describe(image, &description);
	if (description.backing)
		json_object_set_new(inserted, "backing_file", json_string(description.backing));
	while ((image = image_below(image)))
		depth++;
	json_object_set_new(inserted, "backing_file_depth", json_integer(depth));
}

static void describe_rates(json_t *inserted, const char *unit, const struct block_rate *rates, bool has_bursts)
{
	static const char *const kinds[BLOCK_RATES] = {"", "_rd", "_wr"};
	char key[32];
	unsigned i;

	for (i = 0; i < BLOCK_RATES; i++) {
		snprintf(key, sizeof(key), "%s%s", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].average));
		if (!has_bursts)
			continue;
		snprintf(key, sizeof(key), "%s%s_max", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].burst));
		snprintf(key, sizeof(key), "%s%s_max_length", unit, kinds[i]);
		json_object_set_new(inserted, key, json_integer(rates[i].burst_seconds ? rates[i].burst_seconds : 1));
	}
}

static void describe_limits(json_t *inserted, const struct drive *drive)
{
	static const struct block_limits none = {.operation_bytes = 0};
	const struct block_limits *limits = block_read_limits(drive->block);
	bool has_limits = limits && block_limits_any(limits);

	if (!has_limits)
		limits = &none;
	describe_rates(inserted, "bps", limits->bytes, has_limits);
	describe_rates(inserted, "iops", limits->operations, has_limits);
	if (!has_limits)
		return;
	json_object_set_new(inserted, "iops_size", json_integer(limits->operation_bytes));
	json_object_set_new(inserted, "group", json_string(drive->group));
}

const char *drive_io_status(const struct drive *drive)
{
	static const char *const names[] = {
		[BLOCK_HEALTHY] = "ok", [BLOCK_HAS_FAILED] = "failed", [BLOCK_IS_FULL] = "nospace"};

	return names[drive->block ? block_health(drive->block) : BLOCK_HEALTHY];
}

static void describe_bitmaps(json_t *inserted, const struct block *block)
{
	const struct block_bitmap *bitmap;
	struct block_bitmap_facts facts;
	json_t *list = json_array();
	unsigned i;

	for (i = 0; (bitmap = block_bitmap_at(block, i)); i++) {
		block_bitmap_describe(bitmap, &facts);
		json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:b,s:b,s:b}", "name", facts.name, "count",
						      (json_int_t)facts.dirty_bytes, "granularity", (json_int_t)facts.granularity,
						      "recording", facts.is_enabled, "busy", facts.is_busy, "persistent", 0));
	}
	if (i)
		json_object_set_new(inserted, "dirty-bitmaps", list);
	else
		json_decref(list);
}

json_t *drive_describe_inserted(const struct drive *drive)
{
	const struct block_info *info = block_info(drive->block);
	json_t *inserted =
		json_pack("{s:s,s:s,s:b,s:s,s:b,s:s,s:i,s:o,s:{s:b,s:b,s:b}}", "file", info->path,
			  "node-name", *drive->node_name ? drive->node_name : drive->name, "ro", info->is_readonly, "drv", info->format, "encrypted", 0,
			  "detect_zeroes", block_zeroes_name(info->zeroes), "write_threshold", 0, "image", image_facts_of_chain(block_image(drive->block)), "cache", "writeback",
			  info->has_write_cache, "direct", drive->is_direct, "no-flush", drive->no_flush);

	describe_backing(inserted, block_image(drive->block));
	describe_limits(inserted, drive);
	describe_bitmaps(inserted, drive->block);
	return inserted;
}

json_t *drives_describe(const struct drives *drives)
{
	json_t *answer = json_array(), *one;
	unsigned i;

	for (i = 0; i < drives->count; i++) {
		if (!drives->list[i].block || drives->list[i].is_cdrom)
			continue;
		one = json_pack("{s:s,s:s,s:b,s:b,s:s,s:o}", "device",
				drives->list[i].is_node ? "" : drives->list[i].name, "type", "unknown",
				"removable", 0, "locked", 0, "io-status", drive_io_status(&drives->list[i]), "inserted",
				drive_describe_inserted(&drives->list[i]));
		if (drives->list[i].device[0])
			json_object_set_new(one, "qdev", json_string(drives->list[i].device));
		json_array_append_new(answer, one);
	}
	return answer;
}

json_t *drives_describe_nodes(const struct drives *drives)
{
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].block)
			json_array_append_new(answer, drive_describe_inserted(&drives->list[i]));
	return answer;
}
