#include "share/fuse_call.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

const char *fuse_string(const struct fuse_call *call, size_t offset, size_t *behind)
{
	const uint8_t *end;

	if (offset >= call->size)
		return NULL;
	end = memchr(call->arguments + offset, 0, call->size - offset);
	if (!end)
		return NULL;
	if (behind)
		*behind = end + 1 - call->arguments;
	return (const char *)call->arguments + offset;
}

void *fuse_room(struct fuse_call *call, size_t size)
{
	uint8_t *at = call->out + call->out_size;

	if (call->room - call->out_size < size)
		return NULL;
	memset(at, 0, size);
	call->out_size += size;
	return at;
}

bool fuse_keeps(const struct fuse_call *call, const struct share_node *node)
{
	switch (call->fuse->folder.keeping) {
	case SHARE_KEEPS_FILES: return true;
	/* Nothing else can have attributes of users (xattr(7)). */
	case SHARE_KEEPS_ATTRIBUTES: return node->type == S_IFREG || node->type == S_IFDIR;
	default: return false;
	}
}

/* A file may stand for whatever has no entries; what the host knows as another kind is that. */
static mode_t kept_mode(const struct share_node *node, mode_t kept)
{
	mode_t type = kept & S_IFMT;

	if (node->type != S_IFREG || !type || type == S_IFDIR)
		type = node->type;
	return type | (kept & 07777);
}

static void show_kept(const struct share_node *node, struct fuse_attr *attributes)
{
	const struct mapped *mapped = &node->mapped;

	if (mapped_has(mapped, MAPPED_USER))
		attributes->uid = mapped->values[MAPPED_USER];
	if (mapped_has(mapped, MAPPED_GROUP))
		attributes->gid = mapped->values[MAPPED_GROUP];
	if (mapped_has(mapped, MAPPED_MODE))
		attributes->mode = kept_mode(node, mapped->values[MAPPED_MODE]);
	if (mapped_has(mapped, MAPPED_DEVICE))
		attributes->rdev = mapped->values[MAPPED_DEVICE];
}

void fuse_fill_attributes(const struct fuse_call *call, struct share_node *node, const struct statx *status,
			  struct fuse_attr *attributes)
{
	const struct owners *owners = &call->fuse->owners;

	*attributes = (struct fuse_attr){
		.ino = folder_inode(&call->fuse->folder, status),
		.size = status->stx_size,
		.blocks = status->stx_blocks,
		.atime = status->stx_atime.tv_sec,
		.mtime = status->stx_mtime.tv_sec,
		.ctime = status->stx_ctime.tv_sec,
		.atimensec = status->stx_atime.tv_nsec,
		.mtimensec = status->stx_mtime.tv_nsec,
		.ctimensec = status->stx_ctime.tv_nsec,
		.mode = status->stx_mode,
		.nlink = status->stx_nlink,
		.uid = owner_to_guest(status->stx_uid, owners->user),
		.gid = owner_to_guest(status->stx_gid, owners->group),
		/* Linux's own form of 32 bits (new_encode_dev). */
		.rdev = (status->stx_rdev_minor & 0xff) | status->stx_rdev_major << 8 |
			(status->stx_rdev_minor & ~0xffu) << 12,
		.blksize = status->stx_blksize,
	};
	if (fuse_keeps(call, node)) {
		mapped_read(&call->fuse->folder, node);
		show_kept(node, attributes);
	}
}

void fuse_fill_entry(const struct fuse_call *call, struct share_node *node,
		     const struct statx *status, struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){.nodeid = node->number,
					 .entry_valid = call->fuse->keep_s,
					 .attr_valid = call->fuse->keep_s};
	fuse_fill_attributes(call, node, status, &entry->attr);
}

int fuse_tell_entry(struct fuse_call *call, struct share_node *parent, const char *name)
{
	struct fuse_entry_out *entry = fuse_room(call, sizeof(*entry));
	struct statx status;
	struct share_node *node;
	int result;

	if (!entry)
		return -EINVAL;
	result = node_look_up(&call->fuse->folder, parent, name, &node, &status);
	if (result == 0)
		fuse_fill_entry(call, node, &status, entry);
	return result;
}
