/* FUSE's requests that are about names in directories. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
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

int fuse_lookup(struct fuse_call *call)
{
	const char *name = fuse_string(call, 0, NULL);
	struct fuse_entry_out *entry = fuse_room(call, sizeof(*entry));
	struct statx status;
	struct share_node *node;
	int result;

	if (!name || !entry)
		return -EINVAL;
	result = node_look_up(&call->fuse->folder, call->node, name, &node, &status);
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
	result = node_check_name(*name);
	return result < 0 ? result : directory_fd(call, call->node);
}

int fuse_mknod(struct fuse_call *call)
{
	const struct fuse_mknod_in *in = fuse_argument(call, sizeof(*in));
	const char *name;
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL, fd;

	if (directory < 0)
		return directory;
	switch (in->mode & S_IFMT) {
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
	int directory = in ? new_name(call, sizeof(*in), &name) : -EINVAL;

	if (directory < 0)
		return directory;
	if (mkdirat(directory, name, allowed_mode(in->mode | S_IFDIR)) < 0)
		return -errno;
	return fuse_tell_entry(call, call->node, name);
}

int fuse_symlink(struct fuse_call *call)
{
	size_t behind = 0;
	const char *name = fuse_string(call, 0, &behind);
	const char *target = name ? fuse_string(call, behind, NULL) : NULL;
	int directory = target ? new_name(call, 0, &name) : -EINVAL;

	if (directory < 0)
		return directory;
	if (symlinkat(target, directory, name) < 0)
		return -errno;
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
	if (unlinkat(directory, name, flags) < 0)
		return -errno;
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
	/* The C library takes another call where there are no flags. */
	if (syscall(SYS_renameat2, from_fd, name, to_fd, new, flags) < 0)
		return -errno;
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

int fuse_readlink(struct fuse_call *call)
{
	size_t room = call->room < PATH_MAX ? call->room : PATH_MAX;
	const char *name;
	ssize_t length;
	int directory, result;

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
	do
		fd = openat(directory, name,
			    flags | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			    allowed_mode(in->mode));
	while (fd < 0 && errno == EMFILE && folder_close_one(folder) == 0 &&
	       call->node->fd == directory);
	if (fd < 0)
		return -errno;
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
