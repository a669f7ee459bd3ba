#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fs.h>

#include "block/limits.h"
#include "block/lock.h"
#include "block/nbd/name.h"
#include "block/nbd/nbd.h"
#include "block/vector.h"

char *file_resolve(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	char *result;

	if (strncmp(name, "file:", 5) == 0)
		name += 5;
	if (name[0] == '/' || !slash || nbd_name_is_one(name))
		return strdup(name);
	if (asprintf(&result, "%.*s%s", (int)(slash + 1 - path), path, name) < 0)
		return NULL;
	return result;
}

/* No descriptor yet. On failure there is nothing to close. */
static int begin_open(struct file *file, const char *path, unsigned flags, struct error *error)
{
	*file = (struct file){.fd = -1,
			      .direct_fd = -1,
			      .is_writable = flags & FILE_WRITABLE,
			      .is_unlocked = flags & FILE_UNLOCKED,
			      .is_unsafe = flags & FILE_UNSAFE,
			      .sync_lock = PTHREAD_MUTEX_INITIALIZER,
			      .path = strdup(path)};
	if (!file->path)
		return error_set_errno(error, ENOMEM, "%s", path);
	return 0;
}

static int read_status(struct file *file, struct error *error)
{
	struct stat status;
	uint64_t size;

	if (fstat(file->fd, &status) < 0)
		return error_set_errno(error, errno, "%s", file->path);
	file->is_regular = S_ISREG(status.st_mode);
	if (file->is_regular) {
		file->size = status.st_size;
		return 0;
	}
	if (!S_ISBLK(status.st_mode))
		return error_set(error, EINVAL, "%s: neither a regular file nor a block device",
				 file->path);
	if (ioctl(file->fd, BLKGETSIZE64, &size) < 0)
		return error_set_errno(error, errno, "%s: the device's size", file->path);
	file->size = size;
	return 0;
}

static int finish_open(struct file *file, unsigned flags, struct error *error)
{
	int result = read_status(file, error);

	if (result == 0 && !(flags & FILE_UNLOCKED))
		result = lock_image(file->fd, file->path, flags & FILE_WRITABLE,
				    flags & FILE_SHARED_WRITES, error);
	return result;
}

/* One that is to be made, once it is known that nobody uses it. */
static int empty(struct file *file, unsigned flags, struct error *error)
{
	int result = flags & FILE_CREATE && file->is_regular ? file_truncate(file, 0) : 0;

	return result < 0 ? error_set_errno(error, -result, "cannot empty %s", file->path) : 0;
}

/* Its size cannot change. One that is to be made is there already, and looks empty afterwards. */
static int open_export(struct file *file, int fd, const char *path, unsigned flags, struct error *error)
{
	int result = fd < 0 ? nbd_open(path, &file->export, error) : nbd_open_fd(fd, path, &file->export, error);

	if (result < 0)
		return result;
	file->size = nbd_size(file->export);
	if (flags & FILE_WRITABLE && nbd_is_readonly(file->export))
		return error_set(error, EROFS, "%s: the server lets nobody write to it", path);
	if (flags & FILE_CREATE) {
		result = file_zero(file, 0, file->size < FILE_PAGE ? file->size : FILE_PAGE, false);
		if (result < 0)
			return error_set_errno(error, -result, "cannot empty %s", path);
	}
	return 0;
}

int file_open(struct file *file, const char *path, unsigned flags, struct error *error)
{
	int mode = (flags & FILE_WRITABLE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int result;

	result = begin_open(file, path, flags, error);
	if (result < 0)
		return result;
	if (nbd_name_is_one(path)) {
		result = open_export(file, -1, path, flags, error);
		if (result < 0)
			goto fail;
		return 0;
	}
	file->fd = open(path, mode | (flags & FILE_CREATE ? O_CREAT : 0), 0644);
	if (file->fd < 0) {
		result = error_set_errno(error, errno, "cannot open %s", path);
		goto fail;
	}
	result = finish_open(file, flags, error);
	if (result < 0)
		goto fail;
	result = empty(file, flags, error);
	if (result < 0)
		goto fail;
	file->place = realpath(path, NULL);
	if (flags & FILE_DIRECT)
		file->direct_fd = open(path, mode | O_DIRECT);
	return 0;

fail:
	file_close(file);
	return result;
}

int file_open_fd(struct file *file, int fd, const char *path, unsigned flags, struct error *error)
{
	int mode, result;

	result = begin_open(file, path, flags, error);
	if (result < 0)
		return result;
	if (nbd_name_is_one(path)) {
		result = open_export(file, fd, path, flags, error);
		if (result < 0)
			goto fail;
		return 0;
	}
	mode = fcntl(fd, F_GETFL);
	file->fd = mode < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (file->fd < 0) {
		result = error_set_errno(error, errno, "%s: descriptor %d", path, fd);
		goto fail;
	}
	if ((mode & O_ACCMODE) == O_WRONLY ||
	    (flags & FILE_WRITABLE && (mode & O_ACCMODE) != O_RDWR)) {
		result = error_set(error, EACCES, "%s: descriptor %d is not open for %s", path, fd,
				   flags & FILE_WRITABLE ? "reading and writing" : "reading");
		goto fail;
	}
	result = finish_open(file, flags, error);
	if (result == 0)
		result = empty(file, flags, error);
	if (result < 0)
		goto fail;
	return 0;

fail:
	file_close(file);
	return result;
}

void file_close(struct file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	nbd_close(file->export);
	free(file->path);
	free(file->place);
	*file = (struct file){.fd = -1, .direct_fd = -1};
}

static bool is_page_aligned(uint64_t offset, const struct iovec *vector, unsigned count)
{
	uint64_t bits = offset;
	unsigned i;

	for (i = 0; i < count; i++)
		bits |= (uintptr_t)vector[i].iov_base | vector[i].iov_len;
	return bits % FILE_PAGE == 0;
}

int file_descriptor_for(const struct file *file, uint64_t offset, const struct iovec *vector,
			unsigned count)
{
	return file->direct_fd >= 0 && is_page_aligned(offset, vector, count) ? file->direct_fd
									      : file->fd;
}

/*
 * Read or write all of a list of buffers, however little the kernel takes at once. Returns the bytes
 * done, which are fewer at a file's end, or -errno.
 */
static int64_t transfer(int fd, uint64_t offset, const struct iovec *vector, unsigned count,
			bool is_write)
{
	struct iovec part[64];
	uint64_t size = vector_size(vector, count), done = 0;
	unsigned parts;
	ssize_t length;

	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EFBIG;
	while (done < size) {
		const struct iovec *next = vector;

		parts = count;
		if (done > 0 || count > sizeof(part) / sizeof(part[0])) {
			/* From where it stopped, as many buffers as fit. */
			uint64_t skip = done;

			for (; skip >= next->iov_len; next++)
				skip -= next->iov_len;
			for (parts = 0; parts < 64 && next < vector + count; parts++, next++) {
				part[parts] = *next;
				part[parts].iov_base = (uint8_t *)next->iov_base + skip;
				part[parts].iov_len -= skip;
				skip = 0;
			}
			next = part;
		}
		length = is_write ? pwritev2(fd, next, parts, offset + done, 0)
				  : preadv2(fd, next, parts, offset + done, 0);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return -errno;
		if (length == 0)
			break;
		done += length;
	}
	return done;
}

static int read_export(const struct file *file, uint64_t offset, uint64_t size, const struct iovec *vector,
		       unsigned count)
{
	uint64_t inside = offset >= file->size ? 0 : file->size - offset;
	struct iovec part[BLOCK_VECTORS_MAX];

	if (inside >= size)
		return nbd_readv(file->export, offset, vector, count);
	vector_zero(vector, count, inside, size - inside);
	count = vector_part(vector, count, 0, inside, part);
	return nbd_readv(file->export, offset, part, count);
}

int file_readv(const struct file *file, uint64_t offset, const struct iovec *vector, unsigned count)
{
	uint64_t size = vector_size(vector, count);
	int64_t done;

	if (file->export)
		return read_export(file, offset, size, vector, count);
	done = transfer(file_descriptor_for(file, offset, vector, count), offset, vector, count, false);

	/* The last bytes of a file that is no whole number of pages come by the page cache. */
	if (done >= 0 && (uint64_t)done < size && file->direct_fd >= 0)
		done = transfer(file->fd, offset, vector, count, false);
	if (done < 0)
		return done;
	vector_zero(vector, count, done, size - done);
	return 0;
}

int file_read_at(const struct file *file, uint64_t offset, void *data, uint64_t size)
{
	struct iovec vector = {data, size};

	return file_readv(file, offset, &vector, 1);
}

void file_has_grown(struct file *file, uint64_t end)
{
	uint64_t size = __atomic_load_n(&file->size, __ATOMIC_RELAXED);

	while (size < end && !__atomic_compare_exchange_n(&file->size, &size, end, true,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	__atomic_store_n(&file->is_dirty, true, __ATOMIC_RELEASE);
}

/* Whether it is inside of an export, which cannot grow. */
static bool fits(const struct file *file, uint64_t offset, uint64_t size)
{
	return offset <= file->size && size <= file->size - offset;
}

int file_writev(struct file *file, uint64_t offset, const struct iovec *vector, unsigned count)
{
	uint64_t size = vector_size(vector, count);
	int64_t done;

	if (file->export) {
		if (!fits(file, offset, size))
			return -ENOSPC;
		file_has_grown(file, 0);
		return nbd_writev(file->export, offset, vector, count);
	}
	done = transfer(file_descriptor_for(file, offset, vector, count), offset, vector, count, true);

	/* Also what failed may have grown the file. */
	if (done != -EFBIG)
		file_has_grown(file, offset + size);
	if (done < 0)
		return done;
	return (uint64_t)done < size ? -ENOSPC : 0;
}

int file_write_at(struct file *file, uint64_t offset, const void *data, uint64_t size)
{
	struct iovec vector = {(void *)data, size};

	return file_writev(file, offset, &vector, 1);
}

int file_sync(struct file *file)
{
	int result = 0;

	if (file->is_unsafe)
		return 0;
	/* Who comes while another syncs waits for it: what that one took was this one's, too. */
	pthread_mutex_lock(&file->sync_lock);
	if (file->has_failed) {
		result = -EIO; /* the kernel tells once, and may have dropped what it could not write */
	} else if (__atomic_exchange_n(&file->is_dirty, false, __ATOMIC_ACQUIRE)) {
		result = file->export ? nbd_flush(file->export) : fdatasync(file->fd) < 0 ? -errno : 0;
		file->has_failed = result < 0;
	}
	pthread_mutex_unlock(&file->sync_lock);
	return result;
}

static int write_zeroes(struct file *file, uint64_t offset, uint64_t size)
{
	static const uint8_t zeroes[65536] __attribute__((aligned(FILE_PAGE)));
	uint64_t length;
	int result = 0;

	for (; size > 0 && result == 0; offset += length, size -= length) {
		length = size < sizeof(zeroes) ? size : sizeof(zeroes);
		result = file_write_at(file, offset, zeroes, length);
	}
	return result;
}

int file_zero(struct file *file, uint64_t offset, uint64_t size, bool may_unmap)
{
	uint64_t end, file_size = __atomic_load_n(&file->size, __ATOMIC_RELAXED);
	int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE;
	int result;

	if (size == 0)
		return 0;
	if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX)
		return -EFBIG;
	if (file->export) {
		if (!fits(file, offset, size))
			return -ENOSPC;
		file_has_grown(file, 0);
		result = nbd_zero(file->export, offset, size, may_unmap);
		return result == -EOPNOTSUPP ? write_zeroes(file, offset, size) : result;
	}
	/* What lies beyond the end is zeroes once the file is longer. */
	if (file->is_regular && may_unmap && end > file_size) {
		result = file_truncate(file, end);
		if (result < 0)
			return result;
		if (offset >= file_size)
			return 0;
		size = file_size - offset;
	}
	if (fallocate(file->fd, mode, offset, size) == 0) {
		file_has_grown(file, end);
		return 0;
	}
	return write_zeroes(file, offset, size);
}

int file_discard(struct file *file, uint64_t offset, uint64_t size)
{
	__atomic_store_n(&file->is_dirty, true, __ATOMIC_RELEASE);
	if (file->export)
		return fits(file, offset, size) ? nbd_discard(file->export, offset, size) : 0;
	if (size > 0 && fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
				  size) < 0 &&
	    errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
		return -errno;
	return 0;
}

int file_truncate(struct file *file, uint64_t size)
{
	if (!file->is_regular)
		return size <= file->size ? 0 : -ENOSPC;
	if (size > INT64_MAX)
		return -EFBIG;
	if (ftruncate(file->fd, size) < 0)
		return -errno;
	__atomic_store_n(&file->size, size, __ATOMIC_RELAXED);
	__atomic_store_n(&file->is_dirty, true, __ATOMIC_RELEASE);
	return 0;
}

int file_allocate(struct file *file, uint64_t offset, uint64_t size)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX)
		return -EFBIG;
	if (file->export)
		return -EOPNOTSUPP;
	if (fallocate(file->fd, 0, offset, size) < 0)
		return -errno;
	file_has_grown(file, end);
	return 0;
}

bool file_is_hole(const struct file *file, uint64_t offset, uint64_t *length)
{
	uint64_t size = __atomic_load_n(&file->size, __ATOMIC_RELAXED);
	off_t next;

	*length = size - offset;
	if (file->export)
		return nbd_is_zero(file->export, offset, *length, length);
	next = lseek(file->fd, offset, SEEK_DATA);
	if (next < 0)
		return errno == ENXIO; /* a hole up to the end */
	if ((uint64_t)next > offset) {
		if ((uint64_t)next - offset < *length)
			*length = next - offset;
		return true;
	}
	next = lseek(file->fd, offset, SEEK_HOLE);
	if (next > 0 && (uint64_t)next > offset && (uint64_t)next - offset < *length)
		*length = next - offset;
	return false;
}

uint64_t file_space(const struct file *file)
{
	struct stat status;

	return fstat(file->fd, &status) < 0 ? UINT64_MAX : (uint64_t)status.st_blocks * 512;
}
