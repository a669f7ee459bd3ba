#include "cli/guest_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 4
#define FILE_MAX  (64u << 20)

int guest_archive_open(struct guest_archive *archive)
{
	*archive = (struct guest_archive){.fd = memfd_create("initramfs", MFD_CLOEXEC)};
	return archive->fd < 0 ? -errno : 0;
}

static void put(struct guest_archive *archive, const void *bytes, size_t size)
{
	static const char zeroes[ALIGNMENT];
	size_t padding = -size & (ALIGNMENT - 1);

	while (size && !archive->has_failed) {
		ssize_t done = write(archive->fd, bytes, size);

		if (done <= 0)
			archive->has_failed = true;
		else {
			bytes = (const char *)bytes + done;
			size -= done;
		}
	}
	if (padding && write(archive->fd, zeroes, padding) != (ssize_t)padding)
		archive->has_failed = true;
}

void guest_archive_add(struct guest_archive *archive, const char *name, mode_t mode,
		       const void *bytes, size_t size)
{
	char header[512];
	int length;

	/* Magic, inode, mode, user, group, links, time, size, device, its own device, name's size, sum. */
	length = snprintf(header, sizeof(header),
			  "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s",
			  ++archive->inode, mode, 0, 0, 1, 0, (unsigned)size, 0, 0, 0, 0,
			  (unsigned)strlen(name) + 1, 0, name);
	put(archive, header, length + 1);
	put(archive, bytes, size);
}

/*
 * The size of a module without its signature (Linux, Documentation/admin-guide/module-signing.rst). The guest's
 * kernel would verify it, which takes longer than all else that it does with a module; the file is kvik's to vouch
 * for.
 */
static size_t unsigned_size(const uint8_t *bytes, size_t size)
{
	static const char magic[] = "~Module signature appended~\n";
	const size_t length = sizeof(magic) - 1, header = 12;
	const uint8_t *end = bytes + size - length;
	size_t signature;

	if (size < length + header || memcmp(end, magic, length) != 0)
		return size;
	/* The last field of the header, big-endian. */
	signature = (size_t)end[-4] << 24 | end[-3] << 16 | end[-2] << 8 | end[-1];
	return signature < size - length - header ? size - length - header - signature : size;
}

bool guest_archive_add_file(struct guest_archive *archive, const char *name, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *bytes;

	if (fd < 0)
		return false;
	bytes = MAP_FAILED;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
	    status.st_size <= FILE_MAX)
		bytes = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return false;
	guest_archive_add(archive, name, S_IFREG | 0644, bytes, unsigned_size(bytes, status.st_size));
	munmap(bytes, status.st_size);
	return true;
}

int guest_archive_finish(struct guest_archive *archive)
{
	guest_archive_add(archive, "TRAILER!!!", 0, NULL, 0);
	return archive->has_failed ? -EIO : 0;
}
