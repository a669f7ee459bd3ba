/* What was held (error_policy.h) goes on, or is given up: others' way to the I/O thread. */
#include "block/disk.h"

static void retry(void *context)
{
	struct block *block = context;
	struct block_request *request, *next;

	for (request = errors_take_held(block); request; request = next) {
		next = request->next;
		__atomic_add_fetch(&block->outstanding, 1, __ATOMIC_ACQ_REL);
		request_start(block, request);
	}
}

void block_retry(struct block *block)
{
	if (__atomic_load_n(&block->errors.held_count, __ATOMIC_ACQUIRE))
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
