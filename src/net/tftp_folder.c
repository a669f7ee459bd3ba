#include "net/tftp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/tftp.h"
#include "sandbox/helper.h"

/* What goes to the process; a descriptor, or why there is none, comes back. */
struct request {
	char name[TFTP_NAME_MAX + 1];
};

static const struct allowed_call calls[] = {
	CALL(openat2),
	CALL(fstat),
	CALL_IF(newfstatat, "of a descriptor (AT_EMPTY_PATH)", IS(3, AT_EMPTY_PATH)),
};

/* Links lead nowhere but into the folder, whatever the process's root directory is. A device or FIFO waits for nobody. */
static int open_in(int folder, const char *name)
{
	const struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				     .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd = syscall(SYS_openat2, folder, name, &how, sizeof(how));
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		return fd;
	close(fd);
	return -EISDIR;
}

static int take_root(void *context)
{
	int *folder = context;

	*folder = helper_take_root(*folder, O_PATH);
	return 0;
}

static void serve(int socket, void *context)
{
	const int *folder = context;
	struct request request;
	unsigned none = 0;

	while (helper_receive(socket, &request, sizeof(request), NULL, &none) == 0) {
		request.name[TFTP_NAME_MAX] = 0;
		if (helper_give(socket, open_in(*folder, request.name)) < 0)
			return;
	}
}

int tftp_folder_start(const char *path, struct error *error)
{
	char *real = realpath(path, NULL);
	int folder = real ? open(real, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	const struct helper_config helper = {
		.name = "kvik tftp",
		.calls = calls,
		.call_count = sizeof(calls) / sizeof(calls[0]),
		.kept = &folder,
		.kept_count = 1,
		.root = real,
		.root_is_readonly = true,
		.prepare = take_root,
		.serve = serve,
		.context = &folder,
	};
	int socket;

	if (folder < 0) {
		socket = error_set_errno(error, errno, "tftp: '%.200s'", path);
	} else {
		socket = helper_start(&helper, error);
		close(folder);
	}
	free(real);
	return socket;
}

int tftp_folder_open(int folder, const char *name)
{
	struct request request = {.name = ""};

	if (strlen(name) > TFTP_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(request.name, name);
	return helper_take(folder, &request, sizeof(request));
}
