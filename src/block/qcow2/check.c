/*
 * Checking an image: counts for each host cluster what refers to it, compares that with the refcounts,
 * and looks at what entries claim. Lines that name clusters have the form of qemu-img's, for scripts.
 *
 * Repair: leaks are repaired in place. Where refcounts are too low, nothing that they say can be
 * relied on to make room, so all of them are written anew, behind all that is used. Entries that cannot be are mended first
 * (mend.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/check.h"
#include "block/qcow2/whole.h"

#define CLUSTERS_MAX (1ull << 32)

/* Flags say that a refcount is 1, in the active tables. */
static int check_flag(struct check *check, uint64_t entry, const char *what)
{
	uint64_t count;
	int result = refcount_get(check->image, (entry & ENTRY_OFFSET) >> check->image->cluster_bits,
				  &count);

	if (result == -ENOMEM)
		return result;
	if (result == 0 && (count == 1) != !!(entry & ENTRY_COPIED)) {
		check_tell(check, "ERROR OFLAG_COPIED %s: entry=%#llx refcount=%llu", what,
		     (unsigned long long)entry, (unsigned long long)count);
		check->result->corruptions++;
	}
	return 0;
}

static int check_entry(struct check *check, uint64_t guest, const uint8_t *entry, bool is_active,
		       uint64_t *next)
{
	struct qcow2 *image = check->image;
	struct cluster cluster;
	int result = 0;

	if (get_be64(entry) == 0 && (image->subclusters == 1 || get_be64(entry + 8) == 0))
		return 0;
	if (!(get_be64(entry) & ENTRY_COMPRESSED) && get_be64(entry) & L2_RESERVED) {
		check_tell(check, "ERROR L2 entry of guest offset %#llx has reserved bits set: %#llx",
			   (unsigned long long)guest, (unsigned long long)get_be64(entry));
		check->result->corruptions++;
	}
	if (cluster_decode(image, guest, entry, &cluster) < 0) {
		check_tell(check, "ERROR L2 entry of guest offset %#llx is impossible: %#llx",
		     (unsigned long long)guest, (unsigned long long)get_be64(entry));
		check->result->corruptions++;
		/* It holds what it names, all the same. */
		if (!(get_be64(entry) & ENTRY_COMPRESSED) && image->data == &image->node.file)
			return check_refer(check, cluster_start(image, get_be64(entry) & ENTRY_OFFSET),
				     get_be64(entry) & ENTRY_OFFSET ? image->cluster_size : 0, "a cluster");
		return 0;
	}
	if (is_active && (cluster.is_compressed || cluster.has_host)) {
		check->result->allocated_clusters++;
		check->result->compressed_clusters += cluster.is_compressed;
		if (cluster.is_compressed || (*next != 0 && *next != cluster.host))
			check->result->fragmented_clusters++;
		*next = cluster.is_compressed ? 0 : cluster.host + image->cluster_size;
	}
	if (cluster.is_compressed)
		return check_refer(check, cluster.host, cluster.packed_bytes, "compressed data");
	if (!cluster.has_host || image->data != &image->node.file)
		return 0;
	if (is_active)
		result = check_flag(check, cluster.entry, "data cluster");
	return result < 0 ? result : check_refer(check, cluster.host, image->cluster_size, "a data cluster");
}

static int check_l1(struct check *check, const uint64_t *l1, uint32_t size, bool is_active)
{
	struct qcow2 *image = check->image;
	uint64_t next = 0, k, l2_entries = 1ull << image->l2_bits;
	struct table *table;
	uint32_t i;
	int result = 0;

	for (i = 0; i < size && result == 0; i++) {
		uint64_t place = l1[i] & ENTRY_OFFSET;

		if (l1[i] & L1_RESERVED) {
			check_tell(check, "ERROR L1 entry %u has reserved bits set: %#llx", i, (unsigned long long)l1[i]);
			check->result->corruptions++;
		}
		if (place == 0 && l1[i] & ENTRY_COPIED) {
			check_tell(check, "ERROR L1 entry %u has a flag and no place: %#llx", i, (unsigned long long)l1[i]);
			check->result->corruptions++;
		}
		if (place == 0)
			continue;
		if (!is_cluster_aligned(image, place)) {
			check_tell(check, "ERROR L2 table %u is at unaligned offset %#llx", i,
			     (unsigned long long)place);
			check->result->corruptions++;
			continue;
		}
		result = check_refer_marked(check, place, image->cluster_size, "an L2 table", 0);
		if (result == 0 && is_active)
			result = check_flag(check, l1[i], "L2 table");
		if (result < 0 || place >> image->cluster_bits >= check->clusters)
			continue;
		result = table_get(image, &image->l2_tables, place, &table);
		for (k = 0; k < l2_entries && result == 0; k++)
			result = check_entry(check, (i * l2_entries + k) << image->cluster_bits,
					     table->data + k * image->entry_bytes, is_active, &next);
		table_trim(&image->l2_tables);
		table_trim(&image->refblocks);
	}
	return result;
}

static int check_snapshots(struct check *check)
{
	struct qcow2 *image = check->image;
	uint64_t *l1;
	unsigned i;
	int result = check_refer(check, image->snapshots_offset, image->snapshots_bytes, "the list of snapshots");

	if (image->snapshots_lost > 0) {
		check_tell(check, "ERROR the list of snapshots cannot be read: %u of them are left", image->snapshot_count);
		check->result->corruptions++;
	}
	for (i = 0; i < image->snapshot_count && result == 0; i++) {
		const struct snapshot *snapshot = &image->snapshots[i];

		if (snapshot->is_incomplete) {
			check_tell(check, "ERROR snapshot %s (%.100s): its entry is incomplete", snapshot->id, snapshot->name);
			check->result->corruptions++;
		}
		if (snapshot->is_bad) {
			check_tell(check, "ERROR snapshot %s (%.100s): its L1 table of %u entries is at impossible offset %#llx",
				   snapshot->id, snapshot->name, snapshot->l1_size,
				   (unsigned long long)snapshot->l1_offset);
			check->result->corruptions++;
			continue;
		}
		result = check_refer(check, snapshot->l1_offset, snapshot->l1_size * 8ull,
			       "a snapshot's L1 table");
		if (result == 0)
			result = whole_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &l1);
		if (result < 0)
			break;
		result = check_l1(check, l1, snapshot->l1_size, false);
		free(l1);
	}
	return result;
}

static int check_bitmaps(struct check *check)
{
	struct qcow2 *image = check->image;
	uint64_t *table, place;
	uint32_t i, k;
	int result;

	if (image->has_bad_bitmaps) {
		check_tell(check, "ERROR the list of bitmaps cannot be read");
		check->result->corruptions++;
		return 0;
	}
	result = check_refer(check, image->bitmaps_offset, image->bitmaps_bytes, "the list of bitmaps");
	for (i = 0; image->bitmaps && i < image->bitmap_count && result == 0; i++) {
		const struct bitmap *bitmap = &image->bitmaps[i];

		result = check_refer(check, bitmap->table_offset, bitmap->table_size * 8ull,
			       "a bitmap's table");
		if (result == 0)
			result = whole_read_l1(image, bitmap->table_offset, bitmap->table_size, &table);
		for (k = 0; k < bitmap->table_size && result == 0; k++) {
			place = table[k] & ENTRY_OFFSET;
			if (place != 0 && is_cluster_aligned(image, place)) {
				result = check_refer(check, place, image->cluster_size, "a bitmap's data");
			} else if (place != 0 || table[k] & ~1ull) {
				check_tell(check, "ERROR entry %u of bitmap '%.100s' is impossible: %#llx", k, bitmap->name,
					   (unsigned long long)table[k]);
				check->result->corruptions++;
			}
		}
		if (result == 0)
			free(table);
	}
	return result;
}

/* All but the refcounts' own places. */
static int count_contents(struct check *check)
{
	struct qcow2 *image = check->image;
	int result = check_refer(check, 0, image->cluster_size, "the header");

	if (result == 0)
		result = check_refer(check, image->l1_offset, image->l1_size * 8ull, "the L1 table");
	if (result == 0)
		result = check_l1(check, image->l1, image->l1_size, true);
	if (result == 0)
		result = check_snapshots(check);
	if (result == 0)
		result = check_bitmaps(check);
	return result;
}

static int count_refcounts(struct check *check)
{
	struct qcow2 *image = check->image;
	uint32_t i;
	int result = check_refer(check, image->reftable_offset,
			   (uint64_t)image->reftable_clusters << image->cluster_bits,
			   "the refcount table");

	if (image->reftable_reserved > 0) {
		check_tell(check, "ERROR %u refcount table entries have reserved bits set", image->reftable_reserved);
		check->result->corruptions += image->reftable_reserved;
	}
	/* Anew. */
	if (image->reftable_size == 0) {
		check_tell(check, "ERROR there is no refcount table");
		check->result->corruptions++;
		check->has_low_count = true;
	}
	for (i = 0; i < image->reftable_size && result == 0; i++) {
		uint64_t place = image->reftable[i];

		if (place == 0)
			continue;
		if (!is_cluster_aligned(image, place) ||
		    place >> image->cluster_bits >= check->clusters) {
			check_tell(check, "ERROR refcount block %u is at impossible offset %#llx", i,
			     (unsigned long long)place);
			check->result->corruptions++;
			check->has_low_count = true;
			image->reftable[i] = 0; /* in memory: not to be looked at */
			continue;
		}
		result = check_refer(check, place, image->cluster_size, "a refcount block");
		if (result == 0 && check_references(check, place >> image->cluster_bits) != 1) {
			check_tell(check, "ERROR refcount block %u is used for something else, too", i);
			check->result->corruptions++;
			check->has_low_count = true;
		}
	}
	return result;
}

static int compare(struct check *check, enum image_repair repair)
{
	struct qcow2 *image = check->image;
	uint64_t cluster, count, end = 0, looked_at = UINT64_MAX;
	bool are_zero = false;
	int result = 0;

	for (cluster = 0; cluster < check->clusters; cluster++) {
		uint32_t wanted = check_references(check, cluster);
		uint64_t in_block = cluster | ((1ull << image->refblock_bits) - 1);
		uint64_t in_chunk = cluster | ((1ull << CHUNK_BITS) - 1);

		/* A sparse file can be far larger than what is in it. */
		if (!check->chunks[cluster >> CHUNK_BITS]) {
			if (in_block != looked_at)
				result = refcounts_are_zero(image, cluster, &are_zero);
			if (result < 0)
				return result;
			looked_at = in_block;
			if (are_zero) {
				cluster = in_block < in_chunk ? in_block : in_chunk;
				table_trim(&image->refblocks);
				continue;
			}
		}
		result = refcount_get(image, cluster, &count);
		if (result < 0)
			return result;
		if (count > 0 || wanted > 0)
			end = cluster + 1;
		if (count > wanted) {
			check_tell(check, "%s cluster %llu refcount=%llu reference=%u",
			     repair == IMAGE_REPAIR_NONE ? "Leaked" : "Repairing",
			     (unsigned long long)cluster, (unsigned long long)count, wanted);
			if (repair == IMAGE_REPAIR_NONE || check->has_low_count) {
				check->result->leaks++;
			} else {
				result = refcount_set(image, cluster, wanted);
				if (wanted == 0)
					cluster_set_remove(&image->metadata, cluster);
				check->result->leaks_fixed++;
			}
		} else if (count < wanted) {
			check_tell(check, "ERROR cluster %llu refcount=%llu reference=%u",
			     (unsigned long long)cluster, (unsigned long long)count, wanted);
			check->result->corruptions++;
			check->has_low_count = true;
		}
		if (result < 0)
			return result;
		table_trim(&image->refblocks);
		if (image->refblocks.dirty > image->refblocks.limit)
			result = refcounts_write(image);
	}
	check->result->end = end << image->cluster_bits;
	return result;
}

static int begin(struct check *check)
{
	struct qcow2 *image = check->image;

	*check->result = (struct image_check){
		.total_clusters = clusters_for(image, image->node.size),
		.leaks_fixed = check->result->leaks_fixed,
		.corruptions_fixed = check->result->corruptions_fixed,
	};
	check->has_low_count = false;
	check->clusters = clusters_for(image, image->node.file.size);
	if (check->clusters > CLUSTERS_MAX)
		return -EFBIG;
	check->chunks = calloc((check->clusters >> CHUNK_BITS) + 1, sizeof(*check->chunks));
	return check->chunks ? 0 : -ENOMEM;
}

/* How many refcount blocks have something to count before the file's end; its last block counts as one. */
static uint64_t blocks_needed(struct check *check)
{
	unsigned bits = check->image->refblock_bits;
	uint64_t cluster, needed = 1, last = check->clusters >> bits;

	for (cluster = check_next(check, 0); cluster < check->clusters && cluster >> bits < last;
	     cluster = check_next(check, ((cluster >> bits) + 1) << bits))
		needed++;
	return needed;
}

/*
 * New refcounts, by what was counted without the old ones: a table and blocks behind the file's end,
 * to which the header points once they are there. Where nothing is counted there is no block.
 */
static int rebuild(struct check *check)
{
	struct qcow2 *image = check->image;
	uint64_t place = check->clusters, per_block = 1ull << image->refblock_bits;
	uint64_t before = blocks_needed(check), blocks = before, entries, clusters = 1, made = 0, i, k, first, end;
	uint64_t *table;
	uint8_t *block = malloc(image->cluster_size);
	int result = block ? 0 : -ENOMEM;

	/* The table's clusters and the blocks' count themselves, from the block of the file's end on. */
	for (;;) {
		end = place + clusters + blocks;
		entries = (end + per_block - 1) / per_block;
		if (blocks < before + entries - 1 - place / per_block)
			blocks = before + entries - 1 - place / per_block;
		else if (clusters * (image->cluster_size / 8) < entries)
			clusters++;
		else
			break;
	}
	if (clusters << image->cluster_bits > REFTABLE_BYTES_MAX)
		result = -EFBIG;
	table = calloc(clusters, image->cluster_size);
	if (!table)
		result = -ENOMEM;
	for (i = 0; i < entries && result == 0; i++) {
		first = check_next(check, i * per_block);
		if (first / per_block > i) {
			i = first / per_block - 1;
			continue;
		}
		memset(block, 0, image->cluster_size);
		for (k = 0; k < per_block; k++) {
			uint64_t cluster = i * per_block + k;
			uint64_t count = check_references(check, cluster);

			if (cluster >= place && cluster < end)
				count = 1;
			if (count > refcount_max(image))
				result = -ERANGE;
			else if (count > 0)
				refcount_put(image, block, k, count);
		}
		assert(made < blocks);
		first = (place + clusters + made++) << image->cluster_bits;
		table[i] = first;
		if (result == 0)
			result = file_write_at(&image->node.file, first, block, image->cluster_size);
	}
	free(block);
	if (result < 0) {
		free(table);
		return result;
	}
	for (i = 0; i < image->reftable_size; i++)
		if (image->reftable[i] != 0)
			cluster_set_remove(&image->metadata, image->reftable[i] >> image->cluster_bits);
	for (i = 0; i < image->reftable_clusters; i++)
		cluster_set_remove(&image->metadata,
				   (image->reftable_offset >> image->cluster_bits) + i);
	free(image->reftable);
	table_drop_all(&image->refblocks);
	image->reftable = table;
	image->reftable_size = clusters * (image->cluster_size / 8);
	image->reftable_clusters = clusters;
	image->reftable_offset = place << image->cluster_bits;
	image->free_hint = 0;
	image->has_dirty_reftable = false;
	result = reftable_install(image);
	for (i = 0; i < clusters + blocks && result == 0; i++)
		result = cluster_set_add(&image->metadata, place + i);
	return result;
}

/* Count again what does not hang on refcounts, without words: something of it was changed. */
static int count_again(struct check *check)
{
	void (*say)(void *context, const char *line) = check->say;
	int result;

	check_forget(check);
	result = begin(check);
	check->say = NULL;
	if (result == 0)
		result = count_contents(check);
	check->say = say;
	return result;
}

/*
 * Have entries that cannot be, be otherwise. What is to be changed must be known to be nothing else, so this comes when all is
 * counted; afterwards it is counted anew. Until here, only such entries and lists count as corruptions.
 */
static int mend(struct check *check, bool *has_mended)
{
	struct qcow2 *image = check->image;
	int result = check_mend(check, has_mended);

	if (result == 0 && image->snapshots_lost > 0) {
		check_tell(check, "Discarding %u snapshots that cannot be read", image->snapshots_lost);
		result = snapshots_cut(image);
		*has_mended = true;
	}
	if (result == 0 && image->has_bad_bitmaps) {
		check_tell(check, "Discarding the bitmaps");
		result = bitmaps_drop(image);
		*has_mended = true;
	}
	return result;
}

/* With refcounts that are true: entries of the list get what they lack. */
static int complete_snapshots(struct qcow2 *image)
{
	bool are_complete = true;
	unsigned i;

	for (i = 0; i < image->snapshot_count; i++) {
		are_complete &= !image->snapshots[i].is_incomplete;
		image->snapshots[i].is_incomplete = false;
	}
	return are_complete ? 0 : snapshots_write(image, image->snapshots, image->snapshot_count);
}

static int run(struct check *check, enum image_repair repair)
{
	uint64_t before;
	bool has_mended = false;
	int result = begin(check);

	if (result == 0)
		result = count_contents(check);
	before = check->result->corruptions;
	if (result == 0)
		result = count_refcounts(check);
	if (result == 0 && repair == IMAGE_REPAIR_ALL && before > 0)
		result = mend(check, &has_mended);
	if (result == 0 && has_mended) {
		result = count_again(check);
		check->result->corruptions_fixed += before - check->result->corruptions;
		before = check->result->corruptions;
		if (result == 0)
			result = count_refcounts(check);
	}
	/* What may be a snapshot's is not to be freed. */
	check->has_low_count |= check->image->snapshots_lost > 0;
	if (result == 0)
		result = compare(check, repair);
	if (result < 0 || repair < IMAGE_REPAIR_REFCOUNTS)
		return result;
	if (check->has_low_count) {
		uint64_t fixed = check->result->corruptions - before, leaks = check->result->leaks;

		check_tell(check, "Rebuilding refcount structure");
		result = count_again(check);
		if (result == 0)
			result = rebuild(check);
		check->result->corruptions_fixed += fixed;
		check->result->leaks_fixed += leaks;
	}
	if (check->image->reftable_reserved > 0) {
		check->image->reftable_reserved = 0;
		check->image->has_dirty_reftable = true;
	}
	if (result == 0)
		result = whole_write_refcounts(check->image);
	if (result == 0)
		result = whole_update_flags(check->image, check_is_l2_table, check);
	if (result == 0 && repair == IMAGE_REPAIR_ALL)
		result = complete_snapshots(check->image);
	if (result == 0)
		result = whole_flush(check->image);
	return result;
}

/* The image is what it is now: which marks it carries. */
static int mark(struct qcow2 *image, const struct check *check, enum image_repair repair, bool was_dirty, int code)
{
	bool are_counts_true = repair == IMAGE_REPAIR_LEAKS ? check->result->corruptions == 0 : !check->has_low_count;
	uint64_t clear = (code == 0 && are_counts_true) || !was_dirty ? INCOMPATIBLE_DIRTY : 0;
	int marked;

	if (repair == IMAGE_REPAIR_NONE || image->version < 3)
		return code;
	if (code == 0 && check->result->corruptions == 0)
		clear |= INCOMPATIBLE_CORRUPT;
	marked = header_set_feature(image, clear, false);
	return code < 0 ? code : marked;
}

int qcow2_check(struct qcow2 *image, enum image_repair repair, struct image_check *result,
		void (*say)(void *context, const char *line), void *context, struct error *error)
{
	struct check check = {.image = image, .result = result, .say = say, .context = context};
	bool was_checking = image->is_checking, was_dirty = image->incompatible & INCOMPATIBLE_DIRTY;
	uint64_t found, left;
	int code = 0;

	*result = (struct image_check){0};
	image->is_checking = true;
	if (repair != IMAGE_REPAIR_NONE && image->is_corrupt)
		code = -EIO;
	else if (repair != IMAGE_REPAIR_NONE && image->version >= 3)
		code = header_set_feature(image, INCOMPATIBLE_DIRTY, true);
	if (code == 0)
		code = run(&check, repair);
	check_forget(&check);
	if (code == 0 && repair == IMAGE_REPAIR_LEAKS)
		code = whole_flush(image);
	if (code == 0 && repair >= IMAGE_REPAIR_REFCOUNTS) {
		/* What is left now could not be repaired. Tables that lay in each other's place are not what is held of them. */
		found = result->corruptions;
		table_drop_all(&image->l2_tables);
		table_drop_all(&image->refblocks);
		check.say = NULL;
		code = run(&check, IMAGE_REPAIR_NONE);
		check_forget(&check);
		left = result->corruptions;
		if (found > left)
			result->corruptions_fixed += found - left;
	}
	code = mark(image, &check, repair, was_dirty, code);
	image->is_checking = was_checking;
	if (code == -ERANGE)
		return error_set(error, ERANGE, "%s: the check failed: refcounts of %u bits cannot say what refers to a cluster",
				 image->node.file.path, 1u << image->refcount_order);
	return code < 0 ? error_set_errno(error, -code, "%s: the check failed", image->node.file.path)
			: 0;
}

/* Entries of this many bits, in refcount blocks that are still to be written. */
static void set_order(struct qcow2 *image, unsigned order)
{
	image->refcount_order = order;
	image->refblock_bits = image->cluster_bits + 3 - order;
}

int qcow2_widen_refcounts(struct qcow2 *image, unsigned order, struct error *error)
{
	struct image_check result;
	struct check check = {.image = image, .result = &result};
	unsigned old_order = image->refcount_order;
	uint64_t old_place = image->reftable_offset;
	bool was_checking = image->is_checking;
	int code = qcow2_check(image, IMAGE_REPAIR_NONE, &result, NULL, NULL, error);

	if (code < 0)
		return code;
	if (result.corruptions)
		return error_set(error, EIO, "%s is damaged: check -r all first", image->node.file.path);
	image->is_checking = true;
	code = begin(&check);
	if (code == 0)
		code = count_contents(&check);
	if (code == 0) {
		set_order(image, order);
		code = rebuild(&check);
	}
	check_forget(&check);
	image->is_checking = was_checking;
	/* The header points to the old ones. */
	if (code < 0 && image->reftable_offset == old_place)
		set_order(image, old_order);
	else if (code < 0)
		__atomic_store_n(&image->is_corrupt, true, __ATOMIC_RELAXED);
	if (code == 0)
		code = whole_flush(image);
	if (code == -ERANGE)
		return error_set(error, ERANGE, "%s: refcounts of %u bits cannot say what refers to a cluster",
				 image->node.file.path, 1u << order);
	return code < 0 ? error_set_errno(error, -code, "cannot write %s", image->node.file.path) : 0;
}
