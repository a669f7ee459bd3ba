#include "cli/image_facts.h"

#include <stdlib.h>

const char *image_compat(const struct image_description *description)
{
	return description->version == 2 ? "0.10" : "1.1";
}

static json_t *bitmaps_json(struct node *image, unsigned count)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < count; i++) {
		struct image_bitmap bitmap;
		json_t *flags = json_array();

		image_bitmap_describe(image, i, &bitmap);
		if (bitmap.is_in_use)
			json_array_append_new(flags, json_string("in-use"));
		if (bitmap.is_auto)
			json_array_append_new(flags, json_string("auto"));
		json_array_append_new(list, json_pack("{s:o, s:s, s:I}", "flags", flags, "name",
						      bitmap.name, "granularity",
						      (json_int_t)bitmap.granularity));
	}
	return list;
}

static json_t *specific_json(struct node *image, const struct image_description *description)
{
	json_t *data = json_pack("{s:s, s:s, s:i}", "compat", image_compat(description),
				 "compression-type", description->compression, "refcount-bits",
				 (int)description->refcount_bits);

	if (description->version >= 3) {
		json_object_set_new(data, "lazy-refcounts", json_boolean(description->is_lazy));
		json_object_set_new(data, "corrupt", json_boolean(description->is_corrupt));
		json_object_set_new(data, "extended-l2", json_boolean(description->is_extended));
	}
	if (description->data_file) {
		json_object_set_new(data, "data-file", json_string(description->data_file));
		json_object_set_new(data, "data-file-raw", json_boolean(description->is_data_raw));
	}
	if (description->bitmap_count > 0)
		json_object_set_new(data, "bitmaps",
				    bitmaps_json(image, description->bitmap_count));
	return json_pack("{s:s, s:o}", "type", "qcow2", "data", data);
}

static json_t *snapshots_json(struct node *image, unsigned count)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < count; i++) {
		struct block_snapshot snapshot;
		json_t *facts;

		image_snapshot_describe(image, i, &snapshot);
		facts = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "id", snapshot.id, "name", snapshot.name,
				  "vm-state-size", (json_int_t)snapshot.state_bytes, "date-sec",
				  (json_int_t)snapshot.seconds, "date-nsec", (json_int_t)snapshot.nanoseconds, "vm-clock-sec",
				  (json_int_t)(snapshot.clock_ns / 1000000000), "vm-clock-nsec",
				  (json_int_t)(snapshot.clock_ns % 1000000000));
		if (snapshot.icount_plus_1)
			json_object_set_new(facts, "icount", json_integer((json_int_t)(snapshot.icount_plus_1 - 1)));
		json_array_append_new(list, facts);
	}
	return list;
}

static json_t *vmdk_json(const struct image_description *description)
{
	json_t *extent = json_pack("{s:I, s:s, s:I, s:s}", "virtual-size", (json_int_t)description->size, "filename",
				   description->path, "cluster-size", (json_int_t)description->cluster_size, "format", "");

	if (description->is_compressed)
		json_object_set_new(extent, "compressed", json_true());
	return json_pack("{s:s, s:{s:I, s:I, s:s, s:[o]}}", "type", "vmdk", "data", "cid", (json_int_t)description->cid,
			 "parent-cid", (json_int_t)description->parent_cid, "create-type", description->create_type,
			 "extents", extent);
}

json_t *image_facts(struct node *image)
{
	struct image_description description;
	json_t *info;

	image_describe(image, &description);
	info = json_pack("{s:I, s:s, s:s, s:b}", "virtual-size", (json_int_t)description.size, "filename",
			 description.path, "format", description.format, "dirty-flag", description.is_dirty);
	if (description.space != UINT64_MAX)
		json_object_set_new(info, "actual-size", json_integer(description.space));
	if (description.cluster_size)
		json_object_set_new(info, "cluster-size", json_integer(description.cluster_size));
	if (description.is_qcow2)
		json_object_set_new(info, "format-specific", specific_json(image, &description));
	if (description.create_type)
		json_object_set_new(info, "format-specific", vmdk_json(&description));
	if (description.snapshot_count > 0)
		json_object_set_new(info, "snapshots",
				    snapshots_json(image, description.snapshot_count));
	if (description.backing) {
		char *full = image_resolve(description.path, description.backing);

		json_object_set_new(info, "backing-filename", json_string(description.backing));
		if (full)
			json_object_set_new(info, "full-backing-filename", json_string(full));
		if (description.backing_format)
			json_object_set_new(info, "backing-filename-format",
					    json_string(description.backing_format));
		free(full);
	}
	return info;
}

json_t *image_facts_of_chain(struct node *image)
{
	json_t *top = NULL, *above = NULL, *facts;

	for (; image; image = image_below(image), above = facts) {
		facts = image_facts(image);
		if (above)
			json_object_set_new(above, "backing-image", facts);
		else
			top = facts;
	}
	return top;
}
