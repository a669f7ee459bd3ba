/*
 * FUSE's requests that read directories. An entry's offset is the host's own cookie for what comes behind it, so a
 * guest may go on from any of them, however large the directory is and whatever is added and removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "share/fuse_call.h"

int fuse_opendir(struct fuse_call *call)
{
	int fd;

	if (call->node->type != S_IFDIR)
		return -ENOTDIR;
	fd = call->node->is_wall
		     ? fcntl(call->fuse->folder.root->fd, F_DUPFD_CLOEXEC, 0) /* never read */
		     : node_open(&call->fuse->folder, call->node, O_RDONLY);
	return fd < 0 ? (call->node->is_wall ? -errno : fd)
		      : fuse_tell_opening(call, call->node, fd, true);
}

int fuse_releasedir(struct fuse_call *call)
{
	const struct fuse_release_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_find(&call->fuse->openings, in->fh, true) : NULL;

	if (!opening)
		return -EBADF;
	opening_destroy(&call->fuse->openings, &call->fuse->folder, opening);
	return 0;
}

int fuse_fsyncdir(struct fuse_call *call)
{
	const struct fuse_fsync_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_find(&call->fuse->openings, in->fh, true) : NULL;

	if (!opening)
		return -EBADF;
	return !opening->node->is_wall && fsync(opening->fd) < 0 ? -errno : 0;
}

static void fill_name(const struct fuse_call *call, struct fuse_dirent *to, const struct opening_entry *entry,
		      size_t length)
{
	to->ino = entry->inode;
	to->off = entry->next_offset;
	to->namelen = length;
	to->type = opening_entry_type(&call->fuse->folder, entry);
	memcpy(to->name, entry->name, length);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* An entry with all that a look-up of it would tell; without, if it is gone again: number 0. */
static void fill_plus(struct fuse_call *call, struct fuse_direntplus *to,
		      const struct opening_entry *entry)
{
	struct statx status;
	struct share_node *node;

	if (is_dots(entry->name) ||
	    node_look_up(&call->fuse->folder, call->node, entry->name, &node, &status) < 0)
		return;
	fuse_fill_entry(call, node, &status, &to->entry_out);
	to->dirent.ino = to->entry_out.attr.ino;
	to->dirent.type = IFTODT(to->entry_out.attr.mode);
}

/* Whether there was room for it. */
static bool add_entry(struct fuse_call *call, const struct opening_entry *entry, size_t limit,
		      bool is_plus)
{
	size_t length = strlen(entry->name);
	size_t size = is_plus ? FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length)
			      : FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
	void *to = call->out_size + size <= limit ? fuse_room(call, size) : NULL;

	if (!to)
		return false;
	fill_name(call, is_plus ? &((struct fuse_direntplus *)to)->dirent : to, entry, length);
	if (is_plus)
		fill_plus(call, to, entry);
	return true;
}

static int read_entries(struct fuse_call *call, bool is_plus)
{
	const struct fuse_read_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_find(&call->fuse->openings, in->fh, true) : NULL;
	struct opening_entry *entry;
	int result;

	if (!opening || opening->node != call->node)
		return -EBADF;
	if (call->node->is_wall)
		return 0;
	result = opening_seek(opening, in->offset);
	if (result < 0)
		return result;
	while ((entry = opening_next_entry(opening, &result)) &&
	       (mapped_hides_name(&call->fuse->folder, entry->name) || add_entry(call, entry, in->size, is_plus)))
		opening_take_entry(opening, entry);
	/* What there is comes first, and the error the next time. */
	return call->out_size ? 0 : result;
}

int fuse_readdir(struct fuse_call *call)
{
	return read_entries(call, false);
}

int fuse_readdirplus(struct fuse_call *call)
{
	return read_entries(call, true);
}
