/* Snapshots of disks that are open: their formats' under the names of block.h. */
#include <errno.h>

#include "block/dirty_marks.h"
#include "block/disk.h"
#include "block/image.h"
#include "block/qcow2/whole.h"

#define STATE_PIECE (1u << 20)

static struct qcow2 *as_qcow2(const struct block *block)
{
	return block->node->driver == &qcow2_driver ? (struct qcow2 *)block->node : NULL;
}

struct node *block_image(const struct block *block)
{
	return block->node;
}

int block_can_snapshot(const struct block *block, struct error *error)
{
	if (block->watch)
		return error_set(error, EBUSY, "%s is being copied", block->info.path);
	if (block->visitors)
		return error_set(error, EBUSY, "%s is exported", block->info.path);
	if (!as_qcow2(block))
		return error_set(error, ENOTSUP, "%s is %s, which has no snapshots: qcow2 has", block->path,
				 block->info.format);
	return qcow2_snapshot_possible(as_qcow2(block), error);
}

unsigned block_snapshot_count(const struct block *block)
{
	return as_qcow2(block) ? as_qcow2(block)->snapshot_count : 0;
}

void block_snapshot_describe(const struct block *block, unsigned index, struct block_snapshot *snapshot)
{
	image_snapshot_describe(block->node, index, snapshot);
}

uint32_t block_state_unit(const struct block *block)
{
	uint64_t cluster = as_qcow2(block)->cluster_size;

	return cluster > STATE_PIECE ? cluster : STATE_PIECE;
}

int block_state_write(struct block *block, uint64_t at, const void *data, uint64_t size)
{
	block_drain(block);
	return qcow2_state_write(as_qcow2(block), at, data, size);
}

void block_state_drop(struct block *block)
{
	qcow2_state_drop(as_qcow2(block));
}

int block_snapshot_create(struct block *block, const struct block_snapshot *snapshot, struct error *error)
{
	block_drain(block);
	return qcow2_snapshot_create(as_qcow2(block), snapshot, error);
}

int block_state_open(struct block *block, const char *id, struct error *error)
{
	block_drain(block);
	return qcow2_state_open(as_qcow2(block), id, error);
}

int block_state_read(struct block *block, uint64_t at, void *data, uint64_t size)
{
	return qcow2_state_read(as_qcow2(block), at, data, size);
}

void block_state_close(struct block *block)
{
	qcow2_state_close(as_qcow2(block));
}

int block_snapshot_apply(struct block *block, const char *id, struct error *error)
{
	block_drain(block);
	dirty_mark(block->bitmaps, 0, block->node->size);
	return image_snapshot_apply(block->node, id, error);
}

int block_snapshot_delete(struct block *block, const char *id, struct error *error)
{
	block_drain(block);
	return image_snapshot_delete(block->node, id, error);
}
