#include "cli/qemu/fdsets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"

#define PREFIX "/dev/fdset/"
#define SCHEME "file:"

static int put(struct fdsets *fdsets, unsigned set, int fd, json_t *opaque, struct error *error)
{
	if (fdsets->count == FDSETS_MAX)
		return error_set(error, ENOSPC, "at most %u descriptors", FDSETS_MAX);
	fdsets->list[fdsets->count].set = set;
	fdsets->list[fdsets->count].opaque = opaque ? json_incref(opaque) : NULL;
	fdsets->list[fdsets->count++].fd = fd;
	return 0;
}

static void drop(struct fdsets *fdsets, unsigned i)
{
	close(fdsets->list[i].fd);
	json_decref(fdsets->list[i].opaque);
	memmove(fdsets->list + i, fdsets->list + i + 1, (--fdsets->count - i) * sizeof(fdsets->list[0]));
}

int fdsets_add(struct fdsets *fdsets, const json_t *options, struct error *error)
{
	uint64_t set = UINT64_MAX, fd = UINT64_MAX;
	int copy;

	if (keyval_number(options, "set", INT32_MAX, &set, error) < 0 ||
	    keyval_number(options, "fd", INT32_MAX, &fd, error) < 0)
		return -EINVAL;
	if (set == UINT64_MAX || fd == UINT64_MAX)
		return error_set(error, EINVAL, "set=N and fd=FD are needed");
	if (fd <= STDERR_FILENO)
		return error_set(error, EINVAL, "fd=%d is a standard stream", (int)fd);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return error_set_errno(error, errno, "descriptor %d", (int)fd);
	if (put(fdsets, set, copy, json_object_get(options, "opaque"), error) == 0)
		return 0;
	close(copy);
	return -ENOSPC;
}

/* The lowest number that no set has. */
static unsigned free_set(const struct fdsets *fdsets)
{
	unsigned set = 0, i = 0;

	while (i < fdsets->count)
		if (fdsets->list[i++].set == set) {
			set++;
			i = 0;
		}
	return set;
}

json_t *fdsets_add_passed(struct fdsets *fdsets, const json_t *arguments, int fd, struct error *error)
{
	const json_t *wanted = json_object_get(arguments, "fdset-id");
	json_int_t set = wanted ? json_integer_value(wanted) : free_set(fdsets);

	if (set < 0 || set > INT32_MAX)
		error_set(error, EINVAL, "Parameter 'fdset-id' expects a non-negative value");
	else if (put(fdsets, set, fd, json_object_get(arguments, "opaque"), error) == 0)
		return json_pack("{s:I,s:i}", "fdset-id", set, "fd", fd);
	close(fd);
	return NULL;
}

int fdsets_remove(struct fdsets *fdsets, const json_t *arguments, struct error *error)
{
	json_int_t set = json_integer_value(json_object_get(arguments, "fdset-id"));
	const json_t *one = json_object_get(arguments, "fd");
	bool is_found = false;
	unsigned i = 0;

	while (i < fdsets->count) {
		if (fdsets->list[i].set == set && (!one || fdsets->list[i].fd == json_integer_value(one))) {
			drop(fdsets, i);
			is_found = true;
		} else {
			i++;
		}
	}
	if (is_found)
		return 0;
	return one ? error_set(error, ENOENT, "File descriptor named 'fdset-id:%lld, fd:%lld' not found", (long long)set,
			       (long long)json_integer_value(one))
		   : error_set(error, ENOENT, "File descriptor named 'fdset-id:%lld' not found", (long long)set);
}

static json_t *find_set(json_t *sets, unsigned set)
{
	json_t *one;
	size_t i;

	json_array_foreach(sets, i, one)
		if (json_integer_value(json_object_get(one, "fdset-id")) == set)
			return one;
	one = json_pack("{s:I,s:[]}", "fdset-id", (json_int_t)set, "fds");
	json_array_append_new(sets, one);
	return one;
}

json_t *fdsets_describe(const struct fdsets *fdsets)
{
	json_t *sets = json_array(), *one;
	unsigned i;

	for (i = 0; i < fdsets->count; i++) {
		one = json_pack("{s:i}", "fd", fdsets->list[i].fd);
		if (fdsets->list[i].opaque)
			json_object_set(one, "opaque", fdsets->list[i].opaque);
		json_array_append_new(json_object_get(find_set(sets, fdsets->list[i].set), "fds"), one);
	}
	return sets;
}

void fdsets_close(struct fdsets *fdsets)
{
	while (fdsets->count)
		drop(fdsets, fdsets->count - 1);
}

bool fdsets_are_named(const char *path)
{
	return strncmp(path, PREFIX, strlen(PREFIX)) == 0;
}

int fdsets_open(const struct fdsets *fdsets, const char *path, int flags, struct error *error)
{
	unsigned long set;
	unsigned i;
	char *end;
	int fd;

	if (!fdsets_are_named(path))
		return -ENOENT;
	set = strtoul(path + strlen(PREFIX), &end, 10);
	for (i = 0; i < fdsets->count && !*end; i++) {
		if (fdsets->list[i].set != set ||
		    (fcntl(fdsets->list[i].fd, F_GETFL) & O_ACCMODE) != (flags & O_ACCMODE))
			continue;
		fd = fcntl(fdsets->list[i].fd, F_DUPFD_CLOEXEC, 3);
		return fd >= 0 ? fd : error_set_errno(error, errno, "'%.60s'", path);
	}
	return error_set(error, EACCES, "'%.60s': no descriptor of that set is open for that", path);
}

int fdsets_open_named(const struct fdsets *fdsets, enum monitor_file kind, const char *name, struct error *error)
{
	bool is_uri = (kind == MONITOR_URI_OUT || kind == MONITOR_URI_IN) && strncmp(name, SCHEME, strlen(SCHEME)) == 0;
	const char *path = is_uri ? name + strlen(SCHEME) : name;
	int fd;

	switch (kind) {
	case MONITOR_FILE_READ:
	case MONITOR_URI_IN: return fdsets_open(fdsets, path, O_RDONLY, error);
	case MONITOR_FILE_WRITE:
	case MONITOR_FILE_APPEND:
	case MONITOR_URI_OUT: return fdsets_open(fdsets, path, O_WRONLY, error);
	case MONITOR_FILE_MAKE: return fdsets_open(fdsets, path, O_RDWR, error);
	case MONITOR_FILE_CHANGE:
		fd = fdsets_open(fdsets, path, O_RDWR, error);
		return fd == -EACCES ? fdsets_open(fdsets, path, O_RDONLY, error) : fd;
	default: return -ENOENT;
	}
}
