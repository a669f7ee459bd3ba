/* 9P's messages that are about names in directories. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "share/p9_call.h"

#define WALK_MAX 16 /* names in one message (walk(5)) */

/* One step. The node is told of. */
static int step(struct p9 *p9, struct share_node *from, const char *name, struct share_node **to,
		struct fuse_attr *attributes)
{
	if (strcmp(name, "..") != 0)
		return p9_look_up(p9, from, name, to, attributes);
	/* Upwards goes as far as the folder's top. */
	if (from->type != S_IFDIR)
		return -ENOTDIR;
	*to = from->parent ? from->parent : from;
	if (*to == from && from != p9->fuse.folder.root)
		return -ENOENT;
	node_remember(*to);
	return p9_status(p9, *to, attributes);
}

/* fid[4] newfid[4] nwname[2] nwname*(wname[s]): nwqid[2] nwqid*(qid[13]) */
int p9_walk(struct p9_call *call)
{
	struct p9 *p9 = call->p9;
	struct p9_fid *fid = p9_fid_of(call);
	uint32_t new_number = p9_u32(call);
	unsigned count = p9_u16(call), i;
	const char *names[WALK_MAX];
	struct fuse_attr attributes[WALK_MAX];
	struct share_node *node, *next;
	int result = 0;

	if (count > WALK_MAX)
		return -EINVAL;
	for (i = 0; i < count; i++)
		names[i] = p9_string(call);
	if (!fid)
		return -EBADF;
	if (fid->kind != P9_FILE || (new_number == fid->number && fid->is_open))
		return -EINVAL;
	node = fid->node;
	node_remember(node);
	for (i = 0; i < count && !call->is_malformed; i++) {
		result = step(p9, node, names[i], &next, &attributes[i]);
		if (result < 0)
			break;
		node_forget(&p9->fuse.folder, node, 1);
		node = next;
	}
	count = i;
	/* The first name must be there; of others the reply tells how many are, and then there is no fid. */
	if (call->is_malformed || result < 0) {
		node_forget(&p9->fuse.folder, node, 1);
		if (call->is_malformed || count == 0)
			return result;
	} else if (new_number == fid->number) {
		node_forget(&p9->fuse.folder, fid->node, 1);
		fid->node = node;
	} else if (!p9_fid_create(p9, new_number, node, fid->user)) {
		return p9_fid_find(p9, new_number) ? -EBADF : -ENOMEM;
	}
	p9_put_u16(call, count);
	for (i = 0; i < count; i++)
		p9_put_file(call, &attributes[i]);
	return 0;
}

/* Ask for what makes a name in fid's directory, and answer with the file's qid. */
static int make(struct p9_call *call, struct p9_fid *fid, struct p9_ask ask)
{
	struct fuse_entry_out entry;
	ssize_t result;

	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	ask.node = fid->node;
	ask.user = fid->user;
	ask.out = &entry;
	ask.room = sizeof(entry);
	result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	p9_put_file(call, &entry.attr);
	p9_forget(call->p9, entry.nodeid);
	return 0;
}

/* fid[4] name[s] symtgt[s] gid[4]: qid[13] */
int p9_symlink(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call), *target = p9_string(call);

	return make(call, fid, (struct p9_ask){.opcode = FUSE_SYMLINK, .in = "", .names = {name, target},
					       .group = p9_u32(call)});
}

/* dfid[4] name[s] mode[4] major[4] minor[4] gid[4]: qid[13] */
int p9_mknod(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	struct fuse_mknod_in in = {.mode = p9_u32(call)};
	uint32_t major = p9_u32(call), minor = p9_u32(call);

	/* Linux's own form of 32 bits (new_encode_dev). */
	in.rdev = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
	return make(call, fid, (struct p9_ask){.opcode = FUSE_MKNOD, .in = &in, .in_size = sizeof(in),
					       .names = {name}, .group = p9_u32(call)});
}

/* dfid[4] name[s] mode[4] gid[4]: qid[13] */
int p9_mkdir(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	const struct fuse_mkdir_in in = {.mode = p9_u32(call)};

	return make(call, fid, (struct p9_ask){.opcode = FUSE_MKDIR, .in = &in, .in_size = sizeof(in),
					       .names = {name}, .group = p9_u32(call)});
}

/* dfid[4] fid[4] name[s]: */
int p9_link(struct p9_call *call)
{
	struct p9_fid *directory = p9_fid_of(call), *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	struct fuse_link_in in;
	struct fuse_entry_out entry;
	struct p9_ask ask = {.opcode = FUSE_LINK, .in = &in, .in_size = sizeof(in),
			     .names = {name}, .out = &entry, .room = sizeof(entry)};
	ssize_t result;

	if (call->is_malformed)
		return 0;
	if (!directory || !fid)
		return -EBADF;
	in = (struct fuse_link_in){.oldnodeid = fid->node->number};
	ask.node = directory->node;
	result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	p9_forget(call->p9, entry.nodeid);
	return 0;
}

static int move(struct p9_call *call, struct share_node *from, const char *name, struct share_node *to,
		const char *new_name)
{
	const struct fuse_rename_in in = {.newdir = to->number};
	const struct p9_ask ask = {.opcode = FUSE_RENAME, .node = from, .in = &in,
				   .in_size = sizeof(in), .names = {name, new_name}};

	return p9_ask(call->p9, &ask);
}

/* fid[4] dfid[4] name[s]: */
int p9_rename(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call), *to = p9_fid_of(call);
	const char *new_name = p9_string(call);
	char name[NODE_NAME_MAX + 1];

	if (call->is_malformed)
		return 0;
	if (!fid || !to)
		return -EBADF;
	if (fid->node == call->p9->fuse.folder.root)
		return -EBUSY;
	if (!fid->node->parent)
		return -ENOENT;
	strcpy(name, fid->node->name);
	return move(call, fid->node->parent, name, to->node, new_name);
}

/* olddirfid[4] oldname[s] newdirfid[4] newname[s]: */
int p9_renameat(struct p9_call *call)
{
	struct p9_fid *from = p9_fid_of(call);
	const char *name = p9_string(call);
	struct p9_fid *to = p9_fid_of(call);
	const char *new_name = p9_string(call);

	if (call->is_malformed)
		return 0;
	return from && to ? move(call, from->node, name, to->node, new_name) : -EBADF;
}

static int take_name(struct p9 *p9, struct share_node *directory, const char *name, bool is_directory)
{
	const struct p9_ask ask = {.opcode = is_directory ? FUSE_RMDIR : FUSE_UNLINK,
				   .node = directory, .in = "", .names = {name}};

	return p9_ask(p9, &ask);
}

/* dirfd[4] name[s] flags[4]: */
int p9_unlinkat(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	uint32_t flags = p9_u32(call);

	if (call->is_malformed)
		return 0;
	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return fid ? take_name(call->p9, fid->node, name, flags & AT_REMOVEDIR) : -EBADF;
}

/* fid[4]: -- and the fid is gone in any case (remove(5)) */
int p9_remove(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	char name[NODE_NAME_MAX + 1];
	struct share_node *node;
	int result;

	if (!fid)
		return -EBADF;
	node = fid->node;
	if (node == call->p9->fuse.folder.root || fid->kind != P9_FILE) {
		result = -EBUSY;
	} else if (!node->parent) {
		result = -ENOENT;
	} else {
		strcpy(name, node->name);
		result = take_name(call->p9, node->parent, name, node->type == S_IFDIR);
	}
	p9_fid_destroy(call->p9, fid);
	return result;
}

/* fid[4]: target[s] */
int p9_readlink(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	char target[PATH_MAX];
	struct p9_ask ask = {.opcode = FUSE_READLINK, .in = "", .out = target, .room = sizeof(target)};
	ssize_t length;

	if (!fid)
		return -EBADF;
	ask.node = fid->node;
	length = p9_ask(call->p9, &ask);
	if (length < 0)
		return length;
	p9_put_string(call, target, length);
	return 0;
}
