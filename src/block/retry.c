/* What was held (error_policy.h) goes on, or is given up: others' way to the I/O thread. */
#include "block/disk.h"
#include "util/clock.h"

static void retry(void *context)
{
	struct block *block = context;
	struct block_request *request, *next;

	block->errors.retried_ns = monotonic_ns();
	for (request = errors_take_held(block); request; request = next) {
		next = request->next;
		__atomic_add_fetch(&block->outstanding, 1, __ATOMIC_ACQ_REL);
		request_start(block, request);
	}
}

void block_retry(struct block *block)
{
	block_call(block, retry, block);
}

void block_give_up(struct block *block)
{
	block_call(block, errors_give_up, block);
}

void block_keep(struct block *block)
{
	block_call(block, errors_keep, block);
}
