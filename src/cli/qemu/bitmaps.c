#include "cli/qemu/bitmaps.h"

#include <errno.h>
#include <string.h>

#include "block/dirty.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/keyval.h"

struct bitmap_call {
	struct hotplug *hotplug;
	const json_t *arguments;
	struct block *block;
	struct block_bitmap *bitmap; /* NULL: of "add" */
	struct error *error;
};

struct block_bitmap *bitmaps_find(const struct drive *drive, const char *name, struct error *error)
{
	struct block_bitmap *bitmap = block_bitmap_find(drive->block, name);

	if (!bitmap)
		error_set(error, ENOENT, "Dirty bitmap '%.60s' not found", name);
	return bitmap;
}

static int add(struct bitmap_call *call)
{
	const json_t *arguments = call->arguments;
	uint64_t granularity = 0;

	if (json_is_true(json_object_get(arguments, "persistent")))
		return error_set(call->error, ENOTSUP, "persistent=true is not there: bitmaps end with this process");
	if (keyval_number(arguments, "granularity", UINT32_MAX, &granularity, call->error) < 0)
		return -EINVAL;
	if (json_object_get(arguments, "granularity") && !granularity)
		return error_set(call->error, EINVAL, "Granularity must be a power of 2, and at least 512");
	return block_bitmap_add(call->block, keyval_text(arguments, "name"), granularity,
				!json_is_true(json_object_get(arguments, "disabled")), call->error);
}

static int remove_one(struct bitmap_call *call)
{
	return block_bitmap_remove(call->block, call->bitmap, call->error);
}

static int clear(struct bitmap_call *call)
{
	return block_bitmap_clear(call->block, call->bitmap, json_is_true(json_object_get(call->arguments, "is-kept")),
				  call->error);
}

static int restore(struct bitmap_call *call)
{
	block_bitmap_unclear(call->bitmap, true);
	return 0;
}

static int forget(struct bitmap_call *call)
{
	block_bitmap_unclear(call->bitmap, false);
	return 0;
}

static int enable(struct bitmap_call *call)
{
	return block_bitmap_enable(call->block, call->bitmap, true, call->error);
}

static int disable(struct bitmap_call *call)
{
	return block_bitmap_enable(call->block, call->bitmap, false, call->error);
}

/* One that is to be merged: by its name, or a disk's and its name. */
static struct block_bitmap *find_source(struct bitmap_call *call, const json_t *source)
{
	const char *node = keyval_text(source, "node"), *name = keyval_text(source, "name");
	struct drive *drive;

	if (node && name)
		return disks_find(call->hotplug, node, &drive, call->error) < 0 ? NULL : bitmaps_find(drive, name, call->error);
	name = json_string_value(source);
	if (!disks_find(call->hotplug, keyval_text(call->arguments, "node"), &drive, call->error) && name)
		return bitmaps_find(drive, name, call->error);
	error_set(call->error, EINVAL, "bitmaps: names, or objects of node and name");
	return NULL;
}

static int merge(struct bitmap_call *call)
{
	const json_t *sources = json_object_get(call->arguments, "bitmaps");
	size_t i, count = json_array_size(sources);
	int result = 0;

	/* All are looked for before one is merged. */
	for (i = 0; i < count; i++)
		if (!find_source(call, json_array_get(sources, i)))
			return -ENOENT;
	for (i = 0; i < count && result == 0; i++)
		result = block_bitmap_merge(call->bitmap, find_source(call, json_array_get(sources, i)), call->error);
	return result;
}

int bitmaps_change(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	static const struct {
		const char *name;
		int (*run)(struct bitmap_call *call);
	} verbs[] = {{"add", add},	 {"remove", remove_one}, {"clear", clear}, {"restore", restore}, {"forget", forget},
		     {"enable", enable}, {"disable", disable},	 {"merge", merge}};
	const char *verb = keyval_text(arguments, "verb"), *name = keyval_text(arguments, "name");
	struct bitmap_call call = {.hotplug = hotplug, .arguments = arguments, .error = error};
	struct drive *drive;
	unsigned i = 0;
	int result = disks_find(hotplug, keyval_text(arguments, "node"), &drive, error);

	if (result < 0)
		return result;
	call.block = drive->block;
	while (strcmp(verbs[i].name, verb) != 0)
		i++;
	if (verbs[i].run == merge)
		name = keyval_text(arguments, "target");
	if (verbs[i].run != add && !(call.bitmap = bitmaps_find(drive, name, error)))
		return -ENOENT;
	return verbs[i].run(&call);
}
