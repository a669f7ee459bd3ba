/* The list of internal snapshots on the medium (qcow2.txt, "Snapshots"). */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "block/qcow2/whole.h"

#define ENTRY_BYTES 40
#define EXTRA_KNOWN 24
#define EXTRA_NEEDED 16 /* by version 3 */

static int read_snapshot(struct qcow2 *image, const uint8_t *entry, uint64_t left,
			 struct snapshot *snapshot, uint64_t *size)
{
	uint32_t id_bytes, name_bytes, extra_bytes;
	const uint8_t *at;

	if (left < ENTRY_BYTES)
		return -EINVAL;
	id_bytes = get_be16(entry + 12);
	name_bytes = get_be16(entry + 14);
	extra_bytes = get_be32(entry + 36);
	*size = (ENTRY_BYTES + (uint64_t)extra_bytes + id_bytes + name_bytes + 7) & ~7ull;
	if (extra_bytes > 1024 || *size > ((left + 7) & ~7ull))
		return -EINVAL;
	*snapshot = (struct snapshot){
		.l1_offset = get_be64(entry),
		.l1_size = get_be32(entry + 8),
		.seconds = get_be32(entry + 16),
		.nanoseconds = get_be32(entry + 20),
		.clock_ns = get_be64(entry + 24),
		.state_bytes = get_be32(entry + 32),
		.disk_size = image->node.size,
		.icount = UINT64_MAX,
	};
	at = entry + ENTRY_BYTES;
	if (extra_bytes >= 8)
		snapshot->state_bytes = get_be64(at);
	if (extra_bytes >= 16)
		snapshot->disk_size = get_be64(at + 8);
	if (extra_bytes >= 24)
		snapshot->icount = get_be64(at + 16);
	if (extra_bytes > EXTRA_KNOWN) {
		snapshot->extra_bytes = extra_bytes - EXTRA_KNOWN;
		snapshot->extra = malloc(snapshot->extra_bytes);
		if (!snapshot->extra)
			return -ENOMEM;
		memcpy(snapshot->extra, at + EXTRA_KNOWN, snapshot->extra_bytes);
	}
	at += extra_bytes;
	snapshot->id = strndup((const char *)at, id_bytes);
	snapshot->name = strndup((const char *)at + id_bytes, name_bytes);
	if (!snapshot->id || !snapshot->name)
		return -ENOMEM;
	snapshot->is_incomplete = image->version >= 3 && extra_bytes < EXTRA_NEEDED;
	snapshot->is_bad = !is_cluster_aligned(image, snapshot->l1_offset) || snapshot->l1_size > L1_BYTES_MAX / 8 ||
			   snapshot->l1_offset > image->node.file.size ||
			   snapshot->l1_size * 8ull > image->node.file.size - snapshot->l1_offset;
	return 0;
}

/* Have is_metadata know of all L1 tables in the list. */
static int reserve_tables(struct qcow2 *image)
{
	struct cluster_ranges places = {calloc(image->snapshot_count + 1, sizeof(*places.ranges)), 0};
	unsigned i;

	if (!places.ranges)
		return -ENOMEM;
	for (i = 0; i < image->snapshot_count; i++) {
		const struct snapshot *snapshot = &image->snapshots[i];
		uint64_t first = snapshot->l1_offset >> image->cluster_bits;
		uint64_t count = clusters_for(image, snapshot->l1_size * 8ull);

		if (!snapshot->is_bad && count > 0)
			places.ranges[places.count++] = (struct cluster_range){first, first + count - 1};
	}
	cluster_ranges_sort(&places);
	cluster_ranges_end(&image->snapshot_l1s);
	image->snapshot_l1s = places;
	return 0;
}

void snapshot_end(struct snapshot *snapshot)
{
	free(snapshot->id);
	free(snapshot->name);
	free(snapshot->extra);
}

void snapshots_end(struct qcow2 *image)
{
	unsigned i;

	for (i = 0; image->snapshots && i < image->snapshot_count; i++)
		snapshot_end(&image->snapshots[i]);
	free(image->snapshots);
	cluster_ranges_end(&image->snapshot_l1s);
}

/* Entries of a list of `limit` bytes, up to the first that cannot be. */
static int read_list(struct qcow2 *image, const uint8_t *bytes, uint64_t limit, unsigned count)
{
	uint64_t at = 0, size = 0;
	int result = 0;

	for (; image->snapshot_count < count; image->snapshot_count++, at += size) {
		struct snapshot *snapshot = &image->snapshots[image->snapshot_count];

		result = at > limit ? -EINVAL : read_snapshot(image, bytes + at, limit - at, snapshot, &size);
		if (result < 0) {
			snapshot_end(snapshot);
			break;
		}
	}
	image->snapshots_bytes = at;
	image->snapshots_lost = count - image->snapshot_count;
	return result == -EINVAL ? 0 : result;
}

int snapshots_load(struct qcow2 *image, struct error *error)
{
	unsigned count = image->snapshot_count;
	uint64_t limit;
	uint8_t *bytes;
	int result;

	image->snapshot_count = 0;
	image->snapshots_lost = count;
	if (count == 0 || count > SNAPSHOTS_MAX || !is_cluster_aligned(image, image->snapshots_offset) ||
	    image->snapshots_offset == 0 || image->snapshots_offset >= image->node.file.size)
		return 0;
	/* As much as there can be of it; the file's end cuts it. */
	limit = count * 4096ull;
	if (limit > SNAPSHOT_BYTES_MAX)
		limit = SNAPSHOT_BYTES_MAX;
	if (limit > image->node.file.size - image->snapshots_offset)
		limit = image->node.file.size - image->snapshots_offset;
	bytes = malloc(limit + 8);
	image->snapshots = calloc(count, sizeof(*image->snapshots));
	result = bytes && image->snapshots ? 0 : -ENOMEM;
	if (result == 0)
		result = file_read_at(&image->node.file, image->snapshots_offset, bytes, limit);
	if (result == 0)
		result = read_list(image, bytes, limit, count);
	free(bytes);
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, image->snapshots_offset, image->snapshots_bytes);
	if (result == 0)
		result = reserve_tables(image);
	return result < 0 ? error_set_errno(error, -result, "%s: its snapshots", image->node.file.path) : 0;
}

int snapshots_cut(struct qcow2 *image)
{
	int result;

	image->snapshots_lost = 0;
	if (image->snapshot_count == 0)
		image->snapshots_offset = 0;
	result = header_write(image);
	return result < 0 ? result : file_sync(&image->node.file);
}

static uint64_t entry_size(const struct snapshot *snapshot)
{
	return (ENTRY_BYTES + EXTRA_KNOWN + snapshot->extra_bytes + strlen(snapshot->id) +
		strlen(snapshot->name) + 7) & ~7ull;
}

static void put_snapshot(const struct snapshot *snapshot, uint8_t *entry)
{
	uint8_t *at = entry + ENTRY_BYTES;

	put_be64(entry, snapshot->l1_offset);
	put_be32(entry + 8, snapshot->l1_size);
	put_be16(entry + 12, strlen(snapshot->id));
	put_be16(entry + 14, strlen(snapshot->name));
	put_be32(entry + 16, snapshot->seconds);
	put_be32(entry + 20, snapshot->nanoseconds);
	put_be64(entry + 24, snapshot->clock_ns);
	put_be32(entry + 32, snapshot->state_bytes > UINT32_MAX ? 0 : snapshot->state_bytes);
	put_be32(entry + 36, EXTRA_KNOWN + snapshot->extra_bytes);
	put_be64(at, snapshot->state_bytes);
	put_be64(at + 8, snapshot->disk_size);
	put_be64(at + 16, snapshot->icount);
	if (snapshot->extra_bytes)
		memcpy(at + EXTRA_KNOWN, snapshot->extra, snapshot->extra_bytes);
	at += EXTRA_KNOWN + snapshot->extra_bytes;
	memcpy(at, snapshot->id, strlen(snapshot->id));
	memcpy(at + strlen(snapshot->id), snapshot->name, strlen(snapshot->name));
}

int snapshots_write(struct qcow2 *image, const struct snapshot *snapshots, unsigned count)
{
	uint64_t bytes = 0, at = 0, offset = 0, old_offset = image->snapshots_offset;
	uint64_t old_clusters = clusters_for(image, image->snapshots_bytes), i;
	unsigned old_count = image->snapshot_count;
	uint8_t *list;
	int result = 0;

	for (i = 0; i < count; i++)
		bytes += entry_size(&snapshots[i]);
	list = calloc(1, bytes ? bytes : 1);
	if (!list)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		put_snapshot(&snapshots[i], list + at);
		at += entry_size(&snapshots[i]);
	}
	if (bytes > 0)
		result = clusters_make(image, clusters_for(image, bytes), &offset);
	if (result == 0)
		result = file_write_at(&image->node.file, offset, list, bytes);
	if (result == 0)
		result = whole_write_refcounts(image);
	if (result < 0)
		goto out;
	image->snapshots_offset = offset;
	image->snapshot_count = count;
	result = header_switch(image);
	if (result < 0) {
		image->snapshots_offset = old_offset;
		image->snapshot_count = old_count;
		goto out;
	}
	image->snapshots_bytes = bytes;
	for (i = 0; i < old_clusters && old_count > 0; i++)
		cluster_set_remove(&image->metadata, (old_offset >> image->cluster_bits) + i);
	if (old_count > 0)
		result = clusters_release(image, old_offset, old_clusters);
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, offset, bytes);
	if (result == 0)
		result = reserve_tables(image);
out:
	free(list);
	return result;
}
