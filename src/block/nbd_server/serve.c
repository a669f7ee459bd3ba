/*
 * The server's side of "Transmission": one thread receives a client's requests and gives them to the disk, another one
 * sends the replies in the order in which the disk is done with them.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "block/image.h"
#include "block/nbd_server/parts.h"
#include "util/thread.h"

#define CLIENT_REQUESTS 64	    /* under way */
#define CLIENT_BYTES	(32u << 20) /* with them; one request can have as much */
#define EXTENTS		1024	    /* of one look */

struct serving {
	struct nbd_client *client;
	const struct nbd_export *export;
	pthread_t sender;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct client_request *done, *last_done;
	unsigned under_way;
	uint64_t bytes;
	bool has_received_all, has_failed; /* no more comes; nothing more can be sent */
};

struct client_request {
	struct block_request block;
	struct serving *serving;
	struct iovec vector;
	uint8_t *data;
	uint64_t cookie;
	uint16_t command, flags;
	uint32_t bytes; /* of memory that it has */
	bool has_flushed;
	int result;
	struct client_request *next;
};

/* -- replies -- */

static uint32_t error_number(int result)
{
	switch (-result) {
	case 0: return 0;
	case EPERM:
	case EROFS:
	case EACCES: return EPERM;
	case ENOSPC:
	case EFBIG:
	case EDQUOT: return ENOSPC;
	case ENOMEM:
	case EINVAL: return -result;
	case EOPNOTSUPP: return EOPNOTSUPP;
	default: return EIO;
	}
}

static uint8_t *put_chunk(uint8_t *at, const struct client_request *request, unsigned flags, unsigned type, uint32_t size)
{
	at = put_be16(put_be16(put_be32(at, NBD_STRUCTURED_MAGIC), flags), type);
	return put_be32(put_be64(at, request->cookie), size);
}

static int send_simple(struct wire *wire, const struct client_request *request)
{
	uint8_t head[NBD_SIMPLE_BYTES];
	bool has_data = request->command == NBD_CMD_READ && request->result == 0;
	struct iovec vector[] = {{head, sizeof(head)}, {request->data, has_data ? request->block.size : 0}};

	put_be64(put_be32(put_be32(head, NBD_SIMPLE_MAGIC), error_number(request->result)), request->cookie);
	return wire_send(wire, vector, 2);
}

static int send_failure(struct wire *wire, const struct client_request *request)
{
	uint8_t chunk[NBD_CHUNK_BYTES + 6];
	uint8_t *at = put_chunk(chunk, request, NBD_CHUNK_DONE, NBD_CHUNK_ANY_ERROR, 6);

	put_be16(put_be32(at, error_number(request->result)), 0);
	return wire_send_bytes(wire, chunk, sizeof(chunk));
}

static int send_data(struct wire *wire, const struct client_request *request)
{
	uint8_t chunk[NBD_CHUNK_BYTES + 8];
	struct iovec vector[] = {{chunk, sizeof(chunk)}, {request->data, request->block.size}};

	put_be64(put_chunk(chunk, request, NBD_CHUNK_DONE, NBD_CHUNK_DATA, request->block.size + 8), request->block.offset);
	return wire_send(wire, vector, 2);
}

/* One context's view of what was found. Neighbours that are alike in it become one. */
static int send_states(struct wire *wire, const struct client_request *request, uint32_t id, bool is_last)
{
	const struct image_extent *extents = request->block.extents;
	uint8_t chunk[NBD_CHUNK_BYTES + 4 + EXTENTS * 8];
	uint64_t left = request->block.size;
	uint32_t count = 0, state, last_state = 0, sizes[EXTENTS], states[EXTENTS], size;
	uint8_t *at;
	unsigned i;

	for (i = 0; i < request->block.extent_count && left > 0; i++) {
		size = extents[i].size < left ? extents[i].size : left;
		left -= size;
		if (id == NBD_DEPTH_ID)
			state = extents[i].is_present ? extents[i].depth + 1 : 0;
		else
			state = extents[i].is_zero ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0;
		if (count > 0 && state == last_state) {
			sizes[count - 1] += size;
			continue;
		}
		if (count > 0 && request->flags & NBD_CMD_FLAG_REQ_ONE)
			break;
		sizes[count] = size;
		states[count++] = last_state = state;
	}
	at = put_be32(put_chunk(chunk, request, is_last ? NBD_CHUNK_DONE : 0, NBD_CHUNK_BLOCK_STATUS, 4 + count * 8), id);
	for (i = 0; i < count; i++)
		at = put_be32(put_be32(at, sizes[i]), states[i]);
	return wire_send_bytes(wire, chunk, at - chunk);
}

static int send_reply(struct serving *serving, const struct client_request *request)
{
	struct wire *wire = &serving->client->wire;
	const struct nbd_choice *choice = &serving->client->choice;
	int result = 0;

	if (!choice->is_structured || (request->command != NBD_CMD_READ && request->command != NBD_CMD_BLOCK_STATUS))
		return send_simple(wire, request);
	if (request->result < 0)
		return send_failure(wire, request);
	if (request->command == NBD_CMD_READ)
		return send_data(wire, request);
	if (choice->has_allocation)
		result = send_states(wire, request, NBD_ALLOCATION_ID, !choice->has_depth);
	if (result == 0 && choice->has_depth)
		result = send_states(wire, request, NBD_DEPTH_ID, true);
	return result;
}

static void free_request(struct client_request *request)
{
	free(request->data);
	free(request->block.extents);
	free(request);
}

static void *run_sender(void *context)
{
	struct serving *serving = context;
	struct client_request *request;
	bool has_failed;

	pthread_setname_np(pthread_self(), "kvik nbd");
	pthread_mutex_lock(&serving->lock);
	for (;;) {
		request = serving->done;
		if (!request && serving->has_received_all && !serving->under_way)
			break;
		if (!request) {
			pthread_cond_wait(&serving->changed, &serving->lock);
			continue;
		}
		serving->done = request->next;
		if (!serving->done)
			serving->last_done = NULL;
		has_failed = serving->has_failed;
		pthread_mutex_unlock(&serving->lock);
		if (!has_failed && send_reply(serving, request) < 0) {
			has_failed = true;
			/* Who waits for its next request shall not. */
			wire_break(&serving->client->wire);
		}
		pthread_mutex_lock(&serving->lock);
		serving->has_failed |= has_failed;
		serving->under_way--;
		serving->bytes -= request->bytes;
		pthread_cond_broadcast(&serving->changed);
		free_request(request);
	}
	pthread_mutex_unlock(&serving->lock);
	return NULL;
}

/* -- requests -- */

static void finish(struct client_request *request, int result)
{
	struct serving *serving = request->serving;

	request->result = result;
	request->next = NULL;
	pthread_mutex_lock(&serving->lock);
	if (serving->last_done)
		serving->last_done->next = request;
	else
		serving->done = request;
	serving->last_done = request;
	pthread_cond_broadcast(&serving->changed);
	pthread_mutex_unlock(&serving->lock);
}

static void give_to_disk(struct client_request *request)
{
	struct block_request *requests[] = {&request->block};

	block_submit(request->serving->export->block, requests, 1);
}

/* On the disk's I/O thread. */
static void completed(struct block_request *done, int result)
{
	struct client_request *request = (struct client_request *)((char *)done - offsetof(struct client_request, block));

	/* Disks know nothing of discards that are durable. */
	if (result == 0 && request->command == NBD_CMD_TRIM && request->flags & NBD_CMD_FLAG_FUA && !request->has_flushed) {
		request->has_flushed = true;
		done->operation = BLOCK_FLUSH;
		give_to_disk(request);
		return;
	}
	finish(request, result);
}

/* What the command is for the disk. 0, or -errno: what is wrong with it. */
static int translate(const struct serving *serving, struct client_request *request)
{
	static const struct {
		enum block_operation operation;
		uint16_t flags;
		bool is_change;
	} commands[] = {
		[NBD_CMD_READ] = {BLOCK_READ, NBD_CMD_FLAG_DF, false},
		[NBD_CMD_WRITE] = {BLOCK_WRITE, NBD_CMD_FLAG_FUA, true},
		[NBD_CMD_FLUSH] = {BLOCK_FLUSH, 0, false},
		[NBD_CMD_TRIM] = {BLOCK_DISCARD, NBD_CMD_FLAG_FUA, true},
		[NBD_CMD_WRITE_ZEROES] = {BLOCK_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, true},
		[NBD_CMD_BLOCK_STATUS] = {BLOCK_LOOK, NBD_CMD_FLAG_REQ_ONE, false},
	};
	const struct nbd_choice *choice = &serving->client->choice;
	struct block_request *block = &request->block;
	uint16_t command = request->command;

	/* 2 and 5 have no row. */
	if (command > NBD_CMD_BLOCK_STATUS || command == NBD_CMD_DISC || command == 5 ||
	    request->flags & ~commands[command].flags)
		return -EINVAL;
	if (commands[command].is_change && !serving->export->is_writable)
		return -EPERM;
	block->operation = commands[command].operation;
	if (command == NBD_CMD_FLUSH) {
		block->offset = block->size = 0;
		return 0;
	}
	if (block->offset > serving->export->size || block->size > serving->export->size - block->offset)
		return commands[command].is_change && command != NBD_CMD_TRIM ? -ENOSPC : -EINVAL;
	if ((command == NBD_CMD_READ && block->size > NBD_REQUEST_MAX) || block->size == 0)
		return -EINVAL;
	if (command == NBD_CMD_BLOCK_STATUS && !choice->has_allocation && !choice->has_depth)
		return -EINVAL;
	if (command != NBD_CMD_TRIM && request->flags & NBD_CMD_FLAG_FUA)
		block->flags |= BLOCK_FUA;
	if (command == NBD_CMD_WRITE_ZEROES && !(request->flags & NBD_CMD_FLAG_NO_HOLE))
		block->flags |= BLOCK_UNMAP;
	return 0;
}

/* Memory for what goes with it. 0 or -ENOMEM. */
static int make_room(struct client_request *request)
{
	struct block_request *block = &request->block;

	if (block->operation == BLOCK_LOOK) {
		block->extents = calloc(EXTENTS, sizeof(*block->extents));
		block->extent_count = EXTENTS;
		return block->extents ? 0 : -ENOMEM;
	}
	if (!request->bytes)
		return 0;
	request->data = malloc(request->bytes);
	request->vector = (struct iovec){request->data, request->bytes};
	block->vector = &request->vector;
	block->vector_count = 1;
	return request->data ? 0 : -ENOMEM;
}

/* Until there is room for it. False: nobody would hear of it. */
static bool wait_for_room(struct serving *serving, uint32_t bytes)
{
	bool has_failed;

	pthread_mutex_lock(&serving->lock);
	while (!serving->has_failed && serving->under_way &&
	       (serving->under_way == CLIENT_REQUESTS || serving->bytes + bytes > CLIENT_BYTES))
		pthread_cond_wait(&serving->changed, &serving->lock);
	has_failed = serving->has_failed;
	if (!has_failed) {
		serving->under_way++;
		serving->bytes += bytes;
	}
	pthread_mutex_unlock(&serving->lock);
	return !has_failed;
}

/* A request that was counted, and is not answered. */
static void forget(struct serving *serving, struct client_request *request)
{
	pthread_mutex_lock(&serving->lock);
	serving->under_way--;
	serving->bytes -= request->bytes;
	pthread_mutex_unlock(&serving->lock);
	free_request(request);
}

/* One request. 0, or -errno: that was the last. */
static int receive(struct serving *serving)
{
	struct wire *wire = &serving->client->wire;
	uint8_t head[NBD_REQUEST_BYTES];
	struct client_request *request;
	int result = wire_receive_bytes(wire, head, sizeof(head)), problem;
	uint32_t size = get_be32(head + 24);

	if (result < 0)
		return result;
	if (get_be32(head) != NBD_REQUEST_MAGIC || get_be16(head + 6) == NBD_CMD_DISC)
		return -ECONNRESET;
	/* What follows a write has to be taken before the next request can be read. */
	if (get_be16(head + 6) == NBD_CMD_WRITE && size > NBD_REQUEST_MAX)
		return -EPROTO;
	request = calloc(1, sizeof(*request));
	if (!request)
		return -ENOMEM;
	request->serving = serving;
	request->flags = get_be16(head + 4);
	request->command = get_be16(head + 6);
	request->cookie = get_be64(head + 8);
	request->block.offset = get_be64(head + 16);
	request->block.size = size;
	request->block.complete = completed;
	request->block.flags = BLOCK_FREELY;
	problem = translate(serving, request);
	if (request->command == NBD_CMD_WRITE || (request->command == NBD_CMD_READ && problem == 0))
		request->bytes = size;
	if (!wait_for_room(serving, request->bytes)) {
		free_request(request);
		return -ECONNRESET;
	}
	result = make_room(request);
	if (result < 0 && request->command != NBD_CMD_WRITE) {
		finish(request, result);
		return 0;
	}
	if (result == 0 && request->command == NBD_CMD_WRITE)
		result = wire_receive_bytes(wire, request->data, size);
	if (result < 0) {
		forget(serving, request);
		return result;
	}
	if (problem < 0)
		finish(request, problem);
	else
		give_to_disk(request);
	return 0;
}

void nbd_serve(struct nbd_client *client)
{
	struct serving serving = {.client = client, .export = client->export};

	pthread_mutex_init(&serving.lock, NULL);
	pthread_cond_init(&serving.changed, NULL);
	if (thread_start(&serving.sender, NULL, run_sender, &serving) == 0) {
		while (receive(&serving) == 0)
			;
		pthread_mutex_lock(&serving.lock);
		serving.has_received_all = true;
		pthread_cond_broadcast(&serving.changed);
		pthread_mutex_unlock(&serving.lock);
		pthread_join(serving.sender, NULL);
	}
	pthread_cond_destroy(&serving.changed);
	pthread_mutex_destroy(&serving.lock);
}
