#include "sandbox/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/helper.h"

/* Nothing but this comes in, and nothing but an int, 0 with a descriptor or -errno, goes out. */
struct broker_request {
	uint32_t grant;
	uint32_t access;
	char path[BROKER_PATH_BYTES]; /* zeros behind its end */
};

struct grant {
	int directory; /* O_PATH */
	unsigned access;
	char name[NAME_MAX + 1]; /* in the directory; "": all below it */
};

struct broker {
	struct grant grants[BROKER_GRANTS];
	unsigned count;
};

static const struct call calls[] = {
	CALL(openat2),
	CALL(fstat),
	CALL_IF(newfstatat, "of a descriptor (AT_EMPTY_PATH)", IS(3, AT_EMPTY_PATH)),
};

/* A request that kvik would make. Others are an attack. */
static bool is_well_formed(const struct broker_request *request)
{
	size_t length = strnlen(request->path, sizeof(request->path));

	for (; length < sizeof(request->path); length++)
		if (request->path[length])
			return false;
	return !request->path[sizeof(request->path) - 1] &&
	       !(request->access & ~(BROKER_READ | BROKER_WRITE | BROKER_CREATE));
}

static int open_flags(unsigned access)
{
	switch (access) {
	case BROKER_READ: return O_RDONLY;
	case BROKER_WRITE: return O_WRONLY;
	case BROKER_READ | BROKER_WRITE: return O_RDWR;
	case BROKER_WRITE | BROKER_CREATE: return O_WRONLY | O_CREAT | O_TRUNC;
	case BROKER_READ | BROKER_WRITE | BROKER_CREATE: return O_RDWR | O_CREAT | O_TRUNC;
	default: return -EINVAL;
	}
}

/* Opening a FIFO or a device may wait or do something: without waiting, and it is closed again. */
static int open_granted(const struct grant *grant, const struct broker_request *request)
{
	struct open_how how = {
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int flags = open_flags(request->access), fd;
	struct stat status;

	if (flags < 0)
		return flags;
	if (request->access & ~grant->access)
		return -EACCES;
	if (!grant->name[0] == !request->path[0])
		return -EINVAL;
	how.flags = flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	if (flags & O_CREAT)
		how.mode = 0666;
	fd = syscall(SYS_openat2, grant->directory,
		     grant->name[0] ? grant->name : request->path, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) == 0 &&
	    (S_ISREG(status.st_mode) || (grant->name[0] && S_ISBLK(status.st_mode))))
		return fd;
	close(fd);
	return -EACCES;
}

static void serve(int socket, void *context)
{
	const struct broker *broker = context;
	struct broker_request request;
	unsigned none;
	int fd;

	for (;;) {
		none = 0;
		if (helper_receive(socket, &request, sizeof(request), NULL, &none) < 0 ||
		    !is_well_formed(&request))
			return;
		fd = request.grant < broker->count
			     ? open_granted(&broker->grants[request.grant], &request)
			     : -EACCES;
		if (helper_give(socket, fd) < 0)
			return;
	}
}

/* What the user names may be a link, and is followed now. */
static int take_grant(struct grant *grant, const struct broker_grant *wanted)
{
	char *path = realpath(wanted->path, NULL), *name = NULL, *copy = NULL;
	struct stat status;
	int result = 0;

	if (!path && errno == ENOENT && (wanted->access & BROKER_CREATE)) {
		copy = strdup(wanted->path);
		name = copy ? strrchr(copy, '/') : NULL;
		if (name)
			*name++ = '\0';
		path = copy ? realpath(!name ? "." : *copy ? copy : "/", NULL) : NULL;
		if (!name)
			name = copy;
	} else if (path && stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
		name = strrchr(path, '/');
		*name++ = '\0';
	}
	if (!path || (name && (!*name || strlen(name) > NAME_MAX))) {
		result = path ? -EINVAL : -errno;
	} else {
		if (name)
			strcpy(grant->name, name);
		grant->directory = open(*path ? path : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (grant->directory < 0)
			result = -errno;
	}
	grant->access = wanted->access;
	free(path);
	free(copy);
	return result;
}

int broker_start(const struct broker_grant *grants, unsigned count, struct error *error)
{
	struct broker broker = {0};
	int kept[BROKER_GRANTS], result = 0;
	const struct helper_config config = {
		.name = "kvik-broker",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = kept,
		.kept_count = count,
		.serve = serve,
		.context = &broker,
	};

	if (count > BROKER_GRANTS)
		return error_set(error, E2BIG, "more than %d files are granted", BROKER_GRANTS);
	while (broker.count < count && result == 0) {
		struct grant *grant = &broker.grants[broker.count];

		result = take_grant(grant, &grants[broker.count]);
		if (result < 0)
			error_set_errno(error, -result, "cannot find '%s'",
					grants[broker.count].path);
		else
			kept[broker.count++] = grant->directory;
	}
	if (result == 0)
		result = helper_start(&config, error);
	while (broker.count > 0)
		close(broker.grants[--broker.count].directory);
	return result;
}

int broker_open(int broker, unsigned grant, const char *path, unsigned access)
{
	struct broker_request request = {.grant = grant, .access = access};

	if (strlen(path) >= sizeof(request.path))
		return -ENAMETOOLONG;
	memcpy(request.path, path, strlen(path));
	return helper_take(broker, &request, sizeof(request));
}
