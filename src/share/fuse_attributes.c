/*
 * FUSE's requests that are about what a file is: its status, and extended attributes.
 *
 * Of those, the ones of users (user.*) are the host's; others mean something to the host's kernel (ACLs,
 * capabilities, labels) and are not there for a guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "share/fuse_call.h"

#define XATTR_PREFIX	  "user."
#define XATTR_VALUE_MAX	  65536
#define XATTR_LIST_MAX	  65536
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static struct opening *opening_of(struct fuse_call *call, uint64_t number)
{
	struct opening *opening = opening_find(&call->fuse->openings, number, false);

	return opening && opening->node == call->node ? opening : NULL;
}

static int status_of(struct fuse_call *call, struct opening *opening, struct statx *status)
{
	/* One that is open has a descriptor, whatever became of its name. */
	if (!opening)
		opening = call->node->openings;
	return opening ? node_status_at(opening->fd, "", status)
		      : node_status(&call->fuse->folder, call->node, status);
}

static int tell_attributes(struct fuse_call *call, struct opening *opening)
{
	struct fuse_attr_out *out = fuse_room(call, sizeof(*out));
	struct statx status;
	int result;

	if (!out)
		return -EINVAL;
	result = status_of(call, opening, &status);
	if (result < 0)
		return result;
	out->attr_valid = call->fuse->keep_s;
	fuse_fill_attributes(call, call->node, &status, &out->attr);
	return 0;
}

int fuse_getattr(struct fuse_call *call)
{
	const struct fuse_getattr_in *in = fuse_argument(call, sizeof(*in));

	if (!in)
		return -EINVAL;
	return tell_attributes(call, in->getattr_flags & FUSE_GETATTR_FH ? opening_of(call, in->fh)
									: NULL);
}

/* --- changes --- */

/* Keep owner and mode, as far as they are to be set. */
static int keep(struct fuse_call *call, const struct fuse_setattr_in *in)
{
	struct folder *folder = &call->fuse->folder;
	struct share_node *node = call->node;
	struct mapped change = {0};
	mode_t type = node->type;

	if (in->valid & FATTR_UID)
		mapped_set(&change, MAPPED_USER, in->uid);
	if (in->valid & FATTR_GID)
		mapped_set(&change, MAPPED_GROUP, in->gid);
	if (in->valid & FATTR_MODE) {
		mapped_read(folder, node);
		if (mapped_has(&node->mapped, MAPPED_MODE))
			type = node->mapped.values[MAPPED_MODE] & S_IFMT;
		mapped_set(&change, MAPPED_MODE, type | (in->mode & 07777));
	}
	return change.has ? mapped_write(folder, node, &change) : 0;
}

static int set_mode(struct fuse_call *call, mode_t mode)
{
	struct folder *folder = &call->fuse->folder;
	int directory, fd, result;
	const char *name;
	bool is_made;

	if (call->node->type == S_IFLNK)
		return -EOPNOTSUPP;
	/* As fuse_names.c's allowed_mode. */
	mode &= call->node->type == S_IFDIR ? 07777 : 01777;
	if (call->node->openings)
		return fchmod(call->node->openings->fd, mode) < 0 ? -errno : 0;
	result = node_place(folder, call->node, &directory, &name);
	if (result < 0)
		return result;
	/* Linux 6.6. */
	if (syscall(SYS_fchmodat2, directory, name, mode,
		    *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	/* By a descriptor, where it can be opened: what is at the name may be a link by now. */
	fd = node_borrow(folder, call->node, O_RDONLY, &is_made);
	if (fd == -EACCES && call->node->type == S_IFREG)
		fd = node_borrow(folder, call->node, O_WRONLY, &is_made);
	if (fd >= 0) {
		result = fchmod(fd, mode) < 0 ? -errno : 0;
		if (is_made)
			close(fd);
		return result;
	}
	return fchmodat(directory, name, mode, 0) < 0 ? -errno : 0;
}

static int set_owner(struct fuse_call *call, const struct fuse_setattr_in *in)
{
	const struct owners *owners = &call->fuse->owners;
	int directory, result;
	struct statx status;
	const char *name;
	uint32_t user = ~0u, group = ~0u;

	result = status_of(call, NULL, &status);
	if (result < 0)
		return result;
	if (in->valid & FATTR_UID)
		user = owner_to_host(in->uid, status.stx_uid, owners->user);
	if (in->valid & FATTR_GID)
		group = owner_to_host(in->gid, status.stx_gid, owners->group);
	if (user == ~0u && group == ~0u)
		return 0;
	if (call->node->openings) {
		result = fchown(call->node->openings->fd, user, group);
	} else {
		result = node_place(&call->fuse->folder, call->node, &directory, &name);
		if (result < 0)
			return result;
		result = fchownat(directory, name, user, group,
				  AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH));
	}
	/* A number that the server's user namespace does not know is as forbidden as others. */
	return result == 0 ? 0 : errno == EINVAL ? -EPERM : -errno;
}

static int set_size(struct fuse_call *call, const struct fuse_setattr_in *in)
{
	struct opening *opening = in->valid & FATTR_FH ? opening_of(call, in->fh) : NULL;
	bool is_made = false;
	int fd, result;

	if (call->node->type == S_IFDIR)
		return -EISDIR;
	if (call->node->type != S_IFREG)
		return -EINVAL;
	if (in->size > INT64_MAX)
		return -EFBIG;
	fd = opening ? opening->fd
		    : node_borrow(&call->fuse->folder, call->node, O_WRONLY, &is_made);
	if (fd < 0)
		return fd;
	result = ftruncate(fd, in->size) < 0 ? -errno : 0;
	if (is_made)
		close(fd);
	return result;
}

static struct timespec new_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds,
				uint32_t nanoseconds)
{
	if (!(valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){seconds, nanoseconds};
}

static int set_times(struct fuse_call *call, const struct fuse_setattr_in *in)
{
	const struct timespec times[2] = {
		new_time(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		new_time(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};
	int directory, result;
	const char *name;

	if (in->atimensec > 999999999 || in->mtimensec > 999999999)
		return -EINVAL;
	if (call->node->openings)
		return futimens(call->node->openings->fd, times) < 0 ? -errno : 0;
	result = node_place(&call->fuse->folder, call->node, &directory, &name);
	if (result < 0)
		return result;
	return utimensat(directory, name, times,
			 AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH)) < 0
		       ? -errno
		       : 0;
}

int fuse_setattr(struct fuse_call *call)
{
	const struct fuse_setattr_in *in = fuse_argument(call, sizeof(*in));
	bool is_kept = fuse_keeps(call, call->node);
	int result = 0;

	if (!in)
		return -EINVAL;
	if (call->node->is_wall)
		return -EACCES;
	if (is_kept)
		result = keep(call, in);
	else if (in->valid & (FATTR_UID | FATTR_GID))
		result = set_owner(call, in);
	if (result == 0 && (in->valid & FATTR_SIZE))
		result = set_size(call, in);
	/* Behind what makes the kernel take bits away. */
	if (result == 0 && !is_kept && (in->valid & FATTR_MODE))
		result = set_mode(call, in->mode);
	if (result == 0 && (in->valid & (FATTR_ATIME | FATTR_MTIME)))
		result = set_times(call, in);
	return result < 0 ? result : tell_attributes(call, NULL);
}

int fuse_statfs(struct fuse_call *call)
{
	struct fuse_statfs_out *out = fuse_room(call, sizeof(*out));
	int fd = node_fd(&call->fuse->folder, call->node->is_wall ? call->fuse->folder.root
								   : call->node);
	struct statfs system;

	if (!out)
		return -EINVAL;
	if (fd < 0)
		return fd;
	if (fstatfs(fd, &system) < 0)
		return -errno;
	out->st = (struct fuse_kstatfs){.blocks = system.f_blocks,
					.bfree = system.f_bfree,
					.bavail = system.f_bavail,
					.files = system.f_files,
					.ffree = system.f_ffree,
					.bsize = system.f_bsize,
					.namelen = system.f_namelen,
					.frsize = system.f_frsize};
	return 0;
}

/* --- extended attributes --- */

/* The calls for them take a path: that of one name in the working directory, or a descriptor. */
struct path_place {
	int fd; /* -1: by name */
	const char *name;
};

static int find_place(struct fuse_call *call, struct path_place *place)
{
	int directory, result;

	/* Nothing else can have any (xattr(7)). */
	if (call->node->type != S_IFREG && call->node->type != S_IFDIR)
		return -EPERM;
	if (call->node->is_wall)
		return -EACCES;
	place->fd = call->node->openings ? call->node->openings->fd : -1;
	if (place->fd >= 0)
		return 0;
	result = node_place(&call->fuse->folder, call->node, &directory, &place->name);
	if (result < 0)
		return result;
	if (!*place->name && call->node != call->fuse->folder.root)
		return -ESTALE;
	if (!*place->name)
		place->name = ".";
	return fchdir(directory) < 0 ? -errno : 0;
}

static bool is_for_guests(const struct fuse_call *call, const char *name)
{
	return strncmp(name, XATTR_PREFIX, sizeof(XATTR_PREFIX) - 1) == 0 && strlen(name) <= NODE_NAME_MAX &&
	       !mapped_hides_attribute(&call->fuse->folder, name);
}

/* Say how long it is, or answer with it. */
static int tell_value(struct fuse_call *call, uint32_t wanted, ssize_t length)
{
	struct fuse_getxattr_out *out;

	if (length < 0)
		return -errno;
	if (wanted) {
		call->out_size = length;
		return 0;
	}
	out = fuse_room(call, sizeof(*out));
	if (!out)
		return -EINVAL;
	out->size = length;
	return 0;
}

int fuse_getxattr(struct fuse_call *call)
{
	const struct fuse_getxattr_in *in = fuse_argument(call, sizeof(*in));
	const char *name = in ? fuse_string(call, sizeof(*in), NULL) : NULL;
	struct path_place place;
	ssize_t length;
	int result;

	if (!name || in->size > XATTR_VALUE_MAX || in->size > call->room)
		return -EINVAL;
	if (!is_for_guests(call, name))
		return -EOPNOTSUPP;
	result = find_place(call, &place);
	if (result < 0)
		return result == -EPERM ? -ENODATA : result;
	length = place.fd >= 0 ? fgetxattr(place.fd, name, call->out, in->size)
			       : lgetxattr(place.name, name, call->out, in->size);
	return tell_value(call, in->size, length);
}

int fuse_setxattr(struct fuse_call *call)
{
	/* Without FUSE_SETXATTR_EXT the struct ends behind its flags. */
	const struct fuse_setxattr_in *in = fuse_argument(call, FUSE_COMPAT_SETXATTR_IN_SIZE);
	size_t behind = 0;
	const char *name = in ? fuse_string(call, FUSE_COMPAT_SETXATTR_IN_SIZE, &behind) : NULL;
	struct path_place place;
	int result;

	if (!name || in->size > XATTR_VALUE_MAX || in->size > call->size - behind ||
	    (in->flags & ~(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	if (!is_for_guests(call, name))
		return -EOPNOTSUPP;
	result = find_place(call, &place);
	if (result < 0)
		return result;
	if ((place.fd >= 0 ? fsetxattr(place.fd, name, call->arguments + behind, in->size, in->flags)
			   : lsetxattr(place.name, name, call->arguments + behind, in->size,
				       in->flags)) < 0)
		return -errno;
	return 0;
}

int fuse_listxattr(struct fuse_call *call)
{
	const struct fuse_getxattr_in *in = fuse_argument(call, sizeof(*in));
	static char list[XATTR_LIST_MAX];
	ssize_t length, at, kept = 0, bytes;
	struct path_place place;
	int result;

	if (!in)
		return -EINVAL;
	result = find_place(call, &place);
	if (result == -EPERM)
		return tell_value(call, in->size, 0);
	if (result < 0)
		return result;
	length = place.fd >= 0 ? flistxattr(place.fd, list, sizeof(list))
			       : llistxattr(place.name, list, sizeof(list));
	if (length < 0)
		return -errno;
	for (at = 0; at < length; at += bytes) {
		bytes = strnlen(list + at, length - at) + 1;
		if (at + bytes > length || !is_for_guests(call, list + at))
			continue;
		memmove(list + kept, list + at, bytes);
		kept += bytes;
	}
	if (in->size && (size_t)kept > (in->size < call->room ? in->size : call->room))
		return -ERANGE;
	if (in->size)
		memcpy(call->out, list, kept);
	return tell_value(call, in->size, kept);
}

int fuse_removexattr(struct fuse_call *call)
{
	const char *name = fuse_string(call, 0, NULL);
	struct path_place place;
	int result;

	if (!name)
		return -EINVAL;
	if (!is_for_guests(call, name))
		return -EOPNOTSUPP;
	result = find_place(call, &place);
	if (result < 0)
		return result;
	return (place.fd >= 0 ? fremovexattr(place.fd, name) : lremovexattr(place.name, name)) < 0
		       ? -errno
		       : 0;
}
