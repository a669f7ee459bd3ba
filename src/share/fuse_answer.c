#include "share/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "share/fuse_call.h"
#include "util/page.h"

/* What is spoken: the reply to INIT is that version's. */
#define MINOR 31
#define INIT_FLAGS                                                                                 \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA |          \
	 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO |     \
	 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS)
#define BACKGROUND 64
#define QUICK_DATA 65536

/* --- the session --- */

static int init(struct fuse_call *call)
{
	const struct fuse_init_in *in = fuse_argument(call, 16);
	struct fuse_init_out *out;
	struct fuse *fuse = call->fuse;

	if (!in)
		return -EINVAL;
	/* A guest that starts again knows nothing any more. */
	opening_destroy_all(&fuse->openings, &fuse->folder);
	folder_clear(&fuse->folder);
	fuse->is_begun = false;
	out = fuse_room(call, sizeof(*out));
	if (!out)
		return -EINVAL;
	out->major = FUSE_KERNEL_VERSION;
	out->minor = MINOR;
	/* A newer one says so and asks again (fuse(4)). */
	if (in->major > FUSE_KERNEL_VERSION)
		return 0;
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR)
		return -EPROTO;
	out->max_readahead = in->max_readahead;
	out->flags = in->flags & INIT_FLAGS;
	out->max_background = BACKGROUND;
	out->congestion_threshold = BACKGROUND * 3 / 4;
	out->max_write = FUSE_DATA_MAX;
	out->time_gran = 1;
	out->max_pages = FUSE_DATA_MAX / PAGE_SIZE;
	fuse->folder.root->lookups = 1;
	fuse->is_begun = true;
	return 0;
}

static int destroy(struct fuse_call *call)
{
	opening_destroy_all(&call->fuse->openings, &call->fuse->folder);
	folder_clear(&call->fuse->folder);
	call->fuse->is_begun = false;
	return 0;
}

static void forget_one(struct fuse *fuse, uint64_t number, uint64_t lookups)
{
	struct share_node *node = node_find(&fuse->folder, number);

	if (node)
		node_forget(&fuse->folder, node, lookups);
}

static void forget(struct fuse_call *call)
{
	const struct fuse_forget_in *in = fuse_argument(call, sizeof(*in));

	if (in)
		forget_one(call->fuse, call->header.nodeid, in->nlookup);
}

static void forget_batch(struct fuse_call *call)
{
	const struct fuse_batch_forget_in *in = fuse_argument(call, sizeof(*in));
	const struct fuse_forget_one *ones;
	size_t i;

	if (!in)
		return;
	ones = (const struct fuse_forget_one *)(in + 1);
	for (i = 0; i < in->count && sizeof(*in) + (i + 1) * sizeof(*ones) <= call->size; i++)
		forget_one(call->fuse, ones[i].nodeid, ones[i].nlookup);
}

/* --- which request is what --- */

#define CHANGES 1 /* the folder: not where it is read-only */
#define NODELESS 2

static const struct {
	int (*answer)(struct fuse_call *call);
	unsigned flags;
} answers[] = {
	[FUSE_LOOKUP] = {fuse_lookup, 0},
	[FUSE_GETATTR] = {fuse_getattr, 0},
	[FUSE_SETATTR] = {fuse_setattr, CHANGES},
	[FUSE_READLINK] = {fuse_readlink, 0},
	[FUSE_SYMLINK] = {fuse_symlink, CHANGES},
	[FUSE_MKNOD] = {fuse_mknod, CHANGES},
	[FUSE_MKDIR] = {fuse_mkdir, CHANGES},
	[FUSE_UNLINK] = {fuse_unlink, CHANGES},
	[FUSE_RMDIR] = {fuse_rmdir, CHANGES},
	[FUSE_RENAME] = {fuse_rename, CHANGES},
	[FUSE_LINK] = {fuse_link, CHANGES},
	[FUSE_OPEN] = {fuse_open, 0},
	[FUSE_READ] = {fuse_read, 0},
	[FUSE_WRITE] = {fuse_write, CHANGES},
	[FUSE_STATFS] = {fuse_statfs, 0},
	[FUSE_RELEASE] = {fuse_release, 0},
	[FUSE_FSYNC] = {fuse_fsync, 0},
	[FUSE_SETXATTR] = {fuse_setxattr, CHANGES},
	[FUSE_GETXATTR] = {fuse_getxattr, 0},
	[FUSE_LISTXATTR] = {fuse_listxattr, 0},
	[FUSE_REMOVEXATTR] = {fuse_removexattr, CHANGES},
	[FUSE_FLUSH] = {fuse_flush, 0},
	[FUSE_INIT] = {init, NODELESS},
	[FUSE_OPENDIR] = {fuse_opendir, 0},
	[FUSE_READDIR] = {fuse_readdir, 0},
	[FUSE_RELEASEDIR] = {fuse_releasedir, 0},
	[FUSE_FSYNCDIR] = {fuse_fsyncdir, 0},
	[FUSE_CREATE] = {fuse_create_file, CHANGES},
	[FUSE_DESTROY] = {destroy, NODELESS},
	[FUSE_FALLOCATE] = {fuse_fallocate, CHANGES},
	[FUSE_READDIRPLUS] = {fuse_readdirplus, 0},
	[FUSE_RENAME2] = {fuse_rename2, CHANGES},
	[FUSE_LSEEK] = {fuse_lseek, 0},
	[FUSE_COPY_FILE_RANGE] = {fuse_copy_file_range, CHANGES},
};

int fuse_perform(struct fuse_call *call)
{
	uint32_t opcode = call->header.opcode;

	if (opcode >= sizeof(answers) / sizeof(answers[0]) || !answers[opcode].answer)
		return -ENOSYS;
	if (!call->fuse->is_begun && opcode != FUSE_INIT)
		return -EIO;
	if (!(answers[opcode].flags & NODELESS)) {
		call->node = node_find(&call->fuse->folder, call->header.nodeid);
		if (!call->node)
			return -ESTALE;
	}
	if ((answers[opcode].flags & CHANGES) && call->fuse->folder.is_readonly)
		return -EROFS;
	return answers[opcode].answer(call);
}

static size_t finish(const struct fuse_in_header *header, int error, size_t out_size,
		     uint8_t *reply)
{
	struct fuse_out_header out = {.len = sizeof(out) + (error ? 0 : out_size),
				      .error = error,
				      .unique = header->unique};

	memcpy(reply, &out, sizeof(out));
	return out.len;
}

bool fuse_is_quick(const uint8_t *request, size_t size)
{
	struct fuse_in_header header;
	struct fuse_read_in read;

	if (size < sizeof(header))
		return false;
	memcpy(&header, request, sizeof(header));
	switch (header.opcode) {
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_FALLOCATE:
	case FUSE_COPY_FILE_RANGE: return false;
	case FUSE_READ:
		if (size < sizeof(header) + sizeof(read))
			return true; /* it is refused */
		memcpy(&read, request + sizeof(header), sizeof(read));
		return read.size <= QUICK_DATA;
	default: return true;
	}
}

size_t fuse_refuse(const uint8_t *request, size_t size, int error, uint8_t *reply, size_t room)
{
	struct fuse_in_header header;

	if (size < sizeof(header) || room < sizeof(struct fuse_out_header))
		return 0;
	memcpy(&header, request, sizeof(header));
	return finish(&header, -error, 0, reply);
}

/* Our copy of what is not a write's data. */
static int take_arguments(struct fuse_call *call, const uint8_t *request, size_t size,
			  uint8_t *copy)
{
	const size_t write_size = sizeof(struct fuse_write_in);

	call->arguments = copy;
	call->size = size;
	if (call->header.opcode == FUSE_WRITE && size >= write_size) {
		call->size = write_size;
		call->data = request + write_size;
		call->data_size = size - write_size;
	}
	if (call->size > FUSE_ARGUMENTS_MAX)
		return -E2BIG;
	memcpy(copy, request, call->size);
	copy[call->size] = 0;
	return 0;
}

size_t fuse_answer(struct fuse *fuse, const uint8_t *request, size_t size, uint8_t *reply,
		   size_t room)
{
	static _Thread_local uint8_t copy[FUSE_ARGUMENTS_MAX + 1] __attribute__((aligned(8)));
	const size_t out_header = sizeof(struct fuse_out_header);
	struct fuse_call call = {.fuse = fuse};
	int result;

	if (size < sizeof(call.header))
		return 0;
	memcpy(&call.header, request, sizeof(call.header));
	result = take_arguments(&call, request + sizeof(call.header), size - sizeof(call.header),
				copy);
	if (call.header.opcode == FUSE_FORGET || call.header.opcode == FUSE_BATCH_FORGET ||
	    call.header.opcode == FUSE_INTERRUPT) {
		/* These get no reply. What is interrupted has been answered already, or will be. */
		if (result == 0 && call.header.opcode == FUSE_FORGET)
			forget(&call);
		else if (result == 0 && call.header.opcode == FUSE_BATCH_FORGET)
			forget_batch(&call);
		return 0;
	}
	if (room < out_header)
		return 0;
	call.out = reply + out_header;
	call.room = room - out_header;
	if (result == 0)
		result = fuse_perform(&call);
	return finish(&call.header, result, call.out_size, reply);
}

int fuse_create(struct fuse *fuse, int root, bool is_readonly, uint64_t keep_s, unsigned fd_limit)
{
	*fuse = (struct fuse){.owners = {geteuid(), getegid()}, .keep_s = keep_s};
	return folder_open(&fuse->folder, root, is_readonly, fd_limit);
}

void fuse_destroy(struct fuse *fuse)
{
	opening_destroy_all(&fuse->openings, &fuse->folder);
	folder_close(&fuse->folder);
}
