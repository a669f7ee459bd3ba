#include "device/virtio/chains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 16

int virtio_chains_add(struct virtio_chains *chains, unsigned queue, struct virtqueue_chain *chain)
{
	unsigned room = chains->room ? 2 * chains->room : FIRST_ROOM;
	struct virtio_kept *list;

	if (chains->count == chains->room) {
		list = reallocarray(chains->list, room, sizeof(*list));
		if (!list)
			return -ENOMEM;
		chains->list = list;
		chains->room = room;
	}
	chains->list[chains->count++] = (struct virtio_kept){queue, chain};
	return 0;
}

/* A chain's parts, each of which lay in one piece. */
static void transfer_parts(const struct virtio_device *virtio, struct virtqueue_chain *chain, struct state_stream *state)
{
	unsigned i, count = chain->readable + chain->writable;
	uint64_t size, total = 0;
	uint8_t *hva;

	for (i = 0; i < count && !state->has_failed; i++) {
		size = chain->parts[i].iov_len;
		state_u64(state, "part", &chain->gpa[i]);
		state_u64(state, "part size", &size);
		if (!state->is_loading)
			continue;
		hva = size <= UINT32_MAX ? guest_memory_for_writing(virtio->memory, chain->gpa[i], size) : NULL;
		total += size;
		state_check(state, "part", size && hva && total <= UINT32_MAX);
		chain->parts[i] = (struct iovec){hva, size};
		if (i < chain->readable)
			chain->readable_bytes += size;
		else
			chain->writable_bytes += size;
	}
}

static struct virtqueue_chain *make_chain(unsigned readable, unsigned writable)
{
	unsigned count = readable + writable;
	struct virtqueue_chain *chain = calloc(1, sizeof(*chain) + count * (sizeof(struct iovec) + sizeof(uint64_t)));

	if (!chain)
		return NULL;
	chain->readable = readable;
	chain->writable = writable;
	chain->parts = (struct iovec *)(chain + 1);
	chain->gpa = (uint64_t *)(chain->parts + count);
	return chain;
}

static void transfer_chain(const struct virtio_device *virtio, struct virtio_kept *kept, struct state_stream *state)
{
	struct virtqueue_chain head = {0}, *chain = kept->chain;
	uint32_t queue = kept->queue, readable, writable;

	if (chain)
		head = *chain;
	readable = head.readable;
	writable = head.writable;
	state_u32(state, "chain's queue", &queue);
	state_u16(state, "chain", &head.id);
	state_u16(state, "chain's descriptors", &head.descriptors);
	state_u32(state, "chain's parts", &readable);
	state_u32(state, "chain's parts", &writable);
	state_check(state, "chain's queue", queue < virtio->queue_count);
	state_check(state, "chain's parts", readable <= VIRTQUEUE_PARTS_MAX && writable <= VIRTQUEUE_PARTS_MAX &&
						    readable + writable <= VIRTQUEUE_PARTS_MAX);
	if (state->has_failed)
		return;
	if (state->is_loading) {
		chain = make_chain(readable, writable);
		if (!chain) {
			state_fail(state, "%s", strerror(ENOMEM));
			return;
		}
		chain->id = head.id;
		chain->descriptors = head.descriptors;
		*kept = (struct virtio_kept){queue, chain};
	}
	transfer_parts(virtio, chain, state);
}

void virtio_chains_transfer(const struct virtio_device *virtio, struct virtio_chains *chains, struct state_stream *state)
{
	uint32_t i, count = chains->count;

	state_u32(state, "chains", &count);
	state_check(state, "chains", count <= virtio->queue_count * VIRTQUEUE_SIZE_MAX);
	for (i = 0; i < count && !state->has_failed; i++) {
		struct virtio_kept kept = state->is_loading ? (struct virtio_kept){0, NULL} : chains->list[i];

		transfer_chain(virtio, &kept, state);
		if (state->is_loading && kept.chain && virtio_chains_add(chains, kept.queue, kept.chain) < 0) {
			virtqueue_drop(kept.chain);
			state_fail(state, "%s", strerror(ENOMEM));
		}
	}
}

/* Whether all that are of a queue can be in use at once there: each is another one, and all are what its ring says. */
static bool queue_has_them(const struct virtqueue *ring, const struct virtio_chains *chains, unsigned queue)
{
	uint64_t seen[(UINT16_MAX + 1) / 64] = {0};
	const struct virtqueue_chain *chain;
	unsigned i, entries, total = 0;

	for (i = 0; i < chains->count; i++) {
		if (chains->list[i].queue != queue)
			continue;
		chain = chains->list[i].chain;
		entries = ring->is_packed ? chain->descriptors : 1;
		total += entries;
		if (!entries || entries > ring->state.size || (!ring->is_packed && chain->id >= ring->state.size) ||
		    seen[chain->id / 64] >> chain->id % 64 & 1)
			return false;
		seen[chain->id / 64] |= 1ull << chain->id % 64;
	}
	return !total || (ring->state.is_enabled && !ring->broken && total <= virtqueue_in_flight(ring));
}

bool virtio_chains_check(const struct virtio_device *virtio, const struct virtio_chains *chains)
{
	unsigned i;

	for (i = 0; i < virtio->queue_count; i++)
		if (!queue_has_them(&virtio->queues[i].ring, chains, i))
			return false;
	return true;
}

void virtio_chains_forget(struct virtio_chains *chains)
{
	free(chains->list);
	*chains = (struct virtio_chains){NULL, 0, 0};
}

void virtio_chains_drop(struct virtio_chains *chains)
{
	unsigned i;

	for (i = 0; i < chains->count; i++)
		virtqueue_drop(chains->list[i].chain);
	virtio_chains_forget(chains);
}
