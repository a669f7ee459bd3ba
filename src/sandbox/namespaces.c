/*
 * Namespaces (namespaces(7)) and the empty root directory.
 *
 * Root takes them as it is. An ordinary user first makes a user namespace and is itself in it, with
 * all privileges over the other namespaces and none over the host; many hosts forbid that, as do
 * most containers. Then root may still be able to chroot, and everybody has the filter.
 *
 * A PID namespace would not hold this process but its children, and it has none; the filter is what
 * keeps it from signalling others.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/internal.h"

#define MAIN_SPACES (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)

/* A thread that was joined a moment ago may still count: then this is EINVAL for some time. */
static int unshare_users(int flags)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	int tries;

	for (tries = 0; unshare(flags | CLONE_NEWUSER) < 0; tries++) {
		if (errno != EINVAL || tries == 50)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		result = -errno;
	close(fd);
	return result;
}

/* This user and group keep their numbers in the new user namespace; there are no others. Where
 * that fails they look like nobody's, which changes nothing but what getuid says. */
static void map_self(uid_t user, gid_t group)
{
	char map[64];

	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", user, user);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", group, group);
	write_file("/proc/self/gid_map", map);
}

/* 0 or -errno, with the layers told. */
static int enter_spaces(const struct sandbox_config *config, struct sandbox_report *report)
{
	int flags = MAIN_SPACES | (config->needs_network ? 0 : CLONE_NEWNET);
	uid_t user = getuid();
	gid_t group = getgid();
	bool has_users = false;
	int result = 0;

	if (unshare(flags) < 0) {
		has_users = true;
		result = unshare_users(flags);
		if (result == 0)
			map_self(user, group);
	}
	if (result < 0)
		sandbox_note(report, SANDBOX_NAMESPACES, false, "this host allows none: %s",
			     strerror(-result));
	else
		sandbox_note(report, SANDBOX_NAMESPACES, true, "%smounts, IPC, host name",
			     has_users ? "users, " : "");
	if (config->needs_network)
		sandbox_note(report, SANDBOX_NETWORK, false, "the guest's network uses the host's");
	else if (result < 0)
		sandbox_note(report, SANDBOX_NETWORK, false, "this host allows none: %s",
			     strerror(-result));
	else
		sandbox_note(report, SANDBOX_NETWORK, true, "empty");
	return result;
}

/* etc/resolv.conf in the current directory. Who can do without asks nobody. */
static void write_resolver(const char *text)
{
	int fd;

	if (mkdir("etc", 0755) < 0)
		return;
	fd = open("etc/resolv.conf", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return;
	/* Half of it is of use, too. */
	if (write(fd, text, strlen(text)) < 0)
		unlink("etc/resolv.conf");
	close(fd);
}

/* Into an empty file system that nothing else can reach. 0 or -errno. */
static int pivot_to_empty(const struct sandbox_config *config)
{
	static const char *const places[] = {"/tmp", "/var", "/usr", "/proc"};
	unsigned i, inodes = 1 + config->root_files + (config->resolver ? 2 : 0);
	char options[64];
	int result = -ENOENT;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	snprintf(options, sizeof(options), "size=%uk,nr_inodes=%u,mode=%s", config->resolver ? 8 : 4, inodes,
		 inodes > 1 ? "0755" : "0555");
	for (i = 0; i < sizeof(places) / sizeof(places[0]) && result < 0; i++)
		if (mount("none", places[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0 ||
		    chdir(places[i]) < 0)
			result = -errno;
		else
			result = 0;
	if (result < 0)
		return result;
	if (config->resolver)
		write_resolver(config->resolver);
	if (config->fill_root)
		config->fill_root(config->fill_context);
	/* The old root ends up on top of the new one, and is taken off (pivot_root(2)). */
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return -errno;
	/* A try: the inodes that it may have are there. */
	mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
	      NULL);
	return 0;
}

/*
 * Into a folder with all that is mounted below it. The copy of its mounts hears of unmounting by the host, and
 * tells the host nothing. 0 or -errno.
 */
static int pivot_to_folder(const struct sandbox_config *config)
{
	struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			    (config->root_is_readonly ? MOUNT_ATTR_RDONLY : 0),
	};
	int tree, result = 0;

	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	tree = open_tree(AT_FDCWD, config->root,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return -errno;
	/* Linux 5.12; without it, what is done to the folder is the process's own affair. */
	mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes));
	if (move_mount(tree, "", AT_FDCWD, config->root, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		result = -errno;
	close(tree);
	return result;
}

/* 0 or -errno. */
static int chroot_to_folder(const char *path)
{
	return chdir(path) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

/* A directory that has been removed is empty, and nothing can be made in it. 0 or -errno. */
static int chroot_to_removed(void)
{
	char path[] = "/tmp/kvik-XXXXXX";
	int result = 0;

	if (!mkdtemp(path))
		return -errno;
	if (chdir(path) < 0)
		result = -errno;
	if (rmdir(path) < 0 && result == 0)
		result = -errno;
	if (result == 0 && (chroot(".") < 0 || chdir("/") < 0))
		result = -errno;
	return result;
}

void sandbox_take_namespaces(const struct sandbox_config *config, struct sandbox_report *report)
{
	const char *how = "a file system of its own";
	int result = enter_spaces(config, report);

	if (result == 0)
		result = config->root ? pivot_to_folder(config) : pivot_to_empty(config);
	if (result < 0) {
		how = config->root ? "a folder" : "a removed directory";
		result = config->root ? chroot_to_folder(config->root) : chroot_to_removed();
	}
	sandbox_note(report, SANDBOX_EMPTY_ROOT, result == 0, "%s",
		     result == 0 ? how : strerror(-result));
}
