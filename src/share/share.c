#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "share/fuse.h"
#include "share/p9.h"
#include "util/clock.h"

#define PAIR_BYTES  (2 * (size_t)SHARE_SLOT_BYTES)
#define DESCRIPTORS 65536 /* at most, of the process */
#define FEWEST_FDS  16
#define QUICK_BYTES 65536
#define LOOK_NS	    100000

/* The process's side. */
struct share_server {
	const struct share_config *config;
	int folder; /* as the monitor opened it */
	uint8_t *slots;
	union {
		struct fuse fuse;
		struct p9 p9;
	};
};

uint8_t *share_request(const struct share *share, unsigned slot)
{
	return share->slots + slot * PAIR_BYTES;
}

uint8_t *share_reply(const struct share *share, unsigned slot)
{
	return share_request(share, slot) + SHARE_SLOT_BYTES;
}

/* --- in the process --- */

/* What a server of files does with descriptors that it has, and with names below them. */
static const struct allowed_call calls[] = {
	CALL(statx),
	CALL(openat),
	CALL(pread64),
	CALL(pwrite64),
	CALL(getdents64),
	CALL(lseek),
	CALL(fstat),
	CALL_IF(newfstatat, "of a descriptor (AT_EMPTY_PATH)", IS(3, AT_EMPTY_PATH)),
	CALL(fstatfs),
	CALL(readlinkat),
	CALL(mkdirat),
	CALL_IF(mknodat, "of a FIFO", {.argument = 2, .mask = S_IFMT, .value = S_IFIFO}),
	CALL_IF(mknodat, "of a socket", {.argument = 2, .mask = S_IFMT, .value = S_IFSOCK}),
	CALL(symlinkat),
	CALL(linkat),
	CALL(unlinkat),
	CALL(renameat2),
	CALL(ftruncate),
	CALL(fallocate),
	CALL(fsync),
	CALL(fdatasync),
	CALL(fchmod),
	CALL(fchmodat),
	{.number = 452, .name = "fchmodat2", .when = ""},
	CALL(fchown),
	CALL(fchownat),
	CALL(utimensat),
	CALL(copy_file_range),
	CALL(fchdir),
	CALL(fgetxattr),
	CALL(fsetxattr),
	CALL(flistxattr),
	CALL(fremovexattr),
	CALL(lgetxattr),
	CALL(lsetxattr),
	CALL(llistxattr),
	CALL(lremovexattr),
	CALL_IF(fcntl, "F_GETFL", IS(1, F_GETFL)),
	CALL_IF(fcntl, "F_DUPFD_CLOEXEC", IS(1, F_DUPFD_CLOEXEC)),
	CALL(brk),
	CALL_IF(mmap, "without PROT_EXEC", LACKS(2, PROT_EXEC)),
	CALL(munmap),
	CALL(mremap),
	CALL(madvise),
	CALL(poll),
	CALL(sched_yield),
	CALL(clock_gettime), /* where it is no function of the kernel's in every process */
};

static int prepare(void *context)
{
	struct share_server *server = context;
	struct rlimit limit;
	unsigned fds = FEWEST_FDS;
	int root, result;

	umask(0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (limit.rlim_max / 2 > fds)
			fds = limit.rlim_max / 2;
	}
	root = helper_take_root(server->folder, O_PATH);
	if (server->config->protocol == SHARE_9P) {
		result = p9_create(&server->p9, root, server->config->is_readonly,
				   server->config->reports_owners, fds);
		server->p9.fuse.folder.keeping = server->config->keeping;
		return result;
	}
	result = fuse_create(&server->fuse, root, server->config->is_readonly, server->config->keep_s, fds);
	server->fuse.folder.keeping = server->config->keeping;
	return result;
}

/* What a monitor of ours says. */
static bool is_well_formed(const struct exchange_message *message)
{
	return message->slot < SHARE_SLOTS && message->size <= SHARE_SLOT_BYTES &&
	       message->room <= SHARE_SLOT_BYTES;
}

static size_t answer(struct share_server *server, const uint8_t *request, size_t size, uint8_t *reply, size_t room)
{
	return server->config->protocol == SHARE_9P
		       ? p9_answer(&server->p9, request, size, reply, room)
		       : fuse_answer(&server->fuse, request, size, reply, room);
}

/* When it was that a request was answered last, and whether the one before that came soon after its predecessor. */
struct answered {
	uint64_t at_ns;
	bool is_busy;
};

/*
 * Wait for a request. While they come one soon after the other, look for the next one for a moment before falling asleep: to be
 * woken takes longer than to answer most of them. 0 or -EPIPE.
 */
static int await(struct exchange_end *exchange, struct answered *answered)
{
	struct pollfd next = {exchange->socket, POLLIN, 0};
	uint64_t end = answered->at_ns + LOOK_NS;
	bool has_come = exchange_has_message(exchange);
	int result = 0;

	while (!has_come && answered->is_busy && monotonic_ns() < end)
		has_come = exchange_look(exchange);
	while (!has_come && result == 0 && exchange_sleep(exchange)) {
		poll(&next, 1, -1);
		result = exchange_hear(exchange);
		exchange_wake(exchange);
		has_come = exchange_has_message(exchange);
	}
	answered->is_busy = monotonic_ns() < end;
	return result;
}

static void serve(int socket, void *context)
{
	struct share_server *server = context;
	const struct share share = {.slots = server->slots};
	struct exchange_message message;
	struct exchange_end exchange;
	struct answered answered = {0};

	exchange_open(&exchange, server->slots + SHARE_SLOTS_BYTES, true, socket);
	while (await(&exchange, &answered) == 0) {
		if (exchange_take(&exchange, &message) <= 0 || !is_well_formed(&message))
			return;
		message.size = answer(server, share_request(&share, message.slot), message.size,
				      share_reply(&share, message.slot), message.room);
		if (exchange_put(&exchange, &message) < 0)
			return;
		answered.at_ns = monotonic_ns();
	}
}

/* --- in the monitor --- */

static int start(struct share_server *server, struct share *share, const char *path,
		 struct error *error)
{
	const struct helper_config helper = {
		.name = "kvik share",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = &server->folder,
		.kept_count = 1,
		.root = path,
		.root_is_readonly = server->config->is_readonly,
		.descriptors = DESCRIPTORS,
		.prepare = prepare,
		.serve = serve,
		.context = server,
	};
	int flags;

	share->socket = helper_start(&helper, error);
	if (share->socket < 0) {
		error_prefix(error, "cannot share '%s'", server->config->path);
		return share->socket;
	}
	flags = fcntl(share->socket, F_GETFL);
	if (flags < 0 || fcntl(share->socket, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set_errno(error, errno, "cannot share '%s'", server->config->path);
	exchange_open(&share->exchange, share->slots + SHARE_SLOTS_BYTES, false, share->socket);
	return 0;
}

int share_start(struct share *share, const struct share_config *config, struct error *error)
{
	static struct share_server server;
	char *path = realpath(config->path, NULL);
	int result = 0;

	server = (struct share_server){.config = config, .folder = -1};
	*share = (struct share){.socket = -1, .protocol = config->protocol};
	if (path)
		server.folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (server.folder < 0)
		result = error_set_errno(error, errno, "cannot share '%s'", config->path);
	else if (!folder_can_be_shared(server.folder))
		result = error_set(error, EOPNOTSUPP,
				   "cannot share '%s': its file system is none for files, or not "
				   "known as one",
				   config->path);
	if (result == 0) {
		share->slots = mmap(NULL, SHARE_MEMORY, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (share->slots == MAP_FAILED) {
			share->slots = NULL;
			result = error_set_errno(error, errno, "cannot share '%s'", config->path);
		}
	}
	server.slots = share->slots;
	if (result == 0)
		result = start(&server, share, path, error);
	if (server.folder >= 0)
		close(server.folder);
	free(path);
	if (result < 0)
		share_close(share);
	return result;
}

void share_close(struct share *share)
{
	if (share->socket >= 0)
		close(share->socket);
	if (share->slots)
		munmap(share->slots, SHARE_MEMORY);
	*share = (struct share){.socket = -1};
}

int share_submit(struct share *share, unsigned slot, size_t size, size_t room)
{
	return exchange_put(&share->exchange, &(struct exchange_message){slot, size, room});
}

int share_take(struct share *share, unsigned *slot, size_t *size)
{
	struct exchange_message message;
	int result = exchange_take(&share->exchange, &message);

	if (result <= 0)
		return result;
	/* What a process says that is not ours any more. */
	if (!is_well_formed(&message))
		return -EPROTO;
	*slot = message.slot;
	*size = message.size;
	return 1;
}

bool share_is_quick(const struct share *share, const uint8_t *request, size_t size)
{
	if (size > QUICK_BYTES)
		return false;
	return share->protocol == SHARE_9P ? p9_is_quick(request, size) : fuse_is_quick(request, size);
}

size_t share_refuse(const struct share *share, const uint8_t *request, size_t size, int error,
		    uint8_t *reply, size_t room)
{
	if (share->protocol == SHARE_9P)
		return p9_refuse(request, size, error, reply, room);
	return fuse_refuse(request, size, error, reply, room);
}
