#include "device/virtio/requests.h"

#include <string.h>

void virtio_request_begin(struct virtio_device *virtio, struct virtio_requests *requests, struct virtio_request *request)
{
	request->next = requests->first;
	request->link = &requests->first;
	if (request->next)
		request->next->link = &request->next;
	requests->first = request;
	virtio_begin(virtio);
}

void virtio_request_end(struct virtio_device *virtio, struct virtio_request *request)
{
	*request->link = request->next;
	if (request->next)
		request->next->link = request->link;
	virtio_end(virtio);
}

void virtio_requests_begin_anew(struct virtio_requests *requests,
				void (*take)(void *context, unsigned queue, struct virtqueue_chain *chain), void *context)
{
	struct virtio_chains anew = requests->anew;
	unsigned i;

	requests->anew = (struct virtio_chains){NULL, 0, 0};
	for (i = 0; i < anew.count; i++)
		take(context, anew.list[i].queue, anew.list[i].chain);
	virtio_chains_forget(&anew);
}

void virtio_requests_reset(struct virtio_requests *requests)
{
	virtio_chains_drop(&requests->anew);
}

void virtio_requests_destroy(struct virtio_requests *requests)
{
	virtio_chains_drop(&requests->anew);
	virtio_chains_drop(&requests->loaded);
}

/* What has not begun since it was loaded, and what is under way. 0 or -ENOMEM. */
static int collect(const struct virtio_requests *requests, struct virtio_chains *chains)
{
	const struct virtio_request *request;
	int result = 0;
	unsigned i;

	for (i = 0; i < requests->anew.count && result == 0; i++)
		result = virtio_chains_add(chains, requests->anew.list[i].queue, requests->anew.list[i].chain);
	for (request = requests->first; request && result == 0; request = request->next)
		result = virtio_chains_add(chains, request->queue, request->chain);
	return result;
}

void virtio_requests_transfer(const struct virtio_device *virtio, struct virtio_requests *requests,
			      struct state_stream *state)
{
	struct virtio_chains chains = {NULL, 0, 0};
	int result;

	if (state->is_loading) {
		virtio_chains_drop(&requests->loaded);
		virtio_chains_transfer(virtio, &requests->loaded, state);
		return;
	}
	result = collect(requests, &chains);
	if (result < 0)
		state_fail(state, "%s", strerror(-result));
	virtio_chains_transfer(virtio, &chains, state);
	virtio_chains_forget(&chains);
}

static bool are_possible(const struct virtio_device *virtio, const struct virtio_chains *chains, unsigned first_queue)
{
	unsigned i;

	for (i = 0; i < chains->count; i++)
		if (chains->list[i].queue < first_queue)
			return false;
	return virtio_chains_check(virtio, chains);
}

bool virtio_requests_restore(const struct virtio_device *virtio, struct virtio_requests *requests, unsigned first_queue)
{
	if (!are_possible(virtio, &requests->loaded, first_queue)) {
		virtio_chains_drop(&requests->loaded);
		return false;
	}
	virtio_chains_drop(&requests->anew);
	requests->anew = requests->loaded;
	requests->loaded = (struct virtio_chains){NULL, 0, 0};
	return true;
}
