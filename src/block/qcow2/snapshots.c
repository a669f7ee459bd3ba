/*
 * Internal snapshots (qcow2.txt, "Snapshots"): copies of the L1 table, each with a reference to all
 * that it reaches.
 *
 * These are made and dropped while nothing else goes on. In between tables and refcounts disagree for
 * a while, harmlessly but for flags that a checker would complain of; so images of version 3 carry
 * the dirty bit meanwhile, by which whoever opens them after a crash repairs that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "block/qcow2/qcow2.h"
#include "block/qcow2/whole.h"

#define ENTRY_BYTES 40
#define EXTRA_KNOWN 16

static int damaged(const struct qcow2 *image, struct error *error)
{
	return error_set(error, EINVAL, "%s: its list of snapshots is damaged",
			 image->node.file.path);
}

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
	};
	at = entry + ENTRY_BYTES;
	if (extra_bytes >= 8)
		snapshot->state_bytes = get_be64(at);
	if (extra_bytes >= 16)
		snapshot->disk_size = get_be64(at + 8);
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
	if (!is_cluster_aligned(image, snapshot->l1_offset) ||
	    snapshot->l1_offset >= HOST_OFFSET_MAX || snapshot->l1_size > L1_BYTES_MAX / 8)
		return -EINVAL;
	return 0;
}

int snapshots_load(struct qcow2 *image, struct error *error)
{
	uint64_t at = 0, size = 0, limit;
	uint8_t *bytes;
	unsigned i;
	int result;

	if (image->snapshot_count == 0)
		return 0;
	/* As much as there can be of it; the file's end cuts it. */
	limit = image->snapshot_count * 4096ull;
	if (limit > SNAPSHOT_BYTES_MAX)
		limit = SNAPSHOT_BYTES_MAX;
	if (image->snapshots_offset >= image->node.file.size)
		return damaged(image, error);
	if (limit > image->node.file.size - image->snapshots_offset)
		limit = image->node.file.size - image->snapshots_offset;
	bytes = malloc(limit + 8);
	image->snapshots = calloc(image->snapshot_count, sizeof(*image->snapshots));
	result = bytes && image->snapshots ? 0 : -ENOMEM;
	if (result == 0)
		result = file_read_at(&image->node.file, image->snapshots_offset, bytes, limit);
	for (i = 0; i < image->snapshot_count && result == 0; i++) {
		result = at > limit ? -EINVAL
				    : read_snapshot(image, bytes + at, limit - at,
						    &image->snapshots[i], &size);
		at += size;
		if (result == 0)
			result = cluster_set_add_range(image, &image->metadata,
						       image->snapshots[i].l1_offset,
						       image->snapshots[i].l1_size * 8ull);
	}
	free(bytes);
	image->snapshots_bytes = at;
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, image->snapshots_offset, at);
	if (result == -EINVAL)
		return damaged(image, error);
	return result < 0 ? error_set_errno(error, -result, "%s: its snapshots",
					    image->node.file.path)
			  : 0;
}

static void snapshot_end(struct snapshot *snapshot)
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
	if (snapshot->extra_bytes)
		memcpy(at + EXTRA_KNOWN, snapshot->extra, snapshot->extra_bytes);
	at += EXTRA_KNOWN + snapshot->extra_bytes;
	memcpy(at, snapshot->id, strlen(snapshot->id));
	memcpy(at + strlen(snapshot->id), snapshot->name, strlen(snapshot->name));
}

/* Write the list to a new place and have the header point there; the old place is released. */
static int write_list(struct qcow2 *image, const struct snapshot *snapshots, unsigned count)
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
	result = header_write(image);
	if (result == 0)
		result = file_sync(&image->node.file);
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
out:
	free(list);
	return result;
}

static int find_snapshot(const struct qcow2 *image, const char *name)
{
	unsigned i;

	for (i = 0; i < image->snapshot_count; i++)
		if (strcmp(image->snapshots[i].id, name) == 0)
			return i;
	for (i = 0; i < image->snapshot_count; i++)
		if (strcmp(image->snapshots[i].name, name) == 0)
			return i;
	return -1;
}

int qcow2_snapshot_possible(struct qcow2 *image, struct error *error)
{
	if (image->data != &image->node.file)
		return error_set(error, ENOTSUP, "%s has a data file, which cannot have snapshots",
				 image->node.file.path);
	if (!image->node.is_writable)
		return error_set(error, EROFS, "%s is opened for reading only",
				 image->node.file.path);
	return 0;
}

/* The highest number among the ids, and one more. */
static char *new_id(const struct qcow2 *image)
{
	unsigned long highest = 0;
	char *id = NULL;
	unsigned i;

	for (i = 0; i < image->snapshot_count; i++) {
		unsigned long number = strtoul(image->snapshots[i].id, NULL, 10);

		if (number > highest)
			highest = number;
	}
	return asprintf(&id, "%lu", highest + 1) < 0 ? NULL : id;
}

static int begin(struct qcow2 *image)
{
	int result = qcow2_flush(&image->node);

	if (result == 0 && image->version >= 3)
		result = header_set_feature(image, INCOMPATIBLE_DIRTY, true);
	return result;
}

static int end(struct qcow2 *image, int result)
{
	struct image_check check;

	/* Half of it may have happened: refcounts are what the tables say. */
	if (result < 0)
		qcow2_check(image, IMAGE_REPAIR_ALL, &check, NULL, NULL, NULL);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0 && image->version >= 3)
		result = header_set_feature(image, INCOMPATIBLE_DIRTY, false);
	return result;
}

static int create(struct qcow2 *image, struct snapshot *snapshot)
{
	uint64_t clusters = clusters_for(image, image->l1_size * 8ull);
	struct snapshot *more;
	int result;

	/* First what is right with and without the snapshot: references, and no more writing in place. */
	result = whole_change(image, image->l1, image->l1_size, 1);
	if (result == 0)
		result = whole_write_refcounts(image);
	if (result == 0)
		result = whole_update_flags(image);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = clusters_make(image, clusters ? clusters : 1, &snapshot->l1_offset);
	if (result == 0)
		result = whole_write_l1(image, snapshot->l1_offset);
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, snapshot->l1_offset,
					       image->l1_size * 8ull);
	if (result < 0)
		return result;
	more = realloc(image->snapshots, (image->snapshot_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	image->snapshots = more;
	more[image->snapshot_count] = *snapshot;
	result = write_list(image, more, image->snapshot_count + 1);
	/* The disk goes on without the machine's state, which is the snapshot's. */
	return result == 0 ? qcow2_state_drop(image) : result;
}

int qcow2_snapshot_create(struct qcow2 *image, const struct block_snapshot *what, struct error *error)
{
	struct snapshot snapshot = {.l1_size = image->l1_size,
				    .disk_size = image->node.size,
				    .seconds = what->seconds,
				    .nanoseconds = what->nanoseconds,
				    .clock_ns = what->clock_ns,
				    .state_bytes = what->state_bytes};
	unsigned count = image->snapshot_count;
	struct timespec now;
	int result = qcow2_snapshot_possible(image, error);

	if (result < 0)
		return result;
	if (strlen(what->name) > UINT16_MAX || image->snapshot_count == SNAPSHOTS_MAX)
		return error_set(error, EINVAL, "%s: too many snapshots, or too long a name",
				 image->node.file.path);
	if (!what->seconds) {
		clock_gettime(CLOCK_REALTIME, &now);
		snapshot.seconds = now.tv_sec;
		snapshot.nanoseconds = now.tv_nsec;
	}
	snapshot.id = new_id(image);
	snapshot.name = strdup(what->name);
	result = snapshot.id && snapshot.name ? begin(image) : -ENOMEM;
	if (result == 0)
		result = create(image, &snapshot);
	if (result == -ERANGE)
		error_set(error, ERANGE, "%s: its refcounts of %u bits are too narrow for it",
			  image->node.file.path, 1u << image->refcount_order);
	else if (result < 0)
		error_set_errno(error, -result, "%s: cannot make the snapshot",
				image->node.file.path);
	if (result < 0) {
		end(image, result);
		if (image->snapshot_count == count)
			snapshot_end(&snapshot);
		return result;
	}
	result = end(image, 0);
	return result < 0 ? error_set_errno(error, -result, "%s", image->node.file.path) : 0;
}

static int apply(struct qcow2 *image, const struct snapshot *snapshot)
{
	uint64_t bytes = image->l1_size * 8ull;
	uint64_t *old = malloc(bytes ? bytes : 1), *saved;
	uint32_t saved_size = snapshot->l1_size, i;
	int result = old ? whole_read_l1(image, snapshot->l1_offset, saved_size, &saved) : -ENOMEM;

	if (result < 0) {
		free(old);
		return result;
	}
	/* Its references first; then the active table is a copy of it; then the old one's go. */
	result = whole_change(image, saved, saved_size, 1);
	if (result == 0)
		result = whole_write_refcounts(image);
	memcpy(old, image->l1, bytes);
	for (i = 0; i < image->l1_size && result == 0; i++) {
		cluster_set_remove(&image->metadata,
				   (old[i] & ENTRY_OFFSET) >> image->cluster_bits);
		l1_set(image, i, i < saved_size ? saved[i] & ENTRY_OFFSET : 0);
	}
	if (result == 0)
		result = cluster_set_add(&image->metadata, 0);
	for (i = 0; i < image->l1_size && result == 0; i++)
		if (image->l1[i] != 0)
			result = cluster_set_add(&image->metadata,
						 image->l1[i] >> image->cluster_bits);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = whole_change(image, old, image->l1_size, -1);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = qcow2_state_drop(image);
	if (result == 0)
		result = whole_update_flags(image);
	free(old);
	free(saved);
	return result;
}

int qcow2_snapshot_apply(struct qcow2 *image, const char *name, struct error *error)
{
	int index = find_snapshot(image, name), result = qcow2_snapshot_possible(image, error);

	if (result < 0)
		return result;
	if (index < 0)
		return error_set(error, ENOENT, "%s has no snapshot '%s'", image->node.file.path, name);
	result = changes_begin(image);
	bitmaps_mark(image, 0, image->node.size);
	if (result == 0)
		result = begin(image);
	if (result == 0)
		result = whole_set_size(image, image->snapshots[index].disk_size,
					image->snapshots[index].l1_size);
	if (result == 0)
		result = apply(image, &image->snapshots[index]);
	result = end(image, result);
	return result < 0 ? error_set_errno(error, -result, "%s: cannot apply the snapshot",
					    image->node.file.path)
			  : 0;
}

int qcow2_snapshot_view(struct qcow2 *image, const char *name, struct error *error)
{
	int index = find_snapshot(image, name), result;
	const struct snapshot *snapshot = &image->snapshots[index];
	uint64_t *l1, entries;

	if (index < 0)
		return error_set(error, ENOENT, "%s has no snapshot '%s'", image->node.file.path, name);
	if (image->node.is_writable)
		return error_set(error, EINVAL, "a snapshot is looked at in an image for reading only");
	entries = (snapshot->disk_size + (1ull << (image->cluster_bits + image->l2_bits)) - 1) >>
		  (image->cluster_bits + image->l2_bits);
	if (snapshot->disk_size > INT64_MAX - image->cluster_size || entries > snapshot->l1_size)
		return error_set(error, EINVAL, "%s: snapshot '%s' is damaged", image->node.file.path,
				 name);
	result = whole_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &l1);
	if (result < 0)
		return error_set_errno(error, -result, "%s: snapshot '%s'", image->node.file.path, name);
	free(image->l1);
	image->l1 = l1;
	image->l1_size = snapshot->l1_size;
	image->node.size = snapshot->disk_size;
	return 0;
}

static int delete(struct qcow2 *image, unsigned index)
{
	struct snapshot gone = image->snapshots[index];
	unsigned count = image->snapshot_count;
	uint64_t *l1;
	int result = whole_read_l1(image, gone.l1_offset, gone.l1_size, &l1), i;

	if (result < 0)
		return result;
	memmove(&image->snapshots[index], &image->snapshots[index + 1],
		(count - index - 1) * sizeof(gone));
	image->snapshots[count - 1] = gone;
	result = write_list(image, image->snapshots, count - 1);
	if (result == 0)
		result = whole_change(image, l1, gone.l1_size, -1);
	for (i = 0; result == 0 && i < (int)clusters_for(image, gone.l1_size * 8ull); i++)
		cluster_set_remove(&image->metadata, (gone.l1_offset >> image->cluster_bits) + i);
	if (result == 0)
		result = clusters_release(image, gone.l1_offset,
					  clusters_for(image, gone.l1_size * 8ull));
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = whole_update_flags(image);
	free(l1);
	if (image->snapshot_count < count)
		snapshot_end(&gone);
	return result;
}

int qcow2_snapshot_delete(struct qcow2 *image, const char *name, struct error *error)
{
	int index = find_snapshot(image, name), result = qcow2_snapshot_possible(image, error);

	if (result < 0)
		return result;
	if (index < 0)
		return error_set(error, ENOENT, "%s has no snapshot '%s'", image->node.file.path, name);
	result = begin(image);
	if (result == 0)
		result = delete(image, index);
	result = end(image, result);
	return result < 0 ? error_set_errno(error, -result, "%s: cannot delete the snapshot",
					    image->node.file.path)
			  : 0;
}
