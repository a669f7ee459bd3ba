#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "share/fuse.h"
#include "share/p9.h"

#define PAIR_BYTES  (2 * (size_t)SHARE_SLOT_BYTES)
#define SLOTS_BYTES (SHARE_SLOTS * PAIR_BYTES)
#define DESCRIPTORS 65536 /* at most, of the process */
#define FEWEST_FDS  16

/* What goes by the socket, both ways. */
struct share_message {
	uint32_t slot, size, room;
};

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
};

static int prepare(void *context)
{
	struct share_server *server = context;
	struct rlimit limit;
	unsigned fds = FEWEST_FDS;
	int root;

	umask(0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (limit.rlim_max / 2 > fds)
			fds = limit.rlim_max / 2;
	}
	root = helper_take_root(server->folder, O_PATH);
	if (server->config->protocol == SHARE_9P)
		return p9_create(&server->p9, root, server->config->is_readonly,
				 server->config->reports_owners, fds);
	return fuse_create(&server->fuse, root, server->config->is_readonly, server->config->keep_s, fds);
}

/* What a monitor of ours says. */
static bool is_well_formed(const struct share_message *message)
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

static void serve(int socket, void *context)
{
	struct share_server *server = context;
	const struct share share = {.slots = server->slots};
	struct share_message message;
	unsigned none = 0;

	while (helper_receive(socket, &message, sizeof(message), NULL, &none) == 0 &&
	       is_well_formed(&message)) {
		message.size = answer(server, share_request(&share, message.slot), message.size,
				      share_reply(&share, message.slot), message.room);
		if (helper_send(socket, &message, sizeof(message), NULL, 0) < 0)
			return;
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
		share->slots = mmap(NULL, SLOTS_BYTES, PROT_READ | PROT_WRITE,
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
		munmap(share->slots, SLOTS_BYTES);
	*share = (struct share){.socket = -1};
}

int share_submit(const struct share *share, unsigned slot, size_t size, size_t room)
{
	const struct share_message message = {slot, size, room};

	/* There is room for a message of each slot. */
	return write(share->socket, &message, sizeof(message)) == sizeof(message) ? 0 : -EPIPE;
}

int share_take(const struct share *share, unsigned *slot, size_t *size)
{
	struct share_message message;
	ssize_t length = read(share->socket, &message, sizeof(message));

	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* What a process says that is not ours any more. */
	if (length != sizeof(message) || !is_well_formed(&message))
		return -EPIPE;
	*slot = message.slot;
	*size = message.size;
	return 1;
}

size_t share_refuse(const struct share *share, const uint8_t *request, size_t size, int error,
		    uint8_t *reply, size_t room)
{
	if (share->protocol == SHARE_9P)
		return p9_refuse(request, size, error, reply, room);
	return fuse_refuse(request, size, error, reply, room);
}
