/* 9P's messages that are about what is in files and directories. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "share/p9_call.h"

#define LOCK_SUCCESS 0
#define LOCK_NONE    2 /* type[1] of an Rgetlock: nobody has one */
#define ENTRY_BYTES  (13 + 8 + 1 + 2) /* of a directory, without the name */

static struct opening *opening_of(struct p9 *p9, const struct p9_fid *fid)
{
	return fid->is_open ? opening_find(&p9->fuse.openings, fid->opening, fid->node->type == S_IFDIR)
			    : NULL;
}

/* Answer with an open file: qid[13] iounit[4], where 0 leaves the size of requests to the peer. */
static void tell_open(struct p9_call *call, struct p9_fid *fid, const struct fuse_attr *attributes,
		      uint64_t opening)
{
	fid->is_open = true;
	fid->opening = opening;
	p9_put_file(call, attributes);
	p9_put_u32(call, 0);
}

/* fid[4] flags[4]: qid[13] iounit[4] -- the flags are those of Linux on x86 */
int p9_lopen(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const struct fuse_open_in in = {.flags = p9_u32(call)};
	struct fuse_open_out out;
	struct fuse_attr attributes;
	struct p9_ask ask = {.in = &in, .in_size = sizeof(in), .out = &out, .room = sizeof(out)};
	ssize_t result;

	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (fid->is_open || fid->kind != P9_FILE)
		return -EINVAL;
	ask.opcode = fid->node->type == S_IFDIR ? FUSE_OPENDIR : FUSE_OPEN;
	if (ask.opcode == FUSE_OPENDIR && (in.flags & O_ACCMODE) != O_RDONLY)
		return -EISDIR;
	ask.node = fid->node;
	result = p9_status(call->p9, fid->node, &attributes);
	if (result == 0)
		result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	tell_open(call, fid, &attributes, out.fh);
	return 0;
}

/* fid[4] name[s] flags[4] mode[4] gid[4]: qid[13] iounit[4] -- and fid is the file from then on */
int p9_lcreate(struct p9_call *call)
{
	struct p9 *p9 = call->p9;
	struct p9_fid *fid = p9_fid_of(call);
	const char *name = p9_string(call);
	const uint32_t flags = p9_u32(call), mode = p9_u32(call);
	const struct fuse_create_in in = {.flags = flags, .mode = mode};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	struct p9_ask ask = {.opcode = FUSE_CREATE, .in = &in, .in_size = sizeof(in), .names = {name},
			     .out = &out, .room = sizeof(out)};
	ssize_t result;

	ask.group = p9_u32(call);
	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (fid->is_open || fid->kind != P9_FILE)
		return -EINVAL;
	ask.node = fid->node;
	ask.user = fid->user;
	result = p9_ask(p9, &ask);
	if (result < 0)
		return result;
	node_forget(&p9->fuse.folder, fid->node, 1);
	fid->node = node_find(&p9->fuse.folder, out.entry.nodeid);
	tell_open(call, fid, &out.entry.attr, out.open.fh);
	return 0;
}

/* The reply's data, behind its count. */
static uint8_t *data_room(struct p9_call *call, uint32_t *count)
{
	size_t room = call->room > sizeof(*count) ? call->room - sizeof(*count) : 0;

	if (*count > room)
		*count = room;
	return call->out + sizeof(*count);
}

static void tell_count(struct p9_call *call, uint32_t count)
{
	p9_put_u32(call, count);
	if (!call->is_malformed)
		call->out_size += count;
}

static void read_value(struct p9_call *call, const struct p9_fid *fid, uint64_t offset, uint32_t count)
{
	uint8_t *to = data_room(call, &count);

	if (offset >= fid->value_size)
		count = 0;
	else if (count > fid->value_size - offset)
		count = fid->value_size - offset;
	if (count)
		memcpy(to, fid->value + offset, count);
	tell_count(call, count);
}

/* fid[4] offset[8] count[4]: count[4] data[count] */
int p9_read(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	uint64_t offset = p9_u64(call);
	uint32_t count = p9_u32(call);
	struct fuse_read_in in = {.offset = offset};
	struct p9_ask ask = {.opcode = FUSE_READ, .in = &in, .in_size = sizeof(in)};
	ssize_t result;

	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (fid->kind == P9_XATTR_READ) {
		read_value(call, fid, offset, count);
		return 0;
	}
	if (!fid->is_open || fid->node->type == S_IFDIR)
		return -EBADF;
	ask.out = data_room(call, &count);
	ask.room = in.size = count;
	ask.node = fid->node;
	in.fh = fid->opening;
	result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	tell_count(call, result);
	return 0;
}

/* fid[4] offset[8] count[4] data[count]: count[4] */
int p9_write(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	uint64_t offset = p9_u64(call);
	uint32_t count = p9_u32(call);
	struct fuse_write_in in = {.offset = offset, .size = count};
	struct fuse_write_out out;
	struct p9_ask ask = {.opcode = FUSE_WRITE, .in = &in, .in_size = sizeof(in),
			     .data = call->data, .data_size = count, .out = &out, .room = sizeof(out)};
	ssize_t result;

	if (count > call->data_size)
		call->is_malformed = true;
	if (call->is_malformed)
		return 0;
	if (!fid)
		return -EBADF;
	if (fid->kind == P9_XATTR_WRITE) {
		/* In order, as a file's is that grows. */
		if (offset != fid->filled || count > fid->value_size - fid->filled)
			return -ENOSPC;
		if (count)
			memcpy(fid->value + fid->filled, call->data, count);
		fid->filled += count;
		p9_put_u32(call, count);
		return 0;
	}
	if (!fid->is_open || fid->node->type == S_IFDIR)
		return -EBADF;
	ask.node = fid->node;
	in.fh = fid->opening;
	result = p9_ask(call->p9, &ask);
	if (result < 0)
		return result;
	p9_put_u32(call, out.size);
	return 0;
}

/* fid[4] datasync[4]: */
int p9_fsync(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	const uint32_t only_data = p9_u32(call);
	struct fuse_fsync_in in = {.fsync_flags = only_data ? FUSE_FSYNC_FDATASYNC : 0};
	struct p9_ask ask = {.in = &in, .in_size = sizeof(in)};

	if (call->is_malformed)
		return 0;
	if (!fid || !fid->is_open)
		return -EBADF;
	in.fh = fid->opening;
	ask.node = fid->node;
	ask.opcode = fid->node->type == S_IFDIR ? FUSE_FSYNCDIR : FUSE_FSYNC;
	return p9_ask(call->p9, &ask);
}

/* qid[13] offset[8] type[1] name[s]; whether there was room. */
static bool add_entry(struct p9_call *call, const struct opening *opening,
		      const struct opening_entry *entry, size_t limit)
{
	const struct share_node *node = opening->node;
	uint8_t type = opening_entry_type(&call->p9->fuse.folder, entry);
	size_t length = strlen(entry->name);

	if (call->out_size + ENTRY_BYTES + length > limit)
		return false;
	p9_put_qid(call, DTTOIF(entry->type), 0,
		   folder_number(&call->p9->fuse.folder, node->device, entry->inode));
	p9_put_u64(call, entry->next_offset);
	p9_put_u8(call, type);
	p9_put_string(call, entry->name, length);
	return true;
}

/* fid[4] offset[8] count[4]: count[4] entries[count] */
int p9_readdir(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	uint64_t offset = p9_u64(call);
	uint32_t count = p9_u32(call);
	struct opening *opening = fid ? opening_of(call->p9, fid) : NULL;
	struct opening_entry *entry;
	size_t limit;
	int result;

	if (call->is_malformed)
		return 0;
	if (!opening || !opening->is_directory)
		return -EBADF;
	data_room(call, &count);
	p9_put_u32(call, 0);
	limit = call->out_size + count;
	if (opening->node->is_wall)
		return 0;
	result = opening_seek(opening, offset);
	if (result < 0)
		return result;
	while ((entry = opening_next_entry(opening, &result)) &&
	       (mapped_hides_name(&call->p9->fuse.folder, entry->name) || add_entry(call, opening, entry, limit)))
		opening_take_entry(opening, entry);
	count = call->out_size - sizeof(count);
	memcpy(call->out, &count, sizeof(count));
	/* What there is comes first, and the error the next time. */
	if (count)
		return 0;
	/* One that does not fit would never: that is not the end. */
	return entry ? -EINVAL : result;
}

/*
 * fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]: status[1]
 *
 * The peer has looked whether its own processes may before it asks, and there are no others.
 */
int p9_lock(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);

	p9_u8(call);
	p9_u32(call);
	p9_u64(call);
	p9_u64(call);
	p9_u32(call);
	p9_string(call);
	if (!fid)
		return -EBADF;
	p9_put_u8(call, LOCK_SUCCESS);
	return 0;
}

/* fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]: type[1] start[8] length[8] proc_id[4] client_id[s] */
int p9_getlock(struct p9_call *call)
{
	struct p9_fid *fid = p9_fid_of(call);
	uint64_t start, length;
	const char *client;
	uint32_t process;

	p9_u8(call);
	start = p9_u64(call);
	length = p9_u64(call);
	process = p9_u32(call);
	client = p9_string(call);
	if (!fid)
		return -EBADF;
	p9_put_u8(call, LOCK_NONE);
	p9_put_u64(call, start);
	p9_put_u64(call, length);
	p9_put_u32(call, process);
	p9_put_string(call, client, strlen(client));
	return 0;
}
