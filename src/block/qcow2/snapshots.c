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
	if (image->snapshots_lost > 0)
		return error_set(error, EIO,
				 "%s: its list of snapshots is damaged: kvik image check -r all keeps those that can be read",
				 image->node.file.path);
	return 0;
}

/* A snapshot that is to be used. */
static int check_snapshot(const struct qcow2 *image, int index, const char *name, struct error *error)
{
	if (index < 0)
		return error_set(error, ENOENT, "%s has no snapshot '%s'", image->node.file.path, name);
	if (image->snapshots[index].is_bad)
		return error_set(error, EIO, "%s: snapshot '%s' is damaged: its L1 table is at no possible place",
				 image->node.file.path, name);
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
	struct error ignored;

	/* Half of it may have happened: refcounts are what the tables say. */
	if (result < 0 && !image->is_corrupt)
		qcow2_check(image, IMAGE_REPAIR_REFCOUNTS, &check, NULL, NULL, &ignored);
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
		result = whole_update_flags(image, NULL, NULL);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = clusters_make(image, clusters ? clusters : 1, &snapshot->l1_offset);
	if (result == 0)
		result = whole_write_l1(image, snapshot->l1_offset);
	if (result < 0)
		return result;
	more = realloc(image->snapshots, (image->snapshot_count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	image->snapshots = more;
	more[image->snapshot_count] = *snapshot;
	result = snapshots_write(image, more, image->snapshot_count + 1);
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
				    .icount = what->icount_plus_1 - 1,
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
		result = whole_update_flags(image, NULL, NULL);
	free(old);
	free(saved);
	return result;
}

int qcow2_snapshot_apply(struct qcow2 *image, const char *name, struct error *error)
{
	int index = find_snapshot(image, name), result = qcow2_snapshot_possible(image, error);

	if (result == 0)
		result = check_snapshot(image, index, name, error);
	if (result < 0)
		return result;
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
	int index = find_snapshot(image, name), result = check_snapshot(image, index, name, error);
	const struct snapshot *snapshot;
	uint64_t *l1, entries;

	if (result < 0)
		return result;
	snapshot = &image->snapshots[index];
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
	/* What a damaged one has is lost already, and left over; a check finds it. */
	uint32_t size = gone.is_bad ? 0 : gone.l1_size;
	uint64_t *l1;
	int result = whole_read_l1(image, gone.l1_offset, size, &l1);

	if (result < 0)
		return result;
	memmove(&image->snapshots[index], &image->snapshots[index + 1],
		(count - index - 1) * sizeof(gone));
	image->snapshots[count - 1] = gone;
	result = snapshots_write(image, image->snapshots, count - 1);
	if (result == 0)
		result = whole_change(image, l1, size, -1);
	if (result == 0)
		result = clusters_release(image, gone.l1_offset, clusters_for(image, size * 8ull));
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = whole_update_flags(image, NULL, NULL);
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
