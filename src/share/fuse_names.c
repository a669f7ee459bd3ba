/* FUSE's requests that are about names in directories. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "share/fuse_call.h"

/* A directory in which names can be made and taken away: its descriptor, or -errno. */
static int directory_fd(struct fuse_call *call, struct share_node *node)
{
	if (node->type != S_IFDIR)
		return -ENOTDIR;
	if (node->is_wall)
		return -EACCES;
	return node_fd(&call->fuse->folder, node);
}

/* A file with the right of whoever runs it to be its owner is not the guest's to make on the host. */
static mode_t allowed_mode(mode_t mode)
{
	return S_ISDIR(mode) ? mode & 07777 : mode & 01777;
}

/*
 * What is kept of a file that was just made: it is the caller's, and its group the directory's where that says so. Where
 * nothing can be kept there is no file. 0 or -errno.
 */
static int keep_new(struct fuse_call *call, const char *name, mode_t mode, uint32_t device)
{
	struct folder *folder = &call->fuse->folder;
	struct fuse_attr above;
	struct mapped mapped = {0};
	struct statx status;
	int result = node_status(folder, call->node, &status), directory;

	if (result == 0) {
		fuse_fill_attributes(call, call->node, &status, &above);
		if ((above.mode & S_ISGID) && S_ISDIR(mode))
			mode |= S_ISGID;
		mapped_set(&mapped, MAPPED_USER, call->header.uid);
		mapped_set(&mapped, MAPPED_GROUP, above.mode & S_ISGID ? above.gid : call->header.gid);
		mapped_set(&mapped, MAPPED_MODE, mode);
		if (S_ISCHR(mode) || S_ISBLK(mode))
			mapped_set(&mapped, MAPPED_DEVICE, device);
	}
	directory = node_fd(folder, call->node);
	if (directory < 0)
		return directory;
	if (result == 0)
		result = mapped_write_at(folder, directory, name, &mapped);
	if (result < 0)
		unlinkat(directory, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
	return result;
}

static bool keeps(const struct fuse_call *call)
{
	return call->fuse->folder.keeping != SHARE_KEEPS_NOTHING;
}

/* A regular file, which stands for something of that mode, with that content. */
static int make_kept(struct fuse_call *call, int directory, const char *name, mode_t mode, uint32_t device,
		     const char *content)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MAPPED_FILE_MODE);
	size_t size = strlen(content);
	bool is_written;

	if (fd < 0)
		return -errno;
	is_written = pwrite(fd, content, size, 0) == (ssize_t)size;
	close(fd);
	if (!is_written) {
		unlinkat(directory, name, 0);
		return -ENOSPC;
	}
	return keep_new(call, name, mode, device);
}

int fuse_lookup(struct fuse_call *call)
{
	const char *name = fuse_string(call, 0, NULL);
	struct fuse_entry_out *entry = fuse_room(call, sizeof(*entry));
	struct statx status;
	struct share_node *node;
	int result;

	if (!name || !entry)
		return -EINVAL;
	result = mapped_hides_name(&call->fuse->folder, name)
			 ? -ENOENT
			 : node_look_up(&call->fuse->folder, call->node, name, &node, &status);
	if (result == 0)
		fuse_fill_entry(call, node, &status, entry);
	else if (result == -ENOENT && call->fuse->keep_s) {
		/* That there is none is worth knowing, too: number 0. */
		*entry = (struct fuse_entry_out){.entry_valid = call->fuse->keep_s};
		result = 0;
	}
	return result;
}

/* The name behind `size` bytes, checked, and the directory's descriptor. */
static int new_name(struct fuse_call *call, size_t size, const char **name)
{
	int result;

	*name = fuse_string(call, size, NULL);
	if (!*name)
		return -EINVAL;
	result = mapped_hides_name(&call->fuse->folder, *name) ? -EINVAL : node_check_name(*name);
	return result < 0 ? result : directory_fd(call, call->node);
}

int fuse_mknod(struct fuse_call *call)
{
	const struct fuse_mknod_in *in = fuse_argument(call, sizeof(*in));
	const char *name;
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL, fd, result;
	mode_t type = in ? in->mode & S_IFMT : 0;

	if (directory < 0)
		return directory;
	if (keeps(call) && type != S_IFDIR && type != S_IFLNK) {
		result = make_kept(call, directory, name, (type ? type : S_IFREG) | (in->mode & 07777), in->rdev, "");
		return result < 0 ? result : fuse_tell_entry(call, call->node, name);
	}
	switch (type) {
	case 0:
	case S_IFREG:
		fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    allowed_mode(in->mode));
		if (fd < 0)
			return -errno;
		close(fd);
		break;
	case S_IFIFO:
	case S_IFSOCK:
		if (mknodat(directory, name, (in->mode & S_IFMT) | allowed_mode(in->mode), 0) < 0)
			return -errno;
		break;
	default: return -EPERM; /* the host's devices are not the guest's */
	}
	return fuse_tell_entry(call, call->node, name);
}

int fuse_mkdir(struct fuse_call *call)
{
	const struct fuse_mkdir_in *in = fuse_argument(call, sizeof(*in));
	const char *name;
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL, result = 0;
	bool is_kept = keeps(call);

	if (directory < 0)
		return directory;
	if (mkdirat(directory, name, is_kept ? MAPPED_DIRECTORY_MODE : allowed_mode(in->mode | S_IFDIR)) < 0)
		return -errno;
	if (is_kept)
		result = keep_new(call, name, S_IFDIR | (in->mode & 07777), 0);
	if (result < 0)
		return result;
	return fuse_tell_entry(call, call->node, name);
}

int fuse_symlink(struct fuse_call *call)
{
	size_t behind = 0;
	const char *name = fuse_string(call, 0, &behind);
	const char *target = name ? fuse_string(call, behind, NULL) : NULL;
	int directory = target ? new_name(call, 0, &name) : -EINVAL, result = 0;

	if (directory < 0)
		return directory;
	if (keeps(call))
		result = make_kept(call, directory, name, S_IFLNK | 0777, 0, target);
	else if (symlinkat(target, directory, name) < 0)
		result = -errno;
	if (result < 0)
		return result;
	return fuse_tell_entry(call, call->node, name);
}

int fuse_link(struct fuse_call *call)
{
	const struct fuse_link_in *in = fuse_argument(call, sizeof(*in));
	struct share_node *node = in ? node_find(&call->fuse->folder, in->oldnodeid) : NULL;
	const char *name, *old_name;
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL, old, result;

	if (directory < 0)
		return directory;
	if (!node)
		return -ESTALE;
	result = node_place(&call->fuse->folder, node, &old, &old_name);
	if (result < 0)
		return result;
	/* A file without a name gets none again, not without privileges. */
	if (!*old_name)
		return node->type == S_IFDIR ? -EPERM : -ENOENT;
	if (call->node->fd != directory)
		return -EMFILE;
	if (linkat(old, old_name, directory, name, 0) < 0)
		return -errno;
	mapped_linked(&call->fuse->folder, old, old_name, directory, name);
	return fuse_tell_entry(call, call->node, name);
}

static int take_name(struct fuse_call *call, int flags)
{
	struct folder *folder = &call->fuse->folder;
	const char *name;
	int directory = new_name(call, 0, &name);
	struct share_node *node;

	if (directory < 0)
		return directory;
	node = node_pin(folder, call->node, name);
	/* A wall is where something is mounted; it stays. */
	if (node && node->is_wall)
		return -EBUSY;
	if (call->node->fd != directory)
		return -EMFILE;
	if (flags & AT_REMOVEDIR)
		mapped_empty(folder, directory, name);
	if (unlinkat(directory, name, flags) < 0)
		return -errno;
	mapped_unlinked(folder, directory, name);
	if (node)
		node_unlinked(folder, node, call->node, name);
	return 0;
}

int fuse_unlink(struct fuse_call *call)
{
	return take_name(call, 0);
}

int fuse_rmdir(struct fuse_call *call)
{
	return take_name(call, AT_REMOVEDIR);
}

static int move(struct fuse_call *call, size_t names_at, uint64_t new_parent, unsigned flags)
{
	struct folder *folder = &call->fuse->folder;
	struct share_node *to = node_find(folder, new_parent), *node, *replaced;
	size_t behind = 0;
	const char *name = fuse_string(call, names_at, &behind);
	const char *new = name ? fuse_string(call, behind, NULL) : NULL;
	int from_fd, to_fd, result;

	if (!new || (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		return -EINVAL;
	if (!to)
		return -ESTALE;
	if (mapped_hides_name(folder, name) || mapped_hides_name(folder, new))
		return -EINVAL;
	if ((result = node_check_name(name)) < 0 || (result = node_check_name(new)) < 0)
		return result;
	/* By now so that neither closes the other's descriptor. */
	node = node_pin(folder, call->node, name);
	replaced = node_pin(folder, to, new);
	if ((from_fd = directory_fd(call, call->node)) < 0)
		return from_fd;
	if ((to_fd = directory_fd(call, to)) < 0)
		return to_fd;
	if (call->node->fd != from_fd)
		return -EMFILE;
	if (replaced && replaced->type == S_IFDIR && !flags)
		mapped_empty(folder, to_fd, new);
	/* The C library takes another call where there are no flags. */
	if (syscall(SYS_renameat2, from_fd, name, to_fd, new, flags) < 0)
		return -errno;
	mapped_moved(folder, from_fd, name, to_fd, new, flags & RENAME_EXCHANGE);
	/* Two names of one file stay both (rename(2)). */
	if (node && node == replaced && !(call->node == to && flags))
		return 0;
	if (replaced && (flags & RENAME_EXCHANGE))
		node_moved(folder, replaced, call->node, name);
	else if (replaced)
		node_unlinked(folder, replaced, to, new);
	if (node)
		node_moved(folder, node, to, new);
	return 0;
}

int fuse_rename(struct fuse_call *call)
{
	const struct fuse_rename_in *in = fuse_argument(call, sizeof(*in));

	return in ? move(call, sizeof(*in), in->newdir, 0) : -EINVAL;
}

int fuse_rename2(struct fuse_call *call)
{
	const struct fuse_rename2_in *in = fuse_argument(call, sizeof(*in));

	return in ? move(call, sizeof(*in), in->newdir, in->flags) : -EINVAL;
}

/* Of a file that stands for a link. */
static int read_kept_link(struct fuse_call *call, size_t room)
{
	struct share_node *node = call->node;
	ssize_t length;
	int fd;

	mapped_read(&call->fuse->folder, node);
	if (!mapped_has(&node->mapped, MAPPED_MODE) || !S_ISLNK(node->mapped.values[MAPPED_MODE]))
		return -EINVAL;
	fd = node_open(&call->fuse->folder, node, O_RDONLY);
	if (fd < 0)
		return fd;
	length = pread(fd, call->out, room, 0);
	close(fd);
	if (length < 0)
		return -EIO;
	call->out_size = length;
	return 0;
}

int fuse_readlink(struct fuse_call *call)
{
	size_t room = call->room < PATH_MAX ? call->room : PATH_MAX;
	const char *name;
	ssize_t length;
	int directory, result;

	if (call->node->type == S_IFREG && fuse_keeps(call, call->node))
		return read_kept_link(call, room);
	if (call->node->type != S_IFLNK)
		return -EINVAL;
	result = node_place(&call->fuse->folder, call->node, &directory, &name);
	if (result < 0)
		return result;
	length = readlinkat(directory, name, (char *)call->out, room);
	if (length < 0)
		return -errno;
	call->out_size = length;
	return 0;
}

static int open_in(struct fuse_call *call, int directory, const char *name, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(directory, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);
	while (fd < 0 && errno == EMFILE && folder_close_one(&call->fuse->folder) == 0 &&
	       call->node->fd == directory);
	return fd < 0 ? -errno : fd;
}

/* Open or make a file of which something is kept: which of the two it is has to be known. */
static int create_kept(struct fuse_call *call, int directory, const char *name, int flags, mode_t mode)
{
	int fd = open_in(call, directory, name, flags | O_CREAT | O_EXCL, MAPPED_FILE_MODE), result;

	if (fd == -EEXIST && !(flags & O_EXCL))
		return open_in(call, directory, name, flags, 0);
	if (fd < 0)
		return fd;
	result = keep_new(call, name, S_IFREG | (mode & 07777), 0);
	if (result < 0) {
		close(fd);
		return result;
	}
	return fd;
}

int fuse_create_file(struct fuse_call *call)
{
	const struct fuse_create_in *in = fuse_argument(call, sizeof(*in));
	struct folder *folder = &call->fuse->folder;
	struct fuse_entry_out *entry;
	struct statx status;
	struct share_node *node;
	const char *name;
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL, fd, flags, result;

	if (directory < 0)
		return directory;
	entry = fuse_room(call, sizeof(*entry));
	if (!entry)
		return -EINVAL;
	flags = fuse_open_flags(call->fuse, in->flags) | (in->flags & O_EXCL);
	fd = keeps(call) ? create_kept(call, directory, name, flags, in->mode)
			 : open_in(call, directory, name, flags | O_CREAT, allowed_mode(in->mode));
	if (fd < 0)
		return fd;
	result = node_status_at(fd, "", &status);
	if (result == 0 && !S_ISREG(status.stx_mode))
		result = -EACCES;
	node = result == 0 ? node_tell(folder, call->node, name, &status) : NULL;
	if (!node) {
		close(fd);
		return result < 0 ? result : -ENOMEM;
	}
	fuse_fill_entry(call, node, &status, entry);
	result = fuse_tell_opening(call, node, fd, false);
	/* The guest is told of neither. */
	if (result < 0)
		node_forget(folder, node, 1);
	return result;
}
