#include "cli/qemu/memory_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"

#define PREFIX "memory-backend-"

/* Where pages lie on the host is the host's matter. */
#define COMMON                                                                                                         \
	{"qom-type", PROPERTY_TEXT}, {"id", PROPERTY_TEXT}, {"size", PROPERTY_SIZE}, {"share", PROPERTY_BOOL},         \
		{"prealloc", PROPERTY_BOOL}, {"prealloc-threads", PROPERTY_NUMBER}, {"merge", PROPERTY_BOOL},          \
		{"dump", PROPERTY_BOOL}, {"reserve", PROPERTY_BOOL}, {"policy", PROPERTY_TEXT, "default preferred"},   \
		{"host-nodes", PROPERTY_TEXT, NULL, true},                                                             \
		{"x-use-canonical-path-for-ramblock-id", PROPERTY_BOOL}

static const struct property ram_properties[] = {COMMON, {NULL}};
static const struct property memfd_properties[] = {
	COMMON, {"seal", PROPERTY_BOOL}, {"hugetlb", PROPERTY_BOOL, "off"}, {NULL}};
static const struct property file_properties[] = {
	COMMON,
	{"mem-path", PROPERTY_TEXT},
	{"discard-data", PROPERTY_BOOL},
	{"align", PROPERTY_SIZE},
	{"pmem", PROPERTY_BOOL, "off"},
	{"readonly", PROPERTY_BOOL, "off"},
	{NULL},
};

static const char *kind_of_type(const char *type)
{
	return type && strncmp(type, PREFIX, strlen(PREFIX)) == 0 ? type + strlen(PREFIX) : "";
}

static const char *kind_of(const json_t *object)
{
	return kind_of_type(keyval_text(object, "qom-type"));
}

bool memory_backend_is_file(const json_t *object)
{
	return strcmp(kind_of(object), "file") == 0;
}

const struct property *memory_backend_properties(const char *type)
{
	const char *kind = kind_of_type(type);

	return strcmp(kind, "ram") == 0	    ? ram_properties
	       : strcmp(kind, "memfd") == 0 ? memfd_properties
	       : strcmp(kind, "file") == 0  ? file_properties
					    : NULL;
}

static const struct property *properties_of(const json_t *object)
{
	return memory_backend_properties(keyval_text(object, "qom-type"));
}

bool memory_backend_is(const json_t *object)
{
	return properties_of(object);
}

bool memory_backend_is_shared(const json_t *object)
{
	const json_t *share = json_object_get(object, "share");

	return share ? json_is_true(share) : strcmp(kind_of(object), "memfd") == 0;
}

bool memory_backend_is_preallocated(const json_t *object)
{
	return json_is_true(json_object_get(object, "prealloc"));
}

int memory_backend_check(json_t *object, struct error *error)
{
	uint64_t size = 0;

	if (keyval_check(object, properties_of(object), error) < 0 || keyval_size(object, "size", 1, &size, error) < 0) {
		error_prefix(error, "-object %.60s", keyval_text(object, "qom-type"));
		return -EINVAL;
	}
	if (memory_backend_is_file(object) && !keyval_text(object, "mem-path"))
		return error_set(error, EINVAL, "-object memory-backend-file: mem-path= is needed");
	return 0;
}

/* A file of its own in a folder, which nobody else sees. */
static int open_in_folder(const char *path, uint64_t size_bytes, struct error *error)
{
	struct statfs system;
	int fd, result;

	if (statfs(path, &system) == 0 && system.f_type == HUGETLBFS_MAGIC)
		return error_set(error, ENOTSUP,
				 "mem-path=%.200s: memory is not taken from huge pages' file systems: leave mem-path out "
				 "(memory-backend-memfd), transparent huge pages are used anyhow",
				 path);
	fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(error, errno, "mem-path=%.200s: cannot make a file there", path);
	if (ftruncate(fd, size_bytes) == 0)
		return fd;
	result = error_set_errno(error, errno, "mem-path=%.200s: cannot make a file of %llu MiB there", path,
				 (unsigned long long)size_bytes >> 20);
	close(fd);
	return result;
}

/* A file that is empty, or was not there, gets its size; one that has another size is not changed. */
static int check_size(int fd, const char *path, uint64_t there, uint64_t size_bytes, struct error *error)
{
	if (there >= size_bytes)
		return 0;
	if (there)
		return error_set(error, EINVAL,
				 "mem-path=%.200s: the file has 0x%llx bytes, which is less than the memory's 0x%llx: make it "
				 "that large, or empty",
				 path, (unsigned long long)there, (unsigned long long)size_bytes);
	if (ftruncate(fd, size_bytes) < 0)
		return error_set_errno(error, errno, "mem-path=%.200s: cannot give it %llu MiB", path,
				       (unsigned long long)size_bytes >> 20);
	return 0;
}

/* What the guest has for itself of a file: its contents, without its holes. */
static int copy(int fd, uint64_t size_bytes, struct error *error)
{
	int memory = memfd_create("kvik-ram", MFD_CLOEXEC), code = 0;
	off_t at = 0, end;
	ssize_t done;

	if (memory < 0 || ftruncate(memory, size_bytes) < 0)
		code = errno;
	while (!code && (uint64_t)at < size_bytes && (at = lseek(fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < size_bytes) {
		end = lseek(fd, at, SEEK_HOLE);
		if ((uint64_t)end > size_bytes)
			end = size_bytes;
		if (lseek(memory, at, SEEK_SET) < 0)
			code = errno;
		while (!code && at < end) {
			done = sendfile(memory, fd, &at, end - at);
			if (done <= 0)
				code = done < 0 ? errno : EIO; /* cut off meanwhile */
		}
	}
	if (!code)
		return memory;
	if (memory >= 0)
		close(memory);
	return error_set_errno(error, code, "cannot copy it into the guest's memory");
}

static int open_file(const json_t *object, uint64_t size_bytes, struct error *error)
{
	const char *path = keyval_text(object, "mem-path");
	bool is_shared = memory_backend_is_shared(object);
	struct stat status;
	int fd, result;

	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		return open_in_folder(path, size_bytes, error);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (fd < 0 || fstat(fd, &status) < 0) {
		result = error_set_errno(error, errno, "mem-path=%.200s", path);
		goto fail;
	}
	if (!S_ISREG(status.st_mode)) {
		result = error_set(error, ENOTSUP, "mem-path=%.200s: use a file or a folder", path);
		goto fail;
	}
	result = check_size(fd, path, status.st_size, size_bytes, error);
	if (result < 0)
		goto fail;
	if (is_shared)
		return fd;
	result = copy(fd, size_bytes, error);
	if (result < 0)
		error_prefix(error, "mem-path=%.200s", path);
fail:
	if (fd >= 0)
		close(fd);
	return result;
}

int memory_backend_open(const json_t *object, uint64_t size_bytes, struct ram_backing *backing, struct error *error)
{
	int fd;

	backing->is_preallocated = memory_backend_is_preallocated(object);
	if (!memory_backend_is_file(object))
		return 0;
	fd = open_file(object, size_bytes, error);
	if (fd < 0)
		return fd;
	backing->fd = fd;
	backing->has_file = true;
	backing->is_discarded = json_is_true(json_object_get(object, "discard-data"));
	return 0;
}
