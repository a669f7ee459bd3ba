/* Requests to a disk that has been started, for tests that wait for each. 0 or -errno. */
#ifndef KVIK_TESTS_BLOCK_WAIT_H
#define KVIK_TESTS_BLOCK_WAIT_H

#include <semaphore.h>

#include "block/block.h"

struct waited_request {
	struct block_request request;
	sem_t done;
	int result;
};

static inline void waited_complete(struct block_request *request, int result)
{
	struct waited_request *waited = request->context;

	waited->result = result;
	sem_post(&waited->done);
}

static inline int block_wait(struct block *block, enum block_operation operation, uint64_t offset, void *data,
			     uint64_t size)
{
	struct iovec vector = {data, size};
	struct waited_request waited = {.request = {.operation = operation,
						    .offset = offset,
						    .size = size,
						    .vector = &vector,
						    .vector_count = 1,
						    .complete = waited_complete,
						    .context = &waited}};
	struct block_request *request = &waited.request;

	sem_init(&waited.done, 0, 0);
	block_submit(block, &request, 1);
	while (sem_wait(&waited.done) < 0)
		;
	sem_destroy(&waited.done);
	return waited.result;
}

static inline int block_read(struct block *block, uint64_t offset, void *data, uint64_t size)
{
	return block_wait(block, BLOCK_READ, offset, data, size);
}

static inline int block_write(struct block *block, uint64_t offset, const void *data, uint64_t size)
{
	return block_wait(block, BLOCK_WRITE, offset, (void *)data, size);
}

static inline int block_flush(struct block *block)
{
	return block_wait(block, BLOCK_FLUSH, 0, NULL, 0);
}

#endif
