/* Requests that fail: error_policy.h, but for what wakes the I/O thread (retry.c). */
#include "block/error_policy.h"

#include <errno.h>
#include <string.h>

#include "block/disk.h"
#include "util/clock.h"

#define REPEATED_NS NS_PER_SECOND /* between two failures that are alike, and told */

static const char *const names[BLOCK_ON_ERRORS] = {
	[BLOCK_ON_ERROR_REPORT] = "report",
	[BLOCK_ON_ERROR_IGNORE] = "ignore",
	[BLOCK_ON_ERROR_STOP] = "stop",
	[BLOCK_ON_ERROR_ENOSPC] = "enospc",
};

int block_on_error_parse(const char *text, enum block_on_error *policy)
{
	unsigned i;

	for (i = 0; i < BLOCK_ON_ERRORS; i++)
		if (strcmp(text, names[i]) == 0) {
			*policy = i;
			return 0;
		}
	return -EINVAL;
}

const char *block_on_error_name(enum block_on_error policy)
{
	return names[policy];
}

void block_set_error_policy(struct block *block, const struct block_error_policy *policy)
{
	block->errors.policy = *policy;
}

void block_watch_failures(struct block *block, const struct block_failure_watch *watch)
{
	block->errors.watch = *watch;
}

/* --- failures, on their way to who tells of them --- */

/* Whether there is something to tell. */
static bool note(struct block *block, bool is_read, enum block_on_error action, int error)
{
	struct failure_slot *slot = &block->errors.slots[is_read][action][error == ENOSPC];
	uint64_t now = monotonic_ns();
	bool is_news;

	pthread_mutex_lock(&block->lock);
	is_news = action == BLOCK_ON_ERROR_STOP || !slot->told_ns || now - slot->told_ns >= REPEATED_NS;
	if (is_news) {
		slot->error = error;
		slot->told_ns = now;
	}
	pthread_mutex_unlock(&block->lock);
	return is_news;
}

bool block_take_failure(struct block *block, struct block_failure *failure)
{
	unsigned is_read, action, is_full;
	bool is_found = false;

	pthread_mutex_lock(&block->lock);
	for (is_read = 0; is_read < 2 && !is_found; is_read++)
		for (action = 0; action < FAILURE_ACTIONS && !is_found; action++)
			for (is_full = 0; is_full < 2 && !is_found; is_full++) {
				struct failure_slot *slot = &block->errors.slots[is_read][action][is_full];

				if (!slot->error)
					continue;
				*failure = (struct block_failure){is_read, action, slot->error};
				slot->error = 0;
				is_found = true;
			}
	pthread_mutex_unlock(&block->lock);
	return is_found;
}

enum block_health block_health(const struct block *block)
{
	return __atomic_load_n(&block->errors.health, __ATOMIC_RELAXED);
}

/* --- holding, on the I/O thread --- */

static void count_held(const struct block_request *request, int by)
{
	struct block_held *held = request->held;

	if (!held)
		return;
	pthread_mutex_lock(held->lock);
	held->count += by;
	if (by > 0)
		pthread_cond_broadcast(held->changed);
	pthread_mutex_unlock(held->lock);
}

static enum block_on_error choose(const struct block_errors *errors, bool is_read, int error)
{
	enum block_on_error policy = is_read ? errors->policy.on_read : errors->policy.on_write;

	if (policy == BLOCK_ON_ERROR_ENOSPC)
		policy = error == ENOSPC ? BLOCK_ON_ERROR_STOP : BLOCK_ON_ERROR_REPORT;
	if (policy == BLOCK_ON_ERROR_STOP && (errors->giving_up || !errors->watch.failed))
		policy = BLOCK_ON_ERROR_REPORT;
	return policy;
}

bool errors_would_hold(const struct block *block, const struct block_request *request, int result)
{
	return (request->flags & BLOCK_HOLDABLE) &&
	       choose(&block->errors, request->operation == BLOCK_READ, -result) == BLOCK_ON_ERROR_STOP;
}

bool errors_hold(struct block *block, struct block_request *request, int *result)
{
	struct block_errors *errors = &block->errors;
	bool is_read = request->operation == BLOCK_READ;
	int error = -*result;
	enum block_on_error action;
	bool is_news;

	if (!(request->flags & BLOCK_HOLDABLE))
		return false;
	action = choose(errors, is_read, error);
	is_news = note(block, is_read, action, error);
	if (action == BLOCK_ON_ERROR_STOP) {
		request_list_add(&errors->held, request);
		__atomic_store_n(&errors->health, error == ENOSPC ? BLOCK_IS_FULL : BLOCK_HAS_FAILED, __ATOMIC_RELAXED);
		count_held(request, 1);
	} else if (action == BLOCK_ON_ERROR_IGNORE) {
		*result = 0;
	}
	if (errors->watch.failed && is_news)
		errors->watch.failed(errors->watch.context, action == BLOCK_ON_ERROR_STOP);
	return action == BLOCK_ON_ERROR_STOP;
}

struct block_request *errors_take_held(struct block *block)
{
	struct block_errors *errors = &block->errors;
	struct block_request *first = errors->held.first, *request;

	for (request = first; request; request = request->next)
		count_held(request, -1);
	errors->held = (struct request_list){NULL, NULL};
	__atomic_store_n(&errors->health, BLOCK_HEALTHY, __ATOMIC_RELAXED);
	return first;
}

void errors_give_up(void *context)
{
	struct block *block = context;
	struct block_request *request, *next;

	block->errors.giving_up++;
	for (request = errors_take_held(block); request; request = next) {
		next = request->next;
		request->complete(request, -EIO);
	}
}

void errors_keep(void *context)
{
	struct block *block = context;

	block->errors.giving_up--;
}
