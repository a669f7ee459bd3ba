#include "block/nbd/connection.h"

#include <errno.h>
#include <string.h>

#include "block/limits.h"
#include "block/vector.h"
#include "util/log.h"

#define SKIPPED_MAX (64u << 10) /* bytes of a message that are read and forgotten */

/* An error number of the protocol's ("Error values"), which are Linux's. */
static int result_of(uint32_t error)
{
	static const int known[] = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN};
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if ((uint32_t)known[i] == error)
			return -known[i];
	return error ? -EIO : 0;
}

static struct nbd_exchange *find(struct nbd_connection *connection, uint64_t cookie)
{
	struct nbd_exchange *exchange;

	pthread_mutex_lock(&connection->lock);
	for (exchange = connection->under_way; exchange; exchange = exchange->next)
		if (exchange->cookie == cookie && !exchange->is_done)
			break;
	pthread_mutex_unlock(&connection->lock);
	return exchange;
}

static void finish(struct nbd_connection *connection, struct nbd_exchange *exchange)
{
	if (exchange->command == NBD_CMD_READ && exchange->result == 0 && exchange->received != exchange->size)
		exchange->result = -EIO;
	pthread_mutex_lock(&connection->lock);
	exchange->is_done = true;
	pthread_cond_broadcast(&connection->changed);
	pthread_mutex_unlock(&connection->lock);
}

static int receive_into(struct nbd_connection *connection, const struct nbd_exchange *exchange, uint64_t at, uint64_t size)
{
	struct iovec part[BLOCK_VECTORS_MAX];

	return wire_receive(&connection->wire, part, vector_part(exchange->vector, exchange->count, at, size, part));
}

static int skip(struct nbd_connection *connection, uint32_t size)
{
	uint8_t bytes[512];
	uint32_t length;
	int result = 0;

	for (; size > 0 && result == 0; size -= length) {
		length = size < sizeof(bytes) ? size : sizeof(bytes);
		result = wire_receive_bytes(&connection->wire, bytes, length);
	}
	return result;
}

/* -- replies: 0, or -errno by which the connection ends -- */

static int receive_simple(struct nbd_connection *connection, const uint8_t *head)
{
	struct nbd_exchange *exchange = find(connection, get_be64(head + 8));
	int result = 0;

	if (!exchange)
		return -EPROTO;
	exchange->result = result_of(get_be32(head + 4));
	if (exchange->command == NBD_CMD_READ && exchange->result == 0) {
		if (connection->terms.is_structured)
			return -EPROTO;
		exchange->received = exchange->size;
		result = receive_into(connection, exchange, 0, exchange->size);
	}
	if (result == 0)
		finish(connection, exchange);
	return result;
}

/* The place of data or of a hole in what was asked for: whether it is one. */
static bool place_of(struct nbd_exchange *exchange, uint64_t offset, uint32_t size, uint64_t *at)
{
	if (exchange->command != NBD_CMD_READ || offset < exchange->offset ||
	    offset - exchange->offset > exchange->size || size > exchange->size - (offset - exchange->offset))
		return false;
	*at = offset - exchange->offset;
	/* In pieces, which may leave gaps: what was in the memory before is nobody's business. */
	if (exchange->received == 0 && size < exchange->size)
		vector_zero(exchange->vector, exchange->count, 0, exchange->size);
	exchange->received += size;
	return true;
}

static int receive_data(struct nbd_connection *connection, struct nbd_exchange *exchange, uint32_t size)
{
	uint8_t offset[8];
	uint64_t at;
	int result;

	if (size <= sizeof(offset))
		return -EPROTO;
	result = wire_receive_bytes(&connection->wire, offset, sizeof(offset));
	if (result < 0)
		return result;
	size -= sizeof(offset);
	if (!place_of(exchange, get_be64(offset), size, &at))
		return -EPROTO;
	return receive_into(connection, exchange, at, size);
}

static int receive_hole(struct nbd_connection *connection, struct nbd_exchange *exchange, uint32_t size)
{
	uint8_t hole[12];
	uint64_t at;
	int result;

	if (size != sizeof(hole))
		return -EPROTO;
	result = wire_receive_bytes(&connection->wire, hole, sizeof(hole));
	if (result < 0)
		return result;
	size = get_be32(hole + 8);
	if (!place_of(exchange, get_be64(hole), size, &at))
		return -EPROTO;
	vector_zero(exchange->vector, exchange->count, at, size);
	return 0;
}

static int receive_status(struct nbd_connection *connection, struct nbd_exchange *exchange, uint32_t size)
{
	uint8_t status[12];
	int result;

	if (exchange->command != NBD_CMD_BLOCK_STATUS || size < sizeof(status) || size > SKIPPED_MAX || size % 8 != 4)
		return -EPROTO;
	result = wire_receive_bytes(&connection->wire, status, sizeof(status));
	if (result < 0)
		return result;
	if (get_be32(status) != connection->terms.allocation_id || get_be32(status + 4) == 0)
		return -EPROTO;
	exchange->run_bytes = get_be32(status + 4);
	exchange->run_state = get_be32(status + 8);
	return skip(connection, size - sizeof(status));
}

static int receive_error(struct nbd_connection *connection, struct nbd_exchange *exchange, uint32_t size)
{
	uint8_t error[4];
	int result;

	if (size < 6 || size > SKIPPED_MAX)
		return -EPROTO;
	result = wire_receive_bytes(&connection->wire, error, sizeof(error));
	if (result < 0)
		return result;
	if (exchange->result == 0)
		exchange->result = result_of(get_be32(error));
	if (exchange->result == 0)
		return -EPROTO;
	return skip(connection, size - sizeof(error));
}

static int receive_chunk(struct nbd_connection *connection, const uint8_t *head)
{
	struct nbd_exchange *exchange = find(connection, get_be64(head + 8));
	unsigned flags = get_be16(head + 4), type = get_be16(head + 6);
	uint32_t size = get_be32(head + 16);
	int result;

	if (!exchange || !connection->terms.is_structured)
		return -EPROTO;
	switch (type) {
	case NBD_CHUNK_NONE: result = size == 0 && flags & NBD_CHUNK_DONE ? 0 : -EPROTO; break;
	case NBD_CHUNK_DATA: result = receive_data(connection, exchange, size); break;
	case NBD_CHUNK_HOLE: result = receive_hole(connection, exchange, size); break;
	case NBD_CHUNK_BLOCK_STATUS: result = receive_status(connection, exchange, size); break;
	default: result = type & NBD_CHUNK_ERROR ? receive_error(connection, exchange, size) : -EPROTO; break;
	}
	if (result == 0 && flags & NBD_CHUNK_DONE)
		finish(connection, exchange);
	return result;
}

static int receive_reply(struct nbd_connection *connection)
{
	uint8_t head[NBD_CHUNK_BYTES];
	int result = wire_receive_bytes(&connection->wire, head, NBD_SIMPLE_BYTES);

	if (result < 0)
		return result;
	if (get_be32(head) == NBD_SIMPLE_MAGIC)
		return receive_simple(connection, head);
	if (get_be32(head) != NBD_STRUCTURED_MAGIC)
		return -EPROTO;
	result = wire_receive_bytes(&connection->wire, head + NBD_SIMPLE_BYTES, NBD_CHUNK_BYTES - NBD_SIMPLE_BYTES);
	return result < 0 ? result : receive_chunk(connection, head);
}

/* -- requests -- */

/* With the lock held. */
static void fail(struct nbd_connection *connection, int result)
{
	if (connection->has_failed)
		return;
	connection->has_failed = true;
	wire_break(&connection->wire);
	pthread_cond_broadcast(&connection->changed);
	log_error("%s: %s: nothing is read from there or written any more", connection->name,
		  result == -ECONNRESET ? "the server closed the connection"
		  : result == -EPROTO	? "the server doesn't keep to the protocol"
					: strerror(-result));
}

static int send_request(struct nbd_connection *connection, const struct nbd_exchange *exchange)
{
	uint8_t head[NBD_REQUEST_BYTES], *to = put_be32(head, NBD_REQUEST_MAGIC);
	struct iovec vector[1 + BLOCK_VECTORS_MAX] = {{head, sizeof(head)}};
	unsigned count = 1;
	int result;

	to = put_be16(put_be16(to, exchange->flags), (uint16_t)exchange->command);
	put_be32(put_be64(put_be64(to, exchange->cookie), exchange->offset), exchange->size);
	if (exchange->command == NBD_CMD_WRITE) {
		memcpy(vector + 1, exchange->vector, exchange->count * sizeof(vector[0]));
		count += exchange->count;
	}
	pthread_mutex_lock(&connection->send_lock);
	result = wire_send(&connection->wire, vector, count);
	pthread_mutex_unlock(&connection->send_lock);
	return result;
}

/* Receive for all until this one is done. With the lock held, which is given back meanwhile. */
static void receive(struct nbd_connection *connection, struct nbd_exchange *exchange)
{
	int result = 0;

	connection->is_receiving = true;
	while (!exchange->is_done && !connection->has_failed && result == 0) {
		pthread_mutex_unlock(&connection->lock);
		result = receive_reply(connection);
		pthread_mutex_lock(&connection->lock);
	}
	connection->is_receiving = false;
	if (result < 0)
		fail(connection, result);
	pthread_cond_broadcast(&connection->changed);
}

/* Whether nobody touches it any more. With the lock held. */
static bool is_over(const struct nbd_connection *connection, const struct nbd_exchange *exchange)
{
	return exchange->is_done || (connection->has_failed && !connection->is_receiving);
}

int nbd_connection_perform(struct nbd_connection *connection, struct nbd_exchange *exchange)
{
	struct nbd_exchange **link;
	int result;

	pthread_mutex_lock(&connection->lock);
	if (connection->has_failed) {
		pthread_mutex_unlock(&connection->lock);
		return -EIO;
	}
	exchange->cookie = ++connection->last_cookie;
	exchange->next = connection->under_way;
	connection->under_way = exchange;
	pthread_mutex_unlock(&connection->lock);

	result = send_request(connection, exchange);

	pthread_mutex_lock(&connection->lock);
	if (result < 0)
		fail(connection, result);
	while (!is_over(connection, exchange))
		if (connection->is_receiving)
			pthread_cond_wait(&connection->changed, &connection->lock);
		else
			receive(connection, exchange);
	for (link = &connection->under_way; *link != exchange; link = &(*link)->next)
		;
	*link = exchange->next;
	result = exchange->is_done ? exchange->result : -EIO;
	pthread_mutex_unlock(&connection->lock);
	return result;
}
