/*
 * A helper whose root directory is a folder, owned by whom it serves: what it can reach with the calls that it has. By
 * its root directory, and by landlock alone, as on hosts that allow no namespaces.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "helpers.h"
#include "sandbox/helper.h"

enum { HOST_FILE, OUTSIDE, UP, LINK_OUT, INSIDE, MAKE, MOVE, UNSHARE, PROC, TRIES };

static const char *const about[TRIES] = {
	"a file of the host's",	    "a file beside the folder", "far up",    "a link that leads out",
	"a file in the folder",	    "a new file there",		"moving it", "a namespace",
	"what the kernel tells of processes",
};

static const struct allowed_call calls[] = {
	CALL(openat), CALL(newfstatat), CALL(renameat2), CALL(fchdir), CALL(unshare), CALL(mount),
};

static char outside[128]; /* by the host's path */

static int try_open(const char *path, int flags)
{
	int fd = openat(AT_FDCWD, path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* In the folder, which is the working directory. */
static void try_all(int results[TRIES])
{
	results[HOST_FILE] = try_open("/etc/passwd", O_RDONLY);
	results[OUTSIDE] = try_open(outside, O_RDONLY);
	results[UP] = try_open("../../../../../../../../etc/passwd", O_RDONLY);
	results[LINK_OUT] = try_open("out", O_RDONLY);
	results[INSIDE] = try_open("sub/file", O_RDONLY);
	results[MAKE] = try_open("new", O_WRONLY | O_CREAT | O_EXCL);
	results[MOVE] = syscall(SYS_renameat2, AT_FDCWD, "sub/moved", AT_FDCWD, "moved", 0) < 0 ? -errno : 0;
	results[UNSHARE] = unshare(CLONE_NEWNS) < 0 ? -errno : 0;
	results[PROC] = try_open("/proc/self/maps", O_RDONLY);
}

static void serve(int socket, void *context)
{
	int results[TRIES];

	(void)context;
	if (syscall(SYS_fchdir, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return;
	try_all(results);
	helper_send(socket, results, sizeof(results), NULL, 0);
}

static void judge(const char *how, const int results[TRIES], bool is_readonly)
{
	char text[128];
	unsigned i;

	for (i = 0; i < TRIES; i++) {
		snprintf(text, sizeof(text), "%s%s: %s", how, is_readonly ? ", read-only" : "", about[i]);
		if (i == INSIDE || ((i == MAKE || i == MOVE) && !is_readonly))
			expect(text, results[i], 0);
		else
			expect(text, results[i] < 0, 1);
	}
}

static void make_files(const char *folder)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "rm -rf %s/in && mkdir -p %s/in/sub && cd %s && echo x >outside && echo x >in/sub/file && "
		 "echo x >in/sub/moved && ln -s ../outside in/out",
		 folder, folder, folder);
	if (system(command) != 0)
		abort();
	snprintf(outside, sizeof(outside), "%s/outside", folder);
}

static void test_helper(const char *folder, bool is_readonly)
{
	struct helper_config config = {.name = "test",
				       .calls = calls,
				       .call_count = sizeof(calls) / sizeof(calls[0]),
				       .root_is_readonly = is_readonly,
				       .serve = serve};
	char root[160];
	int results[TRIES], socket;
	struct error error;
	unsigned none = 0;

	make_files(folder);
	snprintf(root, sizeof(root), "%s/in", folder);
	config.root = root;
	socket = helper_start(&config, &error);
	if (socket < 0) {
		printf("FAIL helper: %s\n", error.message);
		failures++;
		return;
	}
	expect("the helper answers", helper_receive(socket, results, sizeof(results), NULL, &none), 0);
	judge("helper", results, is_readonly);
	close(socket);
}

static void test_landlock(const char *folder, bool is_readonly)
{
	int ends[2], results[TRIES], result = -EIO;
	char root[160];

	make_files(folder);
	snprintf(root, sizeof(root), "%s/in", folder);
	if (pipe(ends) < 0)
		abort();
	if (fork() == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		result = chdir(root) < 0 ? -errno : sandbox_limit_paths(root, is_readonly);
		if (result == 0)
			try_all(results);
		results[UNSHARE] = -EPERM; /* the filter's matter */
		_exit(write(ends[1], &result, sizeof(result)) < 0 ||
		      write(ends[1], results, sizeof(results)) < 0);
	}
	if (read(ends[0], &result, sizeof(result)) != sizeof(result))
		result = -EIO;
	if (result < 0)
		printf("SKIP landlock: %s\n", strerror(-result));
	else if (read(ends[0], results, sizeof(results)) == sizeof(results))
		judge("landlock", results, is_readonly);
	else
		failures++;
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	char folder[] = "/tmp/kvik-folder-XXXXXX", command[64];

	if (!mkdtemp(folder))
		return 1;
	if (!SANDBOX_IS_RELAXED) {
		test_helper(folder, false);
		test_helper(folder, true);
	}
	test_landlock(folder, false);
	test_landlock(folder, true);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command) != 0 || failures;
}
