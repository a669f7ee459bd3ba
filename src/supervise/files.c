/* The calls by which programs find and open the device. */
#include "supervise/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/node.h"
#include "supervise/call.h"
#include "supervise/handout.h"

static bool read_link(pid_t thread, const char *name, char *out)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/%s", thread, name);
	length = readlink(link, out, PATH_MAX - 1);
	if (length < 0)
		return false;
	out[length] = 0;
	return true;
}

/* Where a relative path starts, seen from the root that the program has. */
static bool directory_name(const struct call *call, int directory, char *out)
{
	char root[PATH_MAX], name[32];
	size_t length;

	if (directory == AT_FDCWD)
		snprintf(name, sizeof(name), "cwd");
	else
		snprintf(name, sizeof(name), "fd/%d", directory);
	if (!read_link(call->thread, name, out) || !read_link(call->thread, "root", root))
		return false;
	length = strlen(root);
	if (length > 1 && strncmp(out, root, length) == 0 && (!out[length] || out[length] == '/'))
		memmove(out, out + length, strlen(out + length) + 1);
	return true;
}

static bool is_device(const struct call *call, int directory, uint64_t address)
{
	char path[PATH_MAX], base[PATH_MAX] = "";

	if (call_read_string(call, path, address, sizeof(path)) < 0 || !node_may_be(path))
		return false;
	if (path[0] != '/' && !directory_name(call, directory, base))
		return false;
	return node_is(base, path);
}

static bool is_system_handle(const struct call *call, int fd)
{
	struct handout *handout = handout_get(call, fd);
	bool is_system = handout && handout->kind == ENGINE_HANDLE_SYSTEM;

	if (handout)
		handout_put(handout);
	return is_system;
}

static void open_device(const struct call *call, int flags)
{
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;
	int fd = node_check_open(flags);

	handout_follow_copies(call->supervisor);
	if (fd == 0) {
		node_choose_engine(&options);
		options.avoids_host_kvm = true;
		fd = engine_open(&options);
	}
	if (fd < 0)
		call_answer(call, fd);
	else
		handout_give(call, fd, ENGINE_HANDLE_SYSTEM, NULL, flags & O_CLOEXEC);
}

static void answer_stat(const struct call *call, uint64_t address)
{
	struct stat status;

	/* The kernel's struct stat is the C library's on x86-64. */
	node_stat(&status);
	call_answer(call, call_write(call, address, &status, sizeof(status)));
}

static void answer_statx(const struct call *call, uint64_t address)
{
	struct statx status;

	node_statx(&status);
	call_answer(call, call_write(call, address, &status, sizeof(status)));
}

/* Whether a call of the newer kind is about the device, by path or, with an empty one, by
 * descriptor. */
static bool is_at_device(const struct call *call, int flags)
{
	int directory = (int)call->arguments[0];
	uint64_t path = call->arguments[1];
	char first = 0;

	if (flags & AT_EMPTY_PATH && directory >= 0 &&
	    (!path || (call_read(call, &first, path, 1) == 0 && !first)))
		return is_system_handle(call, directory);
	return is_device(call, directory, path);
}

/* The newer calls with an open_how: its first field are the flags. */
static int flags_of(const struct call *call)
{
	uint64_t flags = 0;

	call_read(call, &flags, call->arguments[2], sizeof(flags));
	return (int)flags;
}

_Static_assert(offsetof(struct open_how, flags) == 0, "the flags come first");

bool files_serve(const struct call *call)
{
	const uint64_t *arguments = call->arguments;
	int directory = (int)arguments[0];

	switch (call->number) {
	case SYS_open:
	case SYS_creat:
		if (!is_device(call, AT_FDCWD, arguments[0]))
			return false;
		open_device(call, call->number == SYS_open ? (int)arguments[1] : O_CREAT);
		return true;
	case SYS_openat:
	case SYS_openat2:
		if (!is_device(call, directory, arguments[1]))
			return false;
		open_device(call, call->number == SYS_openat ? (int)arguments[2] : flags_of(call));
		return true;
	case SYS_access:
		if (!is_device(call, AT_FDCWD, arguments[0]))
			return false;
		call_answer(call, node_check_access((int)arguments[1]));
		return true;
	case SYS_faccessat:
	case SYS_faccessat2:
		if (!is_device(call, directory, arguments[1]))
			return false;
		call_answer(call, node_check_access((int)arguments[2]));
		return true;
	case SYS_stat:
	case SYS_lstat:
		if (!is_device(call, AT_FDCWD, arguments[0]))
			return false;
		answer_stat(call, arguments[1]);
		return true;
	case SYS_fstat:
		if (!is_system_handle(call, directory))
			return false;
		answer_stat(call, arguments[1]);
		return true;
	case SYS_newfstatat:
		if (!is_at_device(call, (int)arguments[3]))
			return false;
		answer_stat(call, arguments[2]);
		return true;
	case SYS_statx:
		if (!is_at_device(call, (int)arguments[2]))
			return false;
		answer_statx(call, arguments[4]);
		return true;
	default: return false;
	}
}
