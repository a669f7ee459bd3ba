/*
 * Checking an image: counts for each host cluster what refers to it, compares that with the refcounts,
 * and looks at what entries claim. Lines that name clusters have the form of qemu-img's, for scripts.
 *
 * Repair: leaks are repaired in place. Where refcounts are too low, nothing that they say can be
 * relied on to make room, so all of them are written anew, behind all that is used.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/qcow2/whole.h"

#define CHUNK_BITS   16
#define CLUSTERS_MAX (1ull << 32)

struct check {
	struct qcow2 *image;
	struct image_check *result;
	void (*say)(void *context, const char *line);
	void *context;
	uint64_t clusters;  /* that the file has, the last may be cut off */
	uint32_t **chunks;  /* references to each, 2^CHUNK_BITS a chunk; NULL: none */
	bool has_low_count; /* some refcount is too low */
};

static void tell(struct check *check, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void tell(struct check *check, const char *format, ...)
{
	char line[256];
	va_list arguments;

	if (!check->say)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	check->say(check->context, line);
}

static uint32_t *count_of(struct check *check, uint64_t cluster, bool make)
{
	uint32_t **chunk = &check->chunks[cluster >> CHUNK_BITS];

	if (!*chunk && make)
		*chunk = calloc(1u << CHUNK_BITS, sizeof(**chunk));
	return *chunk ? *chunk + (cluster & ((1u << CHUNK_BITS) - 1)) : NULL;
}

static uint32_t references(struct check *check, uint64_t cluster)
{
	uint32_t *count = cluster < check->clusters ? count_of(check, cluster, false) : NULL;

	return count ? *count : 0;
}

/* `size` bytes at `offset` are referred to by `what`. 0 or -ENOMEM. */
static int refer(struct check *check, uint64_t offset, uint64_t size, const char *what)
{
	struct qcow2 *image = check->image;
	uint64_t cluster, last;
	uint32_t *count;

	if (size == 0)
		return 0;
	if (offset > HOST_OFFSET_MAX || size > HOST_OFFSET_MAX ||
	    (offset + size - 1) >> image->cluster_bits >= check->clusters) {
		tell(check, "ERROR %s at offset %#llx is outside of the file", what,
		     (unsigned long long)offset);
		check->result->corruptions++;
		return 0;
	}
	last = (offset + size - 1) >> image->cluster_bits;
	for (cluster = offset >> image->cluster_bits; cluster <= last; cluster++) {
		count = count_of(check, cluster, true);
		if (!count)
			return -ENOMEM;
		*count += *count < UINT32_MAX;
	}
	return 0;
}

/* Flags say that a refcount is 1, in the active tables. */
static int check_flag(struct check *check, uint64_t entry, const char *what)
{
	uint64_t count;
	int result = refcount_get(check->image, (entry & ENTRY_OFFSET) >> check->image->cluster_bits,
				  &count);

	if (result == -ENOMEM)
		return result;
	if (result == 0 && (count == 1) != !!(entry & ENTRY_COPIED)) {
		tell(check, "ERROR OFLAG_COPIED %s: entry=%#llx refcount=%llu", what,
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
	if (cluster_decode(image, guest, entry, &cluster) < 0) {
		tell(check, "ERROR L2 entry of guest offset %#llx is impossible: %#llx",
		     (unsigned long long)guest, (unsigned long long)get_be64(entry));
		check->result->corruptions++;
		/* It holds what it names, all the same. */
		if (!(get_be64(entry) & ENTRY_COMPRESSED) && image->data == &image->node.file)
			return refer(check, cluster_start(image, get_be64(entry) & ENTRY_OFFSET),
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
		return refer(check, cluster.host, cluster.packed_bytes, "compressed data");
	if (!cluster.has_host || image->data != &image->node.file)
		return 0;
	if (is_active)
		result = check_flag(check, cluster.entry, "data cluster");
	return result < 0 ? result : refer(check, cluster.host, image->cluster_size, "a data cluster");
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

		if (place == 0)
			continue;
		if (!is_cluster_aligned(image, place)) {
			tell(check, "ERROR L2 table %u is at unaligned offset %#llx", i,
			     (unsigned long long)place);
			check->result->corruptions++;
			continue;
		}
		result = refer(check, place, image->cluster_size, "an L2 table");
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
	int result = refer(check, image->snapshots_offset, image->snapshots_bytes, "the list of snapshots");

	for (i = 0; i < image->snapshot_count && result == 0; i++) {
		const struct snapshot *snapshot = &image->snapshots[i];

		result = refer(check, snapshot->l1_offset, snapshot->l1_size * 8ull,
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
	int result = refer(check, image->bitmaps_offset, image->bitmaps_bytes, "the list of bitmaps");

	for (i = 0; image->bitmaps && i < image->bitmap_count && result == 0; i++) {
		const struct bitmap *bitmap = &image->bitmaps[i];

		result = refer(check, bitmap->table_offset, bitmap->table_size * 8ull,
			       "a bitmap's table");
		if (result == 0)
			result = whole_read_l1(image, bitmap->table_offset, bitmap->table_size, &table);
		for (k = 0; k < bitmap->table_size && result == 0; k++) {
			place = table[k] & ENTRY_OFFSET;
			if (place != 0)
				result = refer(check, place, image->cluster_size, "a bitmap's data");
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
	int result = refer(check, 0, image->cluster_size, "the header");

	if (result == 0)
		result = refer(check, image->l1_offset, image->l1_size * 8ull, "the L1 table");
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
	int result = refer(check, image->reftable_offset,
			   (uint64_t)image->reftable_clusters << image->cluster_bits,
			   "the refcount table");

	for (i = 0; i < image->reftable_size && result == 0; i++) {
		uint64_t place = image->reftable[i];

		if (place == 0)
			continue;
		if (!is_cluster_aligned(image, place) ||
		    place >> image->cluster_bits >= check->clusters) {
			tell(check, "ERROR refcount block %u is at impossible offset %#llx", i,
			     (unsigned long long)place);
			check->result->corruptions++;
			check->has_low_count = true;
			image->reftable[i] = 0; /* in memory: not to be looked at */
			continue;
		}
		result = refer(check, place, image->cluster_size, "a refcount block");
		if (result == 0 && references(check, place >> image->cluster_bits) != 1) {
			tell(check, "ERROR refcount block %u is used for something else, too", i);
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
		uint32_t wanted = references(check, cluster);
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
			tell(check, "%s cluster %llu refcount=%llu reference=%u",
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
			tell(check, "ERROR cluster %llu refcount=%llu reference=%u",
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

static void forget(struct check *check)
{
	uint64_t i;

	for (i = 0; check->chunks && i <= check->clusters >> CHUNK_BITS; i++)
		free(check->chunks[i]);
	free(check->chunks);
	check->chunks = NULL;
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

/* The first cluster from `cluster` on that something refers to; the end of the file: there is none. */
static uint64_t next_reference(struct check *check, uint64_t cluster)
{
	while (cluster < check->clusters && !references(check, cluster))
		cluster = check->chunks[cluster >> CHUNK_BITS] ? cluster + 1
							       : (cluster | ((1ull << CHUNK_BITS) - 1)) + 1;
	return cluster < check->clusters ? cluster : check->clusters;
}

/* How many refcount blocks have something to count before the file's end; its last block counts as one. */
static uint64_t blocks_needed(struct check *check)
{
	unsigned bits = check->image->refblock_bits;
	uint64_t cluster, needed = 1, last = check->clusters >> bits;

	for (cluster = next_reference(check, 0); cluster < check->clusters && cluster >> bits < last;
	     cluster = next_reference(check, ((cluster >> bits) + 1) << bits))
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
		first = next_reference(check, i * per_block);
		if (first / per_block > i) {
			i = first / per_block - 1;
			continue;
		}
		memset(block, 0, image->cluster_size);
		for (k = 0; k < per_block; k++) {
			uint64_t cluster = i * per_block + k;
			uint64_t count = references(check, cluster);

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

static int run(struct check *check, enum image_repair repair)
{
	uint64_t before;
	int result = begin(check);

	if (result == 0)
		result = count_contents(check);
	before = check->result->corruptions;
	if (result == 0)
		result = count_refcounts(check);
	if (result == 0)
		result = compare(check, repair);
	if (result < 0 || repair != IMAGE_REPAIR_ALL)
		return result;
	if (check->has_low_count) {
		uint64_t fixed = check->result->corruptions - before, leaks = check->result->leaks;

		tell(check, "Rebuilding refcount structure");
		forget(check);
		result = begin(check);
		if (result == 0) {
			void (*say)(void *context, const char *line) = check->say;

			check->say = NULL;
			result = count_contents(check);
			check->say = say;
		}
		if (result == 0)
			result = rebuild(check);
		check->result->corruptions_fixed += fixed;
		check->result->leaks_fixed += leaks;
	}
	if (result == 0)
		result = whole_write_refcounts(check->image);
	if (result == 0)
		result = whole_update_flags(check->image);
	if (result == 0)
		result = whole_flush(check->image);
	return result;
}

int qcow2_check(struct qcow2 *image, enum image_repair repair, struct image_check *result,
		void (*say)(void *context, const char *line), void *context, struct error *error)
{
	struct check check = {.image = image, .result = result, .say = say, .context = context};
	bool was_checking = image->is_checking;
	uint64_t found, left;
	int code;

	*result = (struct image_check){0};
	image->is_checking = true;
	code = repair != IMAGE_REPAIR_NONE && image->version >= 3
		       ? header_set_feature(image, INCOMPATIBLE_DIRTY, true)
		       : 0;
	if (code == 0)
		code = run(&check, repair);
	forget(&check);
	if (code == 0 && repair == IMAGE_REPAIR_LEAKS)
		code = whole_flush(image);
	if (code == 0 && repair == IMAGE_REPAIR_ALL) {
		/* What is left now could not be repaired. */
		found = result->corruptions;
		check.say = NULL;
		code = run(&check, IMAGE_REPAIR_NONE);
		forget(&check);
		left = result->corruptions;
		if (found > left)
			result->corruptions_fixed += found - left;
	}
	if (code == 0 && repair != IMAGE_REPAIR_NONE && image->version >= 3 &&
	    result->corruptions == 0)
		code = header_set_feature(image, INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT, false);
	image->is_checking = was_checking;
	return code < 0 ? error_set_errno(error, -code, "%s: the check failed", image->node.file.path)
			: 0;
}
