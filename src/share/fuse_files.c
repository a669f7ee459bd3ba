/* FUSE's requests that are about the content of files. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "share/fuse_call.h"

int fuse_open_flags(const struct fuse *fuse, uint32_t wanted)
{
	int flags = wanted & (O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC);

	if (fuse->folder.is_readonly)
		flags &= ~(O_APPEND | O_TRUNC | O_SYNC);
	/* Appending is the guest's to compute where it alone writes, and the host's where others do,
	 * too: the host knows the end. */
	return flags;
}

int fuse_tell_opening(struct fuse_call *call, struct share_node *node, int fd, bool is_directory)
{
	struct fuse_open_out *out = fuse_room(call, sizeof(*out));
	struct opening *opening =
		out ? opening_create(&call->fuse->openings, node, fd, is_directory) : NULL;

	if (!opening) {
		close(fd);
		return -ENOMEM;
	}
	out->fh = opening->number;
	/* What the guest has of it is good until its attributes say otherwise. */
	if (call->fuse->keep_s)
		out->open_flags = FOPEN_KEEP_CACHE | (is_directory ? FOPEN_CACHE_DIR : 0);
	return 0;
}

int fuse_open(struct fuse_call *call)
{
	const struct fuse_open_in *in = fuse_argument(call, sizeof(*in));
	int fd;

	if (!in)
		return -EINVAL;
	if (call->node->type == S_IFDIR)
		return -EISDIR;
	if (call->fuse->folder.is_readonly &&
	    ((in->flags & O_ACCMODE) != O_RDONLY || (in->flags & O_TRUNC)))
		return -EROFS;
	fd = node_open(&call->fuse->folder, call->node, fuse_open_flags(call->fuse, in->flags));
	return fd < 0 ? fd : fuse_tell_opening(call, call->node, fd, false);
}

static struct opening *opening_of(struct fuse_call *call, uint64_t number)
{
	return opening_find(&call->fuse->openings, number, false);
}

int fuse_release(struct fuse_call *call)
{
	const struct fuse_release_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;

	if (!opening)
		return -EBADF;
	opening_destroy(&call->fuse->openings, &call->fuse->folder, opening);
	return 0;
}

int fuse_read(struct fuse_call *call)
{
	const struct fuse_read_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;
	ssize_t count;
	size_t size;

	if (!opening)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	size = in->size < call->room ? in->size : call->room;
	count = pread(opening->fd, call->out, size, in->offset);
	if (count < 0)
		return -errno;
	call->out_size = count;
	return 0;
}

int fuse_write(struct fuse_call *call)
{
	const struct fuse_write_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;
	struct fuse_write_out *out = fuse_room(call, sizeof(*out));
	ssize_t count;

	if (!opening)
		return -EBADF;
	if (!out || in->offset > INT64_MAX || in->size > call->data_size)
		return -EINVAL;
	count = pwrite(opening->fd, call->data, in->size, in->offset);
	if (count < 0)
		return -errno;
	out->size = count;
	return 0;
}

/* close(2) in the guest: an error of what was written before, where the host tells it then. */
int fuse_flush(struct fuse_call *call)
{
	const struct fuse_flush_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;
	int copy;

	if (!opening)
		return -EBADF;
	if ((fcntl(opening->fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return 0;
	copy = fcntl(opening->fd, F_DUPFD_CLOEXEC, 0);
	/* Without a descriptor to spare there is nothing to be learnt. */
	return copy >= 0 && close(copy) < 0 ? -errno : 0;
}

int fuse_fsync(struct fuse_call *call)
{
	const struct fuse_fsync_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;

	if (!opening)
		return -EBADF;
	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(opening->fd)
						       : fsync(opening->fd)) < 0
		       ? -errno
		       : 0;
}

int fuse_fallocate(struct fuse_call *call)
{
	const struct fuse_fallocate_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;

	if (!opening)
		return -EBADF;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EFBIG;
	if (in->mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	return fallocate(opening->fd, in->mode, in->offset, in->length) < 0 ? -errno : 0;
}

int fuse_lseek(struct fuse_call *call)
{
	const struct fuse_lseek_in *in = fuse_argument(call, sizeof(*in));
	struct opening *opening = in ? opening_of(call, in->fh) : NULL;
	struct fuse_lseek_out *out = fuse_room(call, sizeof(*out));
	off_t at;

	if (!opening)
		return -EBADF;
	/* The others are the guest's to compute. */
	if (!out || in->offset > INT64_MAX || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
		return -EINVAL;
	at = lseek(opening->fd, in->offset, in->whence);
	if (at < 0)
		return -errno;
	out->offset = at;
	return 0;
}

int fuse_copy_file_range(struct fuse_call *call)
{
	const struct fuse_copy_file_range_in *in = fuse_argument(call, sizeof(*in));
	struct opening *from = in ? opening_of(call, in->fh_in) : NULL;
	struct opening *to = in ? opening_of(call, in->fh_out) : NULL;
	struct fuse_write_out *out = fuse_room(call, sizeof(*out));
	off_t from_at, to_at;
	ssize_t count;

	if (!from || !to)
		return -EBADF;
	if (!out || in->off_in > INT64_MAX || in->off_out > INT64_MAX || in->flags)
		return -EINVAL;
	from_at = in->off_in;
	to_at = in->off_out;
	/* A part at a time: nobody else is answered meanwhile. */
	count = copy_file_range(from->fd, &from_at, to->fd, &to_at,
				in->len < FUSE_DATA_MAX * 16 ? in->len : FUSE_DATA_MAX * 16, 0);
	if (count < 0)
		return -errno;
	out->size = count;
	return 0;
}
