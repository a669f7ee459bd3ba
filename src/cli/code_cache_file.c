#include "cli/code_cache_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/helper.h"
#include "util/log.h"

#define PIPE_BYTES (1 << 20)

/* The keeper, as its process has it. */
struct keeper_server {
	const struct kvm_backend *backend;
	struct keeper *keeper;
	uint64_t size;
	const char *name; /* in the directory */
	int directory, requests, given;
};

/* What it does with its directory, by openat and its like, and what it is asked by the pipe. */
static const struct allowed_call calls[] = {
	CALL(read),
	CALL(write),
	CALL(poll),
	CALL(openat),
	CALL(unlinkat),
	CALL(renameat),
	CALL(flock),
	CALL(fstat),
	CALL_IF(newfstatat, "of a descriptor (AT_EMPTY_PATH)", IS(3, AT_EMPTY_PATH)),
	CALLS_FOR_MEMORY,
};

/* It writes the file when the machine has gone, and keeps nobody waiting who reads kvik's errors. */
static int prepare(void *context)
{
	struct keeper_server *server = context;

	server->directory = helper_take_root(server->directory, O_RDONLY);
	if (prctl(PR_SET_PDEATHSIG, 0) < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		return -errno;
	return server->backend->keeper_create(server->size, &server->keeper);
}

static void serve(int socket, void *context)
{
	const struct keeper_server *server = context;

	close(socket);
	server->backend->keeper_serve(server->keeper, server->requests, server->directory, server->name,
				      server->given);
}

/* $XDG_CACHE_HOME/kvik/code, made where it is missing; the file's name is the last part of `path`. */
static int default_path(char *path, size_t size, struct error *error)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int length;

	if (cache && cache[0] == '/')
		length = snprintf(path, size, "%s/", cache);
	else if (home && home[0] == '/')
		length = snprintf(path, size, "%s/.cache/", home);
	else
		return error_set(error, ENOENT, "there is no default place without HOME: name a file");
	if (length < 0 || (size_t)length + sizeof("kvik/code/translations") > size)
		return error_set(error, ENAMETOOLONG, "'%s' is too long a name", cache ? cache : home);
	mkdir(path, 0700);
	strcpy(path + length, "kvik");
	mkdir(path, 0700);
	strcat(path, "/code");
	mkdir(path, 0700);
	strcat(path, "/translations");
	return 0;
}

/* Nobody else may write there, or could have put there what we are to execute. */
static int check_owner(int fd, const char *path, bool is_directory, struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set_errno(error, errno, "cannot look at '%s'", path);
	if (is_directory ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode))
		return error_set(error, EINVAL, "'%s' is not a %s", path, is_directory ? "directory" : "file");
	if (status.st_uid != geteuid())
		return error_set(error, EPERM, "'%s' belongs to another user (%u)", path, status.st_uid);
	if (status.st_mode & 077)
		return error_set(error, EPERM, "'%s' is open to other users: use chmod %s", path,
				 is_directory ? "700" : "600");
	return 0;
}

static int open_directory(const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), result;

	if (fd < 0)
		return error_set_errno(error, errno, "cannot open the directory '%s'", path);
	result = check_owner(fd, path, true, error);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* The file, or -ENOENT: there is none yet. */
static int open_file(int directory, const char *name, const char *path, struct error *error)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), result;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return error_set_errno(error, errno, "cannot open '%s'", path);
	result = check_owner(fd, path, false, error);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

static int start_keeper(struct keeper_server *server, const char *directory, struct kvm_options *options,
			struct error *error)
{
	const int kept[] = { server->directory, 0, server->given };
	int ends[2], list[3], socket;
	const struct helper_config helper = {
		.name = "kvik-keeper",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = list,
		.kept_count = server->given < 0 ? 2 : 3,
		.root = directory,
		.prepare = prepare,
		.serve = serve,
		.context = server,
	};

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(error, errno, "cannot make a pipe");
	/* Larger where that is allowed: what does not fit is lost. */
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	memcpy(list, kept, sizeof(list));
	list[1] = server->requests = ends[0];
	socket = helper_start(&helper, error);
	close(ends[0]);
	if (socket < 0) {
		close(ends[1]);
		return socket;
	}
	close(socket);
	options->kept_requests_fd = ends[1];
	return 0;
}

static int open_at(const char *path, uint64_t size, const struct kvm_backend *backend, struct kvm_options *options,
		   struct error *error)
{
	struct keeper_server server = { .backend = backend, .size = size, .given = -1 };
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];
	int result;

	server.name = slash ? slash + 1 : path;
	if (snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".") >=
	    (int)sizeof(directory) || strlen(server.name) > NAME_MAX - 8 || !server.name[0])
		return error_set(error, EINVAL, "'%s' is no file's name", path);
	if (!directory[0])
		strcpy(directory, "/");
	server.directory = open_directory(directory, error);
	if (server.directory < 0)
		return server.directory;
	result = open_file(server.directory, server.name, path, error);
	if (result >= 0 || result == -ENOENT) {
		server.given = result;
		options->kept_code_fd = result > 0 ? result : 0;
		if (server.given < 0)
			server.given = -1;
		result = start_keeper(&server, directory, options, error);
	}
	close(server.directory);
	return result;
}

int code_cache_file_open(const struct code_cache_file_option *option, const struct kvm_backend *backend,
			 struct kvm_options *options, struct error *error)
{
	char path[PATH_MAX];
	int result;

	if (!backend->keeper_create) {
		log_info("--code-cache-file: the backend %s translates nothing", backend->name);
		return 0;
	}
	if (!strcmp(option->path, "default"))
		result = default_path(path, sizeof(path), error);
	else if (strlen(option->path) >= sizeof(path))
		result = error_set(error, ENAMETOOLONG, "'%s' is too long a name", option->path);
	else
		result = strcpy(path, option->path) != path;
	if (result == 0)
		result = open_at(path, option->size ? option->size : CODE_CACHE_FILE_DEFAULT, backend, options, error);
	if (result < 0)
		error_prefix(error, "--code-cache-file");
	if (result != -ENOTSUP)
		return result;
	/* The machine runs without: so does it where nothing is translated. */
	log_warning("%s", error->message);
	if (options->kept_code_fd)
		close(options->kept_code_fd);
	options->kept_code_fd = options->kept_requests_fd = 0;
	return 0;
}
