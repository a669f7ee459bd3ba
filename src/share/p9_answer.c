#include "share/p9.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "share/p9_call.h"

#define VERSION "9P2000.L"
#define QUICK_DATA 65536

/* --- the session --- */

static void end_session(struct p9 *p9)
{
	p9_fid_destroy_all(p9);
	opening_destroy_all(&p9->fuse.openings, &p9->fuse.folder);
	folder_clear(&p9->fuse.folder);
	p9->fuse.is_begun = false;
	p9->message_max = 0;
}

/* msize[4] version[s]: msize[4] version[s] -- all that the peer knew it knows no more (version(5)) */
static int version(struct p9_call *call)
{
	struct p9 *p9 = call->p9;
	uint32_t most = p9_u32(call);
	const char *wanted = p9_string(call);
	bool is_ours = strcmp(wanted, VERSION) == 0;

	if (call->is_malformed)
		return 0;
	end_session(p9);
	if (most < P9_MESSAGE_MIN)
		return -EMSGSIZE;
	if (most > FUSE_DATA_MAX)
		most = FUSE_DATA_MAX;
	if (is_ours) {
		p9->message_max = most;
		p9->fuse.is_begun = true;
		p9->fuse.folder.root->lookups = 1;
	}
	p9_put_u32(call, most);
	wanted = is_ours ? VERSION : "unknown";
	p9_put_string(call, wanted, strlen(wanted));
	return 0;
}

/* fid[4] afid[4] uname[s] aname[s] n_uname[4]: qid[13] -- what is made by fid is n_uname's; there is one tree */
static int attach(struct p9_call *call)
{
	struct p9 *p9 = call->p9;
	struct share_node *root = p9->fuse.folder.root;
	uint32_t number = p9_u32(call), authentication = p9_u32(call), user;
	struct fuse_attr attributes;
	int result;

	p9_string(call);
	p9_string(call);
	user = p9_u32(call);
	if (call->is_malformed)
		return 0;
	if (authentication != P9_NO_FID)
		return -EINVAL;
	if (p9_fid_find(p9, number))
		return -EBADF;
	result = p9_status(p9, root, &attributes);
	if (result < 0)
		return result;
	node_remember(root);
	/* A peer that gives no number is root's. */
	if (!p9_fid_create(p9, number, root, user == ~0u ? 0 : user))
		return -ENOMEM;
	p9_put_file(call, &attributes);
	return 0;
}

/* oldtag[2]: -- what came before has been answered */
static int flush(struct p9_call *call)
{
	p9_u16(call);
	return 0;
}

/* fid[4]: */
static int clunk(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	int result = 0;

	if (!fid)
		return -EBADF;
	if (fid->kind == P9_XATTR_WRITE)
		result = p9_end_xattr(call->p9, fid);
	p9_fid_destroy(call->p9, fid);
	return result;
}

/* --- which message is what --- */

static int (*const answers[P9_TYPES])(struct p9_call *call) = {
	[P9_STATFS] = p9_statfs,
	[P9_LOPEN] = p9_lopen,
	[P9_LCREATE] = p9_lcreate,
	[P9_SYMLINK] = p9_symlink,
	[P9_MKNOD] = p9_mknod,
	[P9_RENAME] = p9_rename,
	[P9_READLINK] = p9_readlink,
	[P9_GETATTR] = p9_getattr,
	[P9_SETATTR] = p9_setattr,
	[P9_XATTRWALK] = p9_xattrwalk,
	[P9_XATTRCREATE] = p9_xattrcreate,
	[P9_READDIR] = p9_readdir,
	[P9_FSYNC] = p9_fsync,
	[P9_LOCK] = p9_lock,
	[P9_GETLOCK] = p9_getlock,
	[P9_LINK] = p9_link,
	[P9_MKDIR] = p9_mkdir,
	[P9_RENAMEAT] = p9_renameat,
	[P9_UNLINKAT] = p9_unlinkat,
	[P9_VERSION] = version,
	[P9_ATTACH] = attach,
	[P9_FLUSH] = flush,
	[P9_WALK] = p9_walk,
	[P9_READ] = p9_read,
	[P9_WRITE] = p9_write,
	[P9_CLUNK] = clunk,
	[P9_REMOVE] = p9_remove,
};

static size_t finish(const uint8_t *header, uint8_t type, size_t body, uint8_t *reply)
{
	uint32_t size = P9_HEADER_BYTES + body;

	memcpy(reply, &size, sizeof(size));
	reply[4] = type + 1;
	memcpy(reply + 5, header + 5, 2);
	return size;
}

static size_t finish_error(const uint8_t *header, uint32_t error, uint8_t *reply)
{
	memcpy(reply + P9_HEADER_BYTES, &error, sizeof(error));
	return finish(header, P9_LERROR, sizeof(error), reply);
}

bool p9_is_quick(const uint8_t *message, size_t size)
{
	const size_t count_at = P9_HEADER_BYTES + 4 + 8; /* of a read: fid[4] offset[8] count[4] */
	uint32_t count;

	if (size < P9_HEADER_BYTES || message[4] == P9_FSYNC)
		return false;
	if (message[4] != P9_READ || size < count_at + sizeof(count))
		return true;
	memcpy(&count, message + count_at, sizeof(count));
	return count <= QUICK_DATA;
}

size_t p9_refuse(const uint8_t *message, size_t size, int error, uint8_t *reply, size_t room)
{
	if (size < P9_HEADER_BYTES || room < P9_REPLY_BYTES)
		return 0;
	return finish_error(message, error, reply);
}

/* Our copy of what is not a write's data. */
static bool take_body(struct p9_call *call, uint8_t type, const uint8_t *body, size_t size, uint8_t *copy)
{
	const size_t write_size = 4 + 8 + 4;

	call->in = copy;
	call->size = size;
	if (type == P9_WRITE && size >= write_size) {
		call->size = write_size;
		call->data = body + write_size;
		call->data_size = size - write_size;
	}
	if (call->size > FUSE_ARGUMENTS_MAX)
		return false;
	memcpy(copy, body, call->size);
	return true;
}

size_t p9_answer(struct p9 *p9, const uint8_t *message, size_t size, uint8_t *reply, size_t room)
{
	static _Thread_local uint8_t copy[FUSE_ARGUMENTS_MAX];
	struct p9_call call = {.p9 = p9};
	uint8_t header[P9_HEADER_BYTES], type;
	uint32_t said;
	int result;

	if (size < sizeof(header) || room < P9_REPLY_BYTES)
		return 0;
	memcpy(header, message, sizeof(header));
	memcpy(&said, header, sizeof(said));
	type = header[4];
	if (said < sizeof(header) || said > size ||
	    !take_body(&call, type, message + sizeof(header), said - sizeof(header), copy))
		return 0;
	if (p9->message_max && room > p9->message_max)
		room = p9->message_max;
	call.out = reply + sizeof(header);
	call.room = room - sizeof(header);
	if (type >= P9_TYPES || !answers[type])
		result = -EOPNOTSUPP;
	else if (!p9->message_max && type != P9_VERSION)
		result = -EPROTO;
	else
		result = answers[type](&call);
	if (call.is_malformed)
		return 0;
	return result < 0 ? finish_error(header, -result, reply) : finish(header, type, call.out_size, reply);
}

int p9_create(struct p9 *p9, int root, bool is_readonly, bool reports_owners, unsigned fd_limit)
{
	memset(p9, 0, sizeof(*p9));
	p9->reports_owners = reports_owners;
	return fuse_create(&p9->fuse, root, is_readonly, 0, fd_limit);
}

void p9_destroy(struct p9 *p9)
{
	p9_fid_destroy_all(p9);
	fuse_destroy(&p9->fuse);
}
