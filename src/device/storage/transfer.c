#include "device/storage/transfer.h"

#include <stdlib.h>

#define PARTS_MAX BLOCK_VECTORS_MAX

static void submit(struct storage_transfer *transfer);

static void finish(struct storage_transfer *transfer, int result)
{
	if (transfer->parts != transfer->few)
		free(transfer->parts);
	transfer->complete(transfer, result);
}

static void request_complete(struct block_request *request, int result)
{
	struct storage_transfer *transfer = request->context;

	transfer->done += request->size;
	if (result < 0 || transfer->done >= transfer->size)
		finish(transfer, result);
	else
		submit(transfer);
}

/* As much of the list as one request may have. */
static void take_parts(struct storage_transfer *transfer)
{
	const struct gather *gather = &transfer->gather;
	uint64_t left = transfer->size - transfer->done, chunk, total = 0;
	unsigned count = 0;

	if (left > BLOCK_REQUEST_MAX)
		left = BLOCK_REQUEST_MAX;
	while (total < left && count < transfer->parts_max && transfer->piece < gather->count) {
		chunk = gather->vector[transfer->piece].iov_len - transfer->piece_at;
		if (chunk > left - total)
			chunk = left - total;
		transfer->parts[count++] = (struct iovec){
			(uint8_t *)gather->vector[transfer->piece].iov_base + transfer->piece_at, chunk};
		total += chunk;
		transfer->piece_at += chunk;
		if (transfer->piece_at == gather->vector[transfer->piece].iov_len) {
			transfer->piece++;
			transfer->piece_at = 0;
		}
	}
	transfer->request.vector = transfer->parts;
	transfer->request.vector_count = count;
	transfer->request.size = total;
}

static void submit(struct storage_transfer *transfer)
{
	struct block_request *request = &transfer->request;

	*request = (struct block_request){
		.operation = transfer->operation,
		.flags = transfer->flags | BLOCK_HOLDABLE,
		.offset = transfer->offset + transfer->done,
		.size = transfer->size,
		.complete = request_complete,
		.context = transfer,
		.held = transfer->held,
	};
	if (transfer->operation == BLOCK_READ || transfer->operation == BLOCK_WRITE)
		take_parts(transfer);
	block_submit(transfer->block, &request, 1);
}

/* Few parts will do where there is no memory for more. */
static void make_parts(struct storage_transfer *transfer)
{
	unsigned count = transfer->gather.count < PARTS_MAX ? transfer->gather.count : PARTS_MAX;

	transfer->parts = transfer->few;
	transfer->parts_max = sizeof(transfer->few) / sizeof(transfer->few[0]);
	if (count <= transfer->parts_max)
		return;
	transfer->parts = calloc(count, sizeof(*transfer->parts));
	if (transfer->parts)
		transfer->parts_max = count;
	else
		transfer->parts = transfer->few;
}

void transfer_start(struct storage_transfer *transfer, struct block *block)
{
	transfer->block = block;
	transfer->done = transfer->piece_at = 0;
	transfer->piece = 0;
	transfer->parts = transfer->few;
	if (transfer->operation == BLOCK_READ || transfer->operation == BLOCK_WRITE) {
		if (transfer->size > transfer->gather.size_bytes)
			transfer->size = transfer->gather.size_bytes;
		make_parts(transfer);
	}
	submit(transfer);
}
