/*
 * Landlock (Linux, Documentation/userspace-api/landlock.rst): a process forbids itself all files but those below one
 * directory. For one whose root directory is a folder it is a second lock on the same door; where a host allows
 * neither namespaces nor chroot, it is the only one.
 *
 * Before version 2 of it (Linux 5.19) a confined process could move no file between directories: there it is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/internal.h"

#define VERSION_LEAST 2
#define ACCESS_REFER  (1ull << 13) /* version 2 */
/* Version 1 has these. */
#define ACCESS_FIRST ((1ull << 13) - 1)
#define ACCESS_READ  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_NEVER                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static int add_rule(int rules, const char *path, bool is_readonly)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = is_readonly ? ACCESS_READ
					      : (ACCESS_FIRST | ACCESS_REFER) & ~ACCESS_NEVER,
		.parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC),
	};
	int result = 0;

	if (rule.parent_fd < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		result = -errno;
	close(rule.parent_fd);
	return result;
}

int sandbox_limit_paths(const char *path, bool is_readonly)
{
	struct landlock_ruleset_attr handled = {.handled_access_fs = ACCESS_FIRST | ACCESS_REFER};
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	int rules, result;

	if (version < VERSION_LEAST)
		return version < 0 ? -errno : -ENOSYS;
	rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled.handled_access_fs), 0);
	if (rules < 0)
		return -errno;
	result = add_rule(rules, path, is_readonly);
	if (result == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		result = -errno;
	close(rules);
	return result;
}
