/* 9P's messages that are about what a file is: its status, and extended attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "share/p9_call.h"

#define V9FS_MAGIC	0x01021997
#define GETATTR_BASIC	0x7ff /* of valid[8]: all but birth, generation and data's version */
#define XATTR_VALUE_MAX 65536

/* Bits of a Tsetattr's valid[4]. */
#define SET_MODE	 0x1
#define SET_UID		 0x2
#define SET_GID		 0x4
#define SET_SIZE	 0x8
#define SET_ATIME	 0x10
#define SET_MTIME	 0x20
#define SET_ATIME_GIVEN 0x80 /* else: now */
#define SET_MTIME_GIVEN 0x100

/*
 * fid[4] request_mask[8]: valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8] blocks[8]
 * atime_sec[8] atime_nsec[8] mtime... ctime... btime... gen[8] data_version[8]
 */
int p9_getattr(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	struct fuse_attr attributes;
	unsigned i;
	int result;

	p9_u64(call);
	if (!fid)
		return -EBADF;
	result = p9_status(call->p9, fid->node, &attributes);
	if (result < 0)
		return result;
	p9_put_u64(call, GETATTR_BASIC);
	p9_put_file(call, &attributes);
	p9_put_u32(call, attributes.mode);
	p9_put_u32(call, attributes.uid);
	p9_put_u32(call, attributes.gid);
	p9_put_u64(call, attributes.nlink);
	p9_put_u64(call, attributes.rdev);
	p9_put_u64(call, attributes.size);
	p9_put_u64(call, attributes.blksize);
	p9_put_u64(call, attributes.blocks);
	p9_put_u64(call, attributes.atime);
	p9_put_u64(call, attributes.atimensec);
	p9_put_u64(call, attributes.mtime);
	p9_put_u64(call, attributes.mtimensec);
	p9_put_u64(call, attributes.ctime);
	p9_put_u64(call, attributes.ctimensec);
	for (i = 0; i < 4; i++)
		p9_put_u64(call, 0);
	return 0;
}

static int set(struct p9 *p9, struct share_node *node, const struct fuse_setattr_in *in)
{
	struct fuse_attr_out out;
	const struct p9_ask ask = {.opcode = FUSE_SETATTR, .node = node, .in = in,
				   .in_size = sizeof(*in), .out = &out, .room = sizeof(out)};
	ssize_t result = p9_ask(p9, &ask);

	return result < 0 ? result : 0;
}

static uint32_t time_bits(uint32_t valid)
{
	uint32_t bits = 0;

	if (valid & SET_ATIME)
		bits |= FATTR_ATIME | (valid & SET_ATIME_GIVEN ? 0 : FATTR_ATIME_NOW);
	if (valid & SET_MTIME)
		bits |= FATTR_MTIME | (valid & SET_MTIME_GIVEN ? 0 : FATTR_MTIME_NOW);
	return bits;
}

/* fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8]: */
int p9_setattr(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	uint32_t valid = p9_u32(call), owner_bits;
	struct fuse_setattr_in in = {0};
	uint64_t atimensec, mtimensec;
	int result = 0;

	in.mode = p9_u32(call);
	in.uid = p9_u32(call);
	in.gid = p9_u32(call);
	in.size = p9_u64(call);
	in.atime = p9_u64(call);
	atimensec = p9_u64(call);
	in.mtime = p9_u64(call);
	mtimensec = p9_u64(call);
	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (((valid & SET_ATIME_GIVEN) && atimensec > 999999999) ||
	    ((valid & SET_MTIME_GIVEN) && mtimensec > 999999999))
		return -EINVAL;
	in.atimensec = atimensec;
	in.mtimensec = mtimensec;
	owner_bits = (valid & SET_UID ? FATTR_UID : 0) | (valid & SET_GID ? FATTR_GID : 0);
	in.valid = owner_bits;
	if (owner_bits)
		result = set(call->p9, fid->node, &in);
	if (result == -EPERM && !call->p9->reports_owners)
		result = 0;
	in.valid = (valid & SET_MODE ? FATTR_MODE : 0) | (valid & SET_SIZE ? FATTR_SIZE : 0) |
		   time_bits(valid);
	/* The time of change follows what is changed; alone it cannot be set. */
	if (result == 0 && in.valid)
		result = set(call->p9, fid->node, &in);
	return result;
}

/* fid[4]: type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4] */
int p9_statfs(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	struct fuse_statfs_out out;
	struct p9_ask ask = {.opcode = FUSE_STATFS, .in = "", .out = &out, .room = sizeof(out)};
	ssize_t result;

	if (!fid)
		return -EBADF;
	ask.node = fid->node;
	result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	p9_put_u32(call, V9FS_MAGIC);
	p9_put_u32(call, out.st.bsize);
	p9_put_u64(call, out.st.blocks);
	p9_put_u64(call, out.st.bfree);
	p9_put_u64(call, out.st.bavail);
	p9_put_u64(call, out.st.files);
	p9_put_u64(call, out.st.ffree);
	p9_put_u64(call, 0);
	p9_put_u32(call, out.st.namelen);
	return 0;
}

/* fid[4] newfid[4] name[s]: size[8] -- the value is what newfid is then read for; without a name: all names */
int p9_xattrwalk(struct p9_call *call)
{
	struct p9 *p9 = call->p9;
	struct p9_fid *fid = p9_fid_of(call), *value;
	uint32_t number = p9_u32(call);
	const char *name = p9_string(call);
	const struct fuse_getxattr_in in = {.size = XATTR_VALUE_MAX};
	struct p9_ask ask = {.opcode = *name ? FUSE_GETXATTR : FUSE_LISTXATTR, .in = &in,
			     .in_size = sizeof(in), .names = {*name ? name : NULL},
			     .room = XATTR_VALUE_MAX};
	ssize_t length;

	if (call->is_malformed)
		return 0;
	if (!fid || p9_fid_find(p9, number))
		return -EBADF;
	if (fid->kind != P9_FILE)
		return -EINVAL;
	ask.node = fid->node;
	ask.out = malloc(XATTR_VALUE_MAX);
	if (!ask.out)
		return -ENOMEM;
	length = p9_ask(p9, &ask);
	if (length < 0) {
		free(ask.out);
		return length;
	}
	node_remember(fid->node);
	value = p9_fid_create(p9, number, fid->node, fid->user);
	if (!value) {
		free(ask.out);
		return -ENOMEM;
	}
	value->kind = P9_XATTR_READ;
	value->value = length ? realloc(ask.out, length) : NULL;
	if (!value->value && length)
		value->value = ask.out;
	if (!length)
		free(ask.out);
	value->value_size = length;
	p9_put_u64(call, length);
	return 0;
}

/* fid[4] name[s] attr_size[8] flags[4]: -- fid is from then on what the value is written to */
int p9_xattrcreate(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	uint64_t size = p9_u64(call);
	uint32_t flags = p9_u32(call);

	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (fid->kind != P9_FILE || fid->is_open || !*name)
		return -EINVAL;
	if (size > XATTR_VALUE_MAX)
		return -E2BIG;
	fid->name = strdup(name);
	fid->value = calloc(1, size ? size : 1);
	if (!fid->name || !fid->value) {
		free(fid->name);
		free(fid->value);
		fid->name = NULL;
		fid->value = NULL;
		return -ENOMEM;
	}
	fid->kind = P9_XATTR_WRITE;
	fid->value_size = size;
	fid->flags = flags;
	return 0;
}

int p9_end_xattr(struct p9 *p9, struct p9_fid *fid)
{
	const struct fuse_setxattr_in in = {.size = fid->value_size, .flags = fid->flags};
	struct p9_ask ask = {.opcode = FUSE_SETXATTR, .node = fid->node, .in = &in,
			     .in_size = FUSE_COMPAT_SETXATTR_IN_SIZE, .names = {fid->name},
			     .data = fid->value, .data_size = fid->value_size};

	if (fid->filled != fid->value_size)
		return -EINVAL;
	/* Linux asks so for removal: no value in the place of one that must be there. */
	if (!fid->value_size && fid->flags == XATTR_REPLACE) {
		ask.opcode = FUSE_REMOVEXATTR;
		ask.in_size = 0;
	}
	return p9_ask(p9, &ask);
}
