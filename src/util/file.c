#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BUFFER_BYTES 65536

int file_read(const char *path, const char *what, size_t limit, uint8_t **data, size_t *size,
	      struct error *error)
{
	size_t used = 0, capacity = FIRST_BUFFER_BYTES;
	uint8_t *buffer = NULL, *larger;
	struct stat status;
	ssize_t count;
	int fd, result;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(error, errno, "cannot open the %s '%s'", what, path);
	if (fstat(fd, &status) < 0) {
		result = error_set_errno(error, errno, "cannot examine the %s '%s'", what, path);
		goto out;
	}
	if (S_ISDIR(status.st_mode)) {
		result = error_set(error, EISDIR, "the %s '%s' is a directory, not a file", what,
				   path);
		goto out;
	}
	if (S_ISREG(status.st_mode) && status.st_size >= 0) {
		if ((uint64_t)status.st_size > limit) {
			result = error_set(error, EFBIG,
					   "the %s '%s' is too big: %lld bytes, at most %zu fit",
					   what, path, (long long)status.st_size, limit);
			goto out;
		}
		/* One more byte, so that the end is seen without growing. */
		capacity = (size_t)status.st_size + 1;
	}
	buffer = malloc(capacity);
	if (!buffer) {
		result = error_set_errno(error, ENOMEM, "cannot read the %s '%s'", what, path);
		goto out;
	}
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
		result = error_set(error, EINVAL, "the %s '%s' is empty", what, path);
		goto out;
	}
	*data = buffer;
	*size = used;
	buffer = NULL;
	result = 0;
out:
	free(buffer);
	close(fd);
	return result;
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
