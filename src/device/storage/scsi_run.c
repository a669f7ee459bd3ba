#include "device/storage/scsi_run.h"

static void transfer_complete(struct storage_transfer *transfer, int result)
{
	struct scsi_run *run = transfer->context;
	bool is_read = run->task.work == SCSI_READ;
	pthread_mutex_t *lock = run->lock; /* the run is its owner's again, who may free it */

	if (is_read)
		gather_written(run->in, run->memory, transfer->size);
	pthread_mutex_lock(lock);
	if (result == 0 && (is_read || run->task.work == SCSI_WRITE))
		run->moved = transfer->size;
	scsi_worked(run->unit, &run->task, result);
	run->complete(run);
	pthread_mutex_unlock(lock);
}

static void start_transfer(struct scsi_run *run)
{
	static const enum block_operation operations[] = {
		[SCSI_READ] = BLOCK_READ,	[SCSI_WRITE] = BLOCK_WRITE,
		[SCSI_FLUSH] = BLOCK_FLUSH,	[SCSI_DISCARD] = BLOCK_DISCARD,
		[SCSI_ZEROES] = BLOCK_WRITE_ZEROES,
	};
	const struct scsi_task *task = &run->task;
	struct storage_transfer *transfer = &run->transfer;

	*transfer = (struct storage_transfer){
		.operation = operations[task->work],
		.flags = (task->is_durable ? BLOCK_FUA : 0) | (task->may_unmap ? BLOCK_UNMAP : 0),
		.offset = task->offset,
		.size = task->size,
		.complete = transfer_complete,
		.context = run,
		.held = run->held,
	};
	if (task->work == SCSI_READ)
		transfer->gather = *run->in;
	else if (task->work == SCSI_WRITE)
		transfer->gather = *run->out;
	transfer_start(transfer, run->unit->drive->block);
}

bool scsi_run_start(struct scsi_run *run)
{
	struct scsi_task *task = &run->task;

	run->moved = 0;
	scsi_begin(run->unit, task);
	if (task->work == SCSI_PARAMETERS) {
		run->moved = gather_read(run->out, 0, task->data, task->size);
		scsi_parameters(run->unit, task, run->moved);
	}
	if (task->work == SCSI_DATA_IN) {
		run->moved = gather_write(run->in, run->memory, 0, task->data, task->size);
		task->work = SCSI_DONE;
	}
	if (task->work == SCSI_DONE)
		return true;
	start_transfer(run);
	return false;
}
