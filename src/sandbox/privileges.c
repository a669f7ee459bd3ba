/*
 * Privileges, dropped for good: capabilities(7), no_new_privs, limits, and not being dumpable.
 *
 * Capabilities and no_new_privs belong to a thread, and later threads inherit them, so all of this
 * is for a process with one thread.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/internal.h"

/* Some hundred for the largest machine. */
#define MAX_DESCRIPTORS 4096

static int lower_limit(int which, rlim_t value)
{
	struct rlimit limit;

	if (getrlimit(which, &limit) < 0)
		return -errno;
	if (limit.rlim_max > value)
		limit.rlim_max = value;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return setrlimit(which, &limit) < 0 ? -errno : 0;
}

void sandbox_take_limits(const struct sandbox_config *config, struct sandbox_report *report)
{
	int result = lower_limit(RLIMIT_CORE, 0);

	if (result == 0)
		result = lower_limit(RLIMIT_NOFILE,
				     config->descriptors ? config->descriptors : MAX_DESCRIPTORS);
	if (result == 0)
		result = lower_limit(RLIMIT_MSGQUEUE, 0);
	sandbox_note(report, SANDBOX_LIMITS, result == 0, "%s",
		     result == 0 ? "no core dumps, few descriptors" : strerror(-result));
}

/* Being root, or executing a file as root, shall give none: only with CAP_SETPCAP. */
static void give_up_root(void)
{
	int capability;

	prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
					 SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
					 SECBIT_NO_CAP_AMBIENT_RAISE |
					 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
	/* The kernel may have more of them than its headers did; it refuses what it does not have. */
	for (capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
		;
}

void sandbox_drop_capabilities(struct sandbox_report *report)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
	bool holds;

	give_up_root();
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	holds = syscall(SYS_capset, &header, none) == 0;
	sandbox_note(report, SANDBOX_CAPABILITIES, holds, "%s",
		     holds ? "none left" : strerror(errno));
}

int sandbox_forbid_new_privileges(struct sandbox_report *report, struct error *error)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		int code = errno;

		sandbox_note(report, SANDBOX_NO_NEW_PRIVS, false, "%s", strerror(code));
		return error_set_errno(error, code, "cannot confine kvik (no_new_privs)");
	}
	sandbox_note(report, SANDBOX_NO_NEW_PRIVS, true, "set");
	return 0;
}

void sandbox_forbid_dumps(struct sandbox_report *report)
{
	bool holds = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;

	sandbox_note(report, SANDBOX_NOT_DUMPABLE, holds, "%s",
		     holds ? "nobody else's to read or trace" : strerror(errno));
}
