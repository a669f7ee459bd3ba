#include "block/nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "block/limits.h"
#include "block/nbd/connection.h"
#include "block/nbd/name.h"
#include "block/vector.h"
#include "util/socket.h"

#define HANDSHAKE_S	 30
#define BARE_REQUEST_MAX (1u << 30) /* bytes of one request that nothing goes with */

/* A host that has gone without a word is noticed after 30 + 6 * 10 seconds. */
#define QUIET_S	     30
#define QUIET_STEP_S 10
#define QUIET_STEPS  6

struct nbd {
	struct nbd_connection connection;
	/* Writes that are no whole blocks read before, and have no others beside them. */
	pthread_rwlock_t edges;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, QUIET_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, QUIET_STEP_S},
		{IPPROTO_TCP, TCP_KEEPCNT, QUIET_STEPS},
		{IPPROTO_TCP, TCP_NODELAY, 1},
	};
	unsigned i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

int nbd_connect(const char *text, struct error *error)
{
	struct nbd_name name;
	int fd, result = nbd_name_parse(text, &name, error);

	if (result < 0)
		return result;
	fd = name.socket ? socket_connect_unix(name.socket, error) : socket_connect_tcp(name.host, name.port, error);
	if (fd < 0)
		error_prefix(error, "%.200s", text);
	else if (!name.socket)
		set_options(fd);
	nbd_name_free(&name);
	return fd;
}

int nbd_open(const char *name, struct nbd **nbd, struct error *error)
{
	int fd = nbd_connect(name, error), result;

	if (fd < 0)
		return fd;
	result = nbd_open_fd(fd, name, nbd, error);
	close(fd);
	return result;
}

/* Agree with the server. */
static int begin(struct nbd_connection *connection, const char *export_name, struct error *error)
{
	int result, flags = fcntl(connection->wire.fd, F_GETFL);

	if (flags < 0 || fcntl(connection->wire.fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set_errno(error, errno, "%.300s", connection->name);
	connection->wire.deadline_ns = now_ns() + HANDSHAKE_S * 1000000000ll;
	result = nbd_handshake(&connection->wire, connection->name, export_name, &connection->terms, error);
	connection->wire.deadline_ns = 0;
	return result;
}

int nbd_open_fd(int fd, const char *text, struct nbd **opened, struct error *error)
{
	struct nbd *nbd = calloc(1, sizeof(*nbd));
	struct nbd_connection *connection;
	struct nbd_name name;
	int result = nbd_name_parse(text, &name, error);

	if (result < 0) {
		free(nbd);
		return result;
	}
	if (!nbd) {
		nbd_name_free(&name);
		return error_set_errno(error, ENOMEM, "%.300s", text);
	}
	connection = &nbd->connection;
	pthread_mutex_init(&connection->send_lock, NULL);
	pthread_mutex_init(&connection->lock, NULL);
	pthread_cond_init(&connection->changed, NULL);
	pthread_rwlock_init(&nbd->edges, NULL);
	connection->wire.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	connection->name = strdup(text);
	if (connection->wire.fd < 0 || !connection->name)
		result = error_set_errno(error, errno, "%.300s", text);
	else
		result = begin(connection, name.export_name, error);
	nbd_name_free(&name);
	/* Nothing is said to a server with which it did not come to that. */
	connection->has_failed = result < 0;
	if (result < 0)
		nbd_close(nbd);
	else
		*opened = nbd;
	return result;
}

void nbd_close(struct nbd *nbd)
{
	uint8_t goodbye[NBD_REQUEST_BYTES] = {0};
	struct nbd_connection *connection;

	if (!nbd)
		return;
	connection = &nbd->connection;
	if (!connection->has_failed) {
		/* A server that doesn't take it now learns it by the end of the connection. */
		connection->wire.deadline_ns = now_ns() + 1000000000ll;
		put_be16(put_be32(goodbye, NBD_REQUEST_MAGIC) + 2, NBD_CMD_DISC);
		wire_send_bytes(&connection->wire, goodbye, sizeof(goodbye));
	}
	if (connection->wire.fd >= 0)
		close(connection->wire.fd);
	pthread_rwlock_destroy(&nbd->edges);
	pthread_cond_destroy(&connection->changed);
	pthread_mutex_destroy(&connection->lock);
	pthread_mutex_destroy(&connection->send_lock);
	free(connection->name);
	free(nbd);
}

uint64_t nbd_size(const struct nbd *nbd)
{
	return nbd->connection.terms.size;
}

bool nbd_is_readonly(const struct nbd *nbd)
{
	return nbd->connection.terms.flags & NBD_FLAG_READ_ONLY;
}

/* -- requests of any size -- */

static int perform(struct nbd *nbd, enum nbd_command command, uint16_t flags, uint64_t offset, uint64_t size,
		   const struct iovec *vector, unsigned count)
{
	/* The limit is of what goes with a request. */
	uint32_t most = vector ? nbd->connection.terms.request_bytes : BARE_REQUEST_MAX;
	struct iovec part[BLOCK_VECTORS_MAX];
	uint64_t done, length;
	int result = 0;

	for (done = 0; done < size && result == 0; done += length) {
		struct nbd_exchange exchange = {.command = command, .flags = flags, .offset = offset + done};

		length = size - done < most ? size - done : most;
		exchange.size = (uint32_t)length;
		if (vector) {
			exchange.vector = part;
			exchange.count = vector_part(vector, count, done, length, part);
		}
		result = nbd_connection_perform(&nbd->connection, &exchange);
	}
	return result;
}

/* Whole blocks around a range that isn't; the last may end with the export. */
static bool is_aligned(const struct nbd *nbd, uint64_t offset, uint64_t size)
{
	return ((offset | size) & (nbd->connection.terms.block_bytes - 1)) == 0;
}

/* A range's blocks in memory. NULL: none. The caller's to free. */
static uint8_t *whole_blocks(const struct nbd *nbd, uint64_t *offset, uint64_t *size)
{
	uint64_t block = nbd->connection.terms.block_bytes, end = (*offset + *size + block - 1) & ~(block - 1);

	if (end > nbd->connection.terms.size)
		end = nbd->connection.terms.size;
	*offset &= ~(block - 1);
	*size = end - *offset;
	return malloc(*size);
}

static int read_around(struct nbd *nbd, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	uint64_t start = offset, length = size;
	uint8_t *blocks = whole_blocks(nbd, &start, &length);
	int result;

	if (!blocks)
		return -ENOMEM;
	result = perform(nbd, NBD_CMD_READ, 0, start, length, &(struct iovec){blocks, length}, 1);
	if (result == 0)
		vector_put(vector, count, 0, blocks + (offset - start), size);
	free(blocks);
	return result;
}

int nbd_readv(struct nbd *nbd, uint64_t offset, const struct iovec *vector, unsigned count)
{
	uint64_t size = vector_size(vector, count);

	if (!is_aligned(nbd, offset, size))
		return read_around(nbd, offset, size, vector, count);
	return perform(nbd, NBD_CMD_READ, 0, offset, size, vector, count);
}

static int write_around(struct nbd *nbd, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	uint64_t start = offset, length = size;
	uint8_t *blocks = whole_blocks(nbd, &start, &length);
	struct iovec whole = {blocks, length};
	int result;

	if (!blocks)
		return -ENOMEM;
	result = perform(nbd, NBD_CMD_READ, 0, start, length, &whole, 1);
	if (result == 0) {
		vector_get(vector, count, 0, blocks + (offset - start), size);
		result = perform(nbd, NBD_CMD_WRITE, 0, start, length, &whole, 1);
	}
	free(blocks);
	return result;
}

int nbd_writev(struct nbd *nbd, uint64_t offset, const struct iovec *vector, unsigned count)
{
	uint64_t size = vector_size(vector, count);
	int result;

	if (is_aligned(nbd, offset, size)) {
		pthread_rwlock_rdlock(&nbd->edges);
		result = perform(nbd, NBD_CMD_WRITE, 0, offset, size, vector, count);
	} else {
		pthread_rwlock_wrlock(&nbd->edges);
		result = write_around(nbd, offset, size, vector, count);
	}
	pthread_rwlock_unlock(&nbd->edges);
	return result;
}

int nbd_flush(struct nbd *nbd)
{
	struct nbd_exchange exchange = {.command = NBD_CMD_FLUSH};

	/* Without it there is nothing that a flush could do. */
	return nbd->connection.terms.flags & NBD_FLAG_SEND_FLUSH ? nbd_connection_perform(&nbd->connection, &exchange) : 0;
}

int nbd_zero(struct nbd *nbd, uint64_t offset, uint64_t size, bool may_unmap)
{
	int result;

	if (!(nbd->connection.terms.flags & NBD_FLAG_SEND_WRITE_ZEROES) || !is_aligned(nbd, offset, size))
		return -EOPNOTSUPP;
	pthread_rwlock_rdlock(&nbd->edges);
	result = perform(nbd, NBD_CMD_WRITE_ZEROES, may_unmap ? 0 : NBD_CMD_FLAG_NO_HOLE, offset, size, NULL, 0);
	pthread_rwlock_unlock(&nbd->edges);
	return result;
}

int nbd_discard(struct nbd *nbd, uint64_t offset, uint64_t size)
{
	int result;

	if (!(nbd->connection.terms.flags & NBD_FLAG_SEND_TRIM) || !is_aligned(nbd, offset, size))
		return 0;
	result = perform(nbd, NBD_CMD_TRIM, 0, offset, size, NULL, 0);
	return result == -EOPNOTSUPP || result == -EINVAL ? 0 : result;
}

bool nbd_is_zero(struct nbd *nbd, uint64_t offset, uint64_t size, uint64_t *length)
{
	uint32_t block = nbd->connection.terms.block_bytes;
	uint64_t start = offset & ~((uint64_t)block - 1);
	struct nbd_exchange exchange = {
		.command = NBD_CMD_BLOCK_STATUS, .flags = NBD_CMD_FLAG_REQ_ONE, .offset = start};

	*length = size;
	if (!nbd->connection.terms.has_allocation)
		return false;
	/* The first run, of which only the start is asked for; it may be longer than that for the last. */
	size += offset - start;
	exchange.size = size < BARE_REQUEST_MAX ? (uint32_t)size : BARE_REQUEST_MAX;
	if (exchange.size % block && start + exchange.size != nbd->connection.terms.size)
		exchange.size += block - exchange.size % block;
	if (nbd_connection_perform(&nbd->connection, &exchange) < 0 || exchange.run_bytes <= offset - start)
		return false;
	if (exchange.run_bytes - (offset - start) < *length)
		*length = exchange.run_bytes - (offset - start);
	return exchange.run_state & NBD_STATE_ZERO;
}
