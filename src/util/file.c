#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FIRST_BUFFER_BYTES 65536

/* A descriptor of what is no folder; where it is a regular file its size, at most `limit`, is in `*size`, else 0. */
static int open_bounded(const char *path, const char *what, size_t limit, bool *is_regular, size_t *size,
			struct error *error)
{
	struct stat status;
	int fd, result;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(error, errno, "cannot open the %s '%s'", what, path);
	if (fstat(fd, &status) < 0) {
		result = error_set_errno(error, errno, "cannot examine the %s '%s'", what, path);
		goto fail;
	}
	if (S_ISDIR(status.st_mode)) {
		result = error_set(error, EISDIR, "the %s '%s' is a directory, not a file", what,
				   path);
		goto fail;
	}
	*is_regular = S_ISREG(status.st_mode) && status.st_size >= 0;
	*size = *is_regular ? (size_t)status.st_size : 0;
	if (*size > limit) {
		result = error_set(error, EFBIG, "the %s '%s' is too big: %zu bytes, at most %zu fit", what,
				   path, *size, limit);
		goto fail;
	}
	return fd;

fail:
	close(fd);
	return result;
}

static int error_empty(struct error *error, const char *what, const char *path)
{
	return error_set(error, EINVAL, "the %s '%s' is empty", what, path);
}

/* All that comes out of a descriptor, of which `expected` bytes are known to. */
static int read_all(int fd, const char *path, const char *what, size_t limit, size_t expected, uint8_t **data,
		    size_t *size, struct error *error)
{
	/* One more byte, so that the end is seen without growing. */
	size_t used = 0, capacity = expected ? expected + 1 : FIRST_BUFFER_BYTES;
	uint8_t *buffer = NULL, *larger;
	ssize_t count;
	int result;

	buffer = malloc(capacity);
	if (!buffer)
		return error_set_errno(error, ENOMEM, "cannot read the %s '%s'", what, path);
	for (;;) {
		if (used == capacity) {
			capacity *= 2;
			larger = realloc(buffer, capacity);
			if (!larger) {
				result = error_set_errno(error, ENOMEM, "cannot read the %s '%s'",
							 what, path);
				goto out;
			}
			buffer = larger;
		}
		count = read(fd, buffer + used, capacity - used);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0) {
			result = error_set_errno(error, errno, "cannot read the %s '%s'", what,
						 path);
			goto out;
		}
		if (count == 0)
			break;
		used += count;
		if (used > limit) {
			result = error_set(error, EFBIG,
					   "the %s '%s' is too big: at most %zu bytes fit", what,
					   path, limit);
			goto out;
		}
	}
	if (used == 0) {
		result = error_empty(error, what, path);
		goto out;
	}
	*data = buffer;
	*size = used;
	buffer = NULL;
	result = 0;
out:
	free(buffer);
	return result;
}

int file_read(const char *path, const char *what, size_t limit, uint8_t **data, size_t *size,
	      struct error *error)
{
	size_t expected;
	bool is_regular;
	int fd = open_bounded(path, what, limit, &is_regular, &expected, error);
	int result;

	if (fd < 0)
		return fd;
	result = read_all(fd, path, what, limit, expected, data, size, error);
	close(fd);
	return result;
}

int file_open_or_read(const char *path, const char *what, size_t limit, int *fd, uint8_t **data, size_t *size,
		      struct error *error)
{
	bool is_regular;
	int opened = open_bounded(path, what, limit, &is_regular, size, error);
	int result;

	*fd = -1;
	*data = NULL;
	if (opened < 0)
		return opened;
	if (is_regular && *size) {
		*fd = opened;
		return 0;
	}
	result = is_regular ? error_empty(error, what, path)
			    : read_all(opened, path, what, limit, 0, data, size, error);
	close(opened);
	return result;
}

ssize_t file_read_part(int fd, void *bytes, size_t size, uint64_t offset)
{
	size_t done = 0;
	ssize_t count;

	while (done < size) {
		struct iovec vector = {(uint8_t *)bytes + done, size - done};

		count = preadv2(fd, &vector, 1, offset + done, 0);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			break;
		done += count;
	}
	return done;
}

int file_write_all_at(int fd, const void *bytes, size_t size, uint64_t offset)
{
	size_t done = 0;
	ssize_t count;

	while (done < size) {
		struct iovec vector = {(uint8_t *)bytes + done, size - done};

		count = pwritev2(fd, &vector, 1, offset + done, 0);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count < 0 ? -errno : -EIO;
		done += count;
	}
	return 0;
}

int file_write_all(int fd, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	ssize_t written;

	while (size) {
		written = write(fd, at, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		at += written;
		size -= written;
	}
	return 0;
}
