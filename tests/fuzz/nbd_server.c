/*
 * Fuzz target: clients of the NBD server from a hostile hand.
 *
 * Input: a byte, and what a client says. The byte's lowest bit: greetings that lead to requests are said before it; the
 * next: with structured replies and a context; the next: the client goes without listening. The server has a small disk, and
 * must answer or cut off whatever comes, forget it when the client has gone, and go on; the disk keeps its size.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "block/block.h"
#include "block/nbd/protocol.h"
#include "block/nbd_server.h"
#include "fuzz.h"
#include "util/log.h"

#define DISK (1u << 20)

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size;
static struct block *disk;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned gone; /* clients that the server has forgotten */

static void left(void *context, unsigned clients)
{
	(void)context;
	(void)clients;
	pthread_mutex_lock(&lock);
	gone++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void set_up(void)
{
	const struct block_options options = {.format = "raw", .discard = true, .unlocked = true, .aio = BLOCK_AIO_THREADS};
	const struct nbd_export_options export_options = {.name = "", .is_writable = true, .shows_depth = true};
	struct nbd_server_options server_options = {.clients_max = 4, .left = left};
	struct nbd_server *server;
	struct nbd_export *export;
	struct error error;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	log_set_level(LOG_ERROR);
	/* A name of the abstract kind that nobody else has: the host chooses it. */
	address_size = sizeof(sa_family_t);
	server_options.listening_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fuzz_check(fd >= 0 && ftruncate(fd, DISK) == 0);
	fuzz_check(bind(server_options.listening_fd, (struct sockaddr *)&address, address_size) == 0);
	address_size = sizeof(address);
	fuzz_check(getsockname(server_options.listening_fd, (struct sockaddr *)&address, &address_size) == 0);
	fuzz_check(listen(server_options.listening_fd, 16) == 0);
	fuzz_check(block_open_fd(fd, "disk", &options, &disk, &error) == 0 && block_start(disk, &error) == 0);
	fuzz_check(nbd_server_start(&server_options, &server, &error) == 0);
	fuzz_check(nbd_export_add(server, disk, &export_options, NULL, NULL, &export, &error) == 0);
	close(fd);
}

static size_t put_option(uint8_t *at, unsigned option, const void *data, size_t size)
{
	uint8_t *end = put_be32(put_be32(put_be64(at, NBD_OPTION_MAGIC), option), size);

	memcpy(end, data, size);
	return end + size - at;
}

/* What comes before requests. */
static size_t greet(uint8_t *at, bool is_structured)
{
	static const uint8_t query[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15, 'b', 'a', 's', 'e', ':', 'a', 'l', 'l', 'o', 'c',
					'a', 't', 'i', 'o', 'n'};
	size_t size = put_be32(at, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES) - at;

	if (is_structured) {
		size += put_option(at + size, NBD_OPT_STRUCTURED_REPLY, "", 0);
		size += put_option(at + size, NBD_OPT_SET_META_CONTEXT, query, sizeof(query));
	}
	return size + put_option(at + size, NBD_OPT_GO, "\0\0\0\0\0", 6);
}

struct saying {
	int fd;
	const uint8_t *data;
	size_t size;
};

static void *say(void *context)
{
	const struct saying *saying = context;
	size_t done;
	ssize_t put;

	for (done = 0; done < saying->size; done += put > 0 ? put : 0) {
		put = send(saying->fd, saying->data + done, saying->size - done, MSG_NOSIGNAL);
		/* libFuzzer's alarm interrupts calls. */
		if (put <= 0 && errno != EINTR)
			break;
	}
	shutdown(saying->fd, SHUT_WR);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t answer[65536], all[65536 + 256];
	static unsigned come;
	struct saying saying = {.data = all};
	pthread_t thread;
	ssize_t got = 1;

	if (size < 1 || size > 65536)
		return 0;
	if (!disk)
		set_up();
	if (data[0] & 1)
		saying.size = greet(all, data[0] & 2);
	memcpy(all + saying.size, data + 1, size - 1);
	saying.size += size - 1;
	saying.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fuzz_check(connect(saying.fd, (struct sockaddr *)&address, address_size) == 0);
	fuzz_check(pthread_create(&thread, NULL, say, &saying) == 0);
	while (!(data[0] & 4) && (got > 0 || (got < 0 && errno == EINTR)))
		got = recv(saying.fd, answer, sizeof(answer), 0);
	if (data[0] & 4)
		shutdown(saying.fd, SHUT_RD);
	pthread_join(thread, NULL);
	close(saying.fd);
	come++;
	pthread_mutex_lock(&lock);
	while (gone != come)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	fuzz_check(block_size(disk) == DISK);
	return 0;
}
