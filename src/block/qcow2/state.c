/*
 * The state of a machine in an image: it lies beyond the disk's end, as if the disk went on there, from where the
 * next L2 table begins, and belongs to a snapshot (qcow2.txt, "Snapshots": "vm state"). So QEMU's tools count it.
 *
 * Between its writing and the snapshot it is the active tables'. A process that is killed then leaves an image
 * that is sound and only too long; the next state goes in its place.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "block/qcow2/whole.h"

/* The first entry of the L1 table that is not the disk's. */
static uint32_t first_entry(const struct qcow2 *image)
{
	unsigned span_bits = image->cluster_bits + image->l2_bits;

	return (image->node.size >> span_bits) + !!(image->node.size & ((1ull << span_bits) - 1));
}

static uint64_t state_start(const struct qcow2 *image)
{
	return (uint64_t)first_entry(image) << (image->cluster_bits + image->l2_bits);
}

int qcow2_state_drop(struct qcow2 *image)
{
	uint32_t first = first_entry(image), count, i;
	uint64_t *old;
	bool is_there = false;
	int result = 0;

	for (i = first; i < image->l1_size; i++)
		is_there |= image->l1[i] != 0;
	if (!is_there)
		return 0;
	/* A table of the whole, as entries say by their place what they map. */
	count = image->l1_size;
	old = calloc(count, sizeof(*old));
	if (!old)
		return -ENOMEM;
	for (i = first; i < count; i++) {
		old[i] = image->l1[i];
		cluster_set_remove(&image->metadata, (old[i] & ENTRY_OFFSET) >> image->cluster_bits);
		l1_set(image, i, 0);
	}
	result = cluster_set_add(&image->metadata, 0);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = whole_change(image, old, count, -1);
	if (result == 0)
		result = whole_flush(image);
	free(old);
	return result;
}

/* An L1 table that reaches as far as the state does. */
static int make_room(struct qcow2 *image, uint64_t end)
{
	unsigned span_bits = image->cluster_bits + image->l2_bits;
	uint64_t entries = ((end - 1) >> span_bits) + 1;

	if (entries <= image->l1_size)
		return 0;
	if (entries > L1_BYTES_MAX / 8)
		return -EFBIG;
	/* Somewhat more: each time the whole table is written anew. */
	if (entries + 64 <= L1_BYTES_MAX / 8)
		entries += 64;
	return whole_set_size(image, image->node.size, entries);
}

int qcow2_state_write(struct qcow2 *image, uint64_t at, const void *data, uint64_t size)
{
	uint64_t start = state_start(image), end;
	int result = at == 0 ? qcow2_state_drop(image) : 0;
	struct iovec vector = {(void *)data, size};

	if (result < 0 || size == 0)
		return result;
	if (__builtin_add_overflow(start + at, size, &end) || end > INT64_MAX)
		return -EFBIG;
	result = make_room(image, end);
	return result < 0 ? result : image->node.driver->write(&image->node, start + at, size, &vector, 1);
}

int qcow2_state_open(struct qcow2 *image, const char *id, struct error *error)
{
	const struct snapshot *snapshot = NULL;
	uint64_t *l1;
	unsigned i;
	int result;

	for (i = 0; i < image->snapshot_count && !snapshot; i++)
		if (strcmp(image->snapshots[i].id, id) == 0)
			snapshot = &image->snapshots[i];
	if (!snapshot)
		return error_set(error, ENOENT, "%s has no snapshot %s", image->node.file.path, id);
	if (snapshot->is_bad)
		return error_set(error, EIO, "%s: its snapshot %s is damaged", image->node.file.path, id);
	/* Where its state begins goes by its disk's size. */
	if (snapshot->disk_size != image->node.size)
		return error_set(error, EINVAL, "%s: the disk has another size than in its snapshot %s",
				 image->node.file.path, id);
	result = qcow2_flush(&image->node);
	if (result == 0)
		result = whole_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &l1);
	if (result < 0)
		return error_set_errno(error, -result, "%s: snapshot %s", image->node.file.path, id);
	image->own_l1 = image->l1;
	image->own_l1_size = image->l1_size;
	image->l1 = l1;
	image->l1_size = snapshot->l1_size;
	image->state_bytes = snapshot->state_bytes;
	return 0;
}

int qcow2_state_read(struct qcow2 *image, uint64_t at, void *data, uint64_t size)
{
	struct iovec vector = {data, size};

	if (at > image->state_bytes || size > image->state_bytes - at)
		return -EPIPE;
	return image->node.driver->read(&image->node, state_start(image) + at, size, &vector, 1);
}

void qcow2_state_close(struct qcow2 *image)
{
	if (!image->own_l1)
		return;
	free(image->l1);
	image->l1 = image->own_l1;
	image->l1_size = image->own_l1_size;
	image->own_l1 = NULL;
}
