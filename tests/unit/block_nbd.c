/*
 * Promise: a disk that an NBD server has is what was written to it, by many threads at once, however the server
 * cuts and orders its replies; a server that breaks off or breaks the protocol makes requests fail, and nothing
 * else; names of exports are read as they are written.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"
#include "block/nbd/name.h"
#include "block/nbd/nbd.h"
#include "block/nbd/protocol.h"
#include "util/log.h"

#define SIZE	(4u << 20)
#define THREADS 6
#define ROUNDS	200
#define NAME	"nbd+unix:///disk?socket=/nowhere"

/* A server in this process, on one end of a pair of sockets. */
struct server {
	int fd;
	pthread_t thread;
	uint8_t *disk;
	unsigned end_after; /* requests; then it closes the connection */
	bool is_lying;	    /* ... or, instead, answers what nobody asked */
};

struct held {
	uint16_t type;
	uint64_t cookie, offset;
	uint32_t size;
};

static bool get(int fd, void *data, size_t size)
{
	uint8_t *to = data;
	ssize_t length;

	for (; size > 0; to += length, size -= length) {
		length = recv(fd, to, size, 0);
		if (length <= 0)
			return false;
	}
	return true;
}

static void put(int fd, const void *data, size_t size)
{
	const uint8_t *from = data;
	ssize_t length;

	for (; size > 0; from += length, size -= length) {
		length = send(fd, from, size, MSG_NOSIGNAL);
		if (length <= 0)
			return;
	}
}

static void reply(int fd, uint32_t option, uint32_t type, const void *data, uint32_t size)
{
	uint8_t head[20];

	put_be32(put_be32(put_be32(put_be64(head, NBD_REPLY_MAGIC), option), type), size);
	put(fd, head, sizeof(head));
	put(fd, data, size);
}

static bool shake_hands(int fd)
{
	uint8_t hello[18], option[16], data[512], info[14];
	uint32_t kind, size;

	put_be16(put_be64(put_be64(hello, NBD_MAGIC), NBD_OPTION_MAGIC), NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	put(fd, hello, sizeof(hello));
	if (!get(fd, data, 4))
		return false;
	for (;;) {
		if (!get(fd, option, sizeof(option)))
			return false;
		kind = get_be32(option + 8);
		size = get_be32(option + 12);
		if (size > sizeof(data) || !get(fd, data, size))
			return false;
		if (kind == NBD_OPT_SET_META_CONTEXT) {
			put_be32(info, 77);
			memcpy(data + 4, NBD_CONTEXT_ALLOCATION, sizeof(NBD_CONTEXT_ALLOCATION) - 1);
			memcpy(data, info, 4);
			reply(fd, kind, NBD_REP_META_CONTEXT, data, 4 + sizeof(NBD_CONTEXT_ALLOCATION) - 1);
		}
		if (kind == NBD_OPT_GO) {
			put_be16(put_be64(put_be16(info, NBD_INFO_EXPORT), SIZE),
				  1 | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES);
			reply(fd, kind, NBD_REP_INFO, info, 12);
		}
		reply(fd, kind, NBD_REP_ACK, NULL, 0);
		if (kind == NBD_OPT_GO)
			return true;
	}
}

static void chunk(int fd, uint64_t cookie, uint16_t type, bool is_last, const void *data, uint32_t size)
{
	uint8_t head[20];

	put_be32(put_be64(put_be16(put_be16(put_be32(head, NBD_STRUCTURED_MAGIC), is_last), type), cookie), size);
	put(fd, head, sizeof(head));
	put(fd, data, size);
}

/* In pieces from the end to the start, zeroes as a hole. */
static void answer_read(const struct server *server, const struct held *held)
{
	static uint8_t piece[8 + 65536];
	uint32_t left = held->size, length, i;

	while (left > 0) {
		length = left < 1536 ? left : left / 2;
		if (length > 65536)
			length = 65536;
		left -= length;
		put_be64(piece, held->offset + left);
		memcpy(piece + 8, server->disk + held->offset + left, length);
		for (i = 0; i < length && piece[8 + i] == 0; i++)
			;
		if (i == length)
			put_be32(piece + 8, length);
		chunk(server->fd, held->cookie, i == length ? NBD_CHUNK_HOLE : NBD_CHUNK_DATA, false, piece,
		      i == length ? 12 : 8 + length);
	}
	chunk(server->fd, held->cookie, NBD_CHUNK_NONE, true, NULL, 0);
}

static void answer(const struct server *server, const struct held *held)
{
	uint8_t status[20], simple[16];

	if (held->type == NBD_CMD_READ) {
		answer_read(server, held);
	} else if (held->type == NBD_CMD_BLOCK_STATUS) {
		put_be32(put_be32(put_be32(put_be32(put_be32(status, 77), 4096), NBD_STATE_ZERO), 512), 0);
		chunk(server->fd, held->cookie, NBD_CHUNK_BLOCK_STATUS, true, status, sizeof(status));
	} else {
		put_be64(put_be32(put_be32(simple, NBD_SIMPLE_MAGIC), 0), held->cookie);
		put(server->fd, simple, sizeof(simple));
	}
}

/* Answers in the opposite order of what has come in meanwhile. */
static void *serve(void *argument)
{
	struct server *server = argument;
	struct held held[THREADS * 2];
	unsigned count = 0, served = 0;
	uint8_t head[NBD_REQUEST_BYTES];

	if (!shake_hands(server->fd))
		return NULL;
	for (;;) {
		while (count > 0 && (count == THREADS * 2 || recv(server->fd, head, 1, MSG_PEEK | MSG_DONTWAIT) <= 0))
			answer(server, &held[--count]);
		if (!get(server->fd, head, sizeof(head)) || get_be16(head + 6) == NBD_CMD_DISC)
			break;
		held[count] = (struct held){get_be16(head + 6), get_be64(head + 8), get_be64(head + 16), get_be32(head + 24)};
		if (held[count].type == NBD_CMD_WRITE && !get(server->fd, server->disk + held[count].offset, held[count].size))
			break;
		if (held[count].type == NBD_CMD_WRITE_ZEROES)
			memset(server->disk + held[count].offset, 0, held[count].size);
		if (++served == server->end_after) {
			if (server->is_lying) {
				held[count].cookie += 1000;
				answer(server, &held[count]);
				continue;
			}
			break;
		}
		count++;
	}
	shutdown(server->fd, SHUT_RDWR);
	return NULL;
}

static int start(struct server *server)
{
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	server->fd = ends[0];
	server->disk = calloc(1, SIZE);
	assert_non_null(server->disk);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	return ends[1];
}

static void stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->fd);
	free(server->disk);
}

static struct nbd *open_server(struct server *server)
{
	struct error error = {""};
	struct nbd *nbd;
	int fd = start(server);

	if (nbd_open_fd(fd, NAME, &nbd, &error) < 0)
		fail_msg("%s", error.message);
	close(fd);
	return nbd;
}

/* -- many at once -- */

struct worker {
	struct nbd *nbd;
	pthread_t thread;
	unsigned number;
	bool is_wrong, has_failed;
};

/* In its own part of the disk. */
static void *work(void *argument)
{
	struct worker *worker = argument;
	const uint32_t part = SIZE / THREADS / 512 * 512, start = worker->number * part;
	uint8_t *model = calloc(1, part), *data = malloc(part);
	unsigned seed = worker->number, i;

	for (i = 0; i < ROUNDS && !worker->has_failed; i++) {
		uint32_t offset = rand_r(&seed) % part, size = 1 + rand_r(&seed) % (part - offset);
		struct iovec vector[3] = {{data, size / 3}, {data + size / 3, size / 3}, {data + size / 3 * 2, size - size / 3 * 2}};
		int result = 0;

		switch (rand_r(&seed) % 4) {
		case 0:
			memset(model + offset, i, size);
			memcpy(data, model + offset, size);
			result = nbd_writev(worker->nbd, start + offset, vector, 3);
			break;
		case 1:
			memset(model + offset, 0, size);
			result = nbd_zero(worker->nbd, start + offset, size, true);
			break;
		case 2: result = nbd_flush(worker->nbd); break;
		default:
			result = nbd_readv(worker->nbd, start + offset, vector, 3);
			worker->is_wrong |= result == 0 && memcmp(data, model + offset, size) != 0;
		}
		worker->has_failed |= result < 0;
	}
	free(model);
	free(data);
	return NULL;
}

static unsigned run_workers(struct nbd *nbd)
{
	struct worker workers[THREADS];
	unsigned i, failed = 0;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.nbd = nbd, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_false(workers[i].is_wrong);
		failed += workers[i].has_failed;
	}
	return failed;
}

static void test_at_once(void **state)
{
	struct server server = {.end_after = 0};
	struct nbd *nbd = open_server(&server);
	uint64_t length;

	(void)state;
	assert_int_equal(nbd_size(nbd), SIZE);
	assert_false(nbd_is_readonly(nbd));
	assert_int_equal(run_workers(nbd), 0);
	assert_true(nbd_is_zero(nbd, 8192, SIZE - 8192, &length));
	assert_int_equal(length, 4096);
	assert_true(nbd_is_zero(nbd, 0, 100, &length));
	assert_int_equal(length, 100);
	nbd_close(nbd);
	stop(&server);
}

/* What was given to a server that goes fails, for each thread, and so does what comes later. */
static void test_lost(void **state)
{
	uint8_t byte;
	unsigned lying;

	(void)state;
	log_set_level(LOG_ERROR);
	for (lying = 0; lying < 2; lying++) {
		struct server server = {.end_after = 100, .is_lying = lying};
		struct nbd *nbd = open_server(&server);

		assert_int_equal(run_workers(nbd), THREADS);
		assert_int_equal(nbd_readv(nbd, 0, &(struct iovec){&byte, 1}, 1), -EIO);
		assert_int_equal(nbd_flush(nbd), -EIO);
		nbd_close(nbd);
		stop(&server);
	}
}

/* -- names -- */

static void test_names(void **state)
{
	static const struct {
		const char *text, *socket, *host, *port, *export_name;
	} names[] = {
		{"nbd://host", NULL, "host", "10809", ""},
		{"nbd://host/", NULL, "host", "10809", ""},
		{"nbd://host:1/disk", NULL, "host", "1", "disk"},
		{"nbd://[::1]:22/a%20b", NULL, "::1", "22", "a b"},
		{"nbd+tcp://host/a/b", NULL, "host", "10809", "a/b"},
		{"nbd:///x", NULL, "localhost", "10809", "x"},
		{"nbd+unix:///?socket=/tmp/s", "/tmp/s", NULL, NULL, ""},
		{"nbd+unix:///disk?socket=/tmp/a%3fb", "/tmp/a?b", NULL, NULL, "disk"},
		{"nbd:unix:/tmp/s", "/tmp/s", NULL, NULL, ""},
		{"nbd:unix:/tmp/a:b:exportname=c:d", "/tmp/a:b", NULL, NULL, "c:d"},
		{"nbd:host:10:exportname=x", NULL, "host", "10", "x"},
		{"nbd:[::1]:10", NULL, "::1", "10", ""},
	};
	static const char *const wrong[] = {"nbd:", "nbd:host", "nbd:unix:", "nbd://h:", "nbd://[::1", "nbd://u@h/", "nbd+unix:///x",
					    "nbd+unix://h/x?socket=/s", "nbd+unix:///x?socket=", "nbd+unix:///x?socket=/s&tls=1",
					    "nbds://h", "nbd://h/%0", "nbd://h/%00", "nbd://h/x?y", "nbd://h/x#y", "nbd:[::1]"};
	struct nbd_name name;
	struct error error;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(nbd_name_is_one(names[i].text));
		if (nbd_name_parse(names[i].text, &name, &error) < 0)
			fail_msg("%s", error.message);
		assert_string_equal(name.export_name, names[i].export_name);
		assert_string_equal(name.socket ? name.socket : "", names[i].socket ? names[i].socket : "");
		assert_string_equal(name.host ? name.host : "", names[i].host ? names[i].host : "");
		assert_string_equal(name.port ? name.port : "", names[i].port ? names[i].port : "");
		nbd_name_free(&name);
	}
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (nbd_name_parse(wrong[i], &name, &error) == 0)
			fail_msg("%s was taken", wrong[i]);
	assert_false(nbd_name_is_one("nbd"));
	assert_false(nbd_name_is_one("./nbd:x"));
}

/* What is put together is read as it was. */
static void test_names_made(void **state)
{
	static const char hard[] = "/a b?c&d%e#f:g+h\xc3\xa4";
	struct nbd_name name;
	struct error error;
	char *text = block_export_name(hard, NULL, NULL, hard + 1);

	(void)state;
	assert_int_equal(nbd_name_parse(text, &name, &error), 0);
	assert_string_equal(name.socket, hard);
	assert_string_equal(name.export_name, hard + 1);
	nbd_name_free(&name);
	free(text);
	text = block_export_name(NULL, "::1", "10", "x");
	assert_string_equal(text, "nbd://[::1]:10/x");
	free(text);
	text = block_export_name(NULL, "host", "10", "");
	assert_string_equal(text, "nbd://host:10");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
