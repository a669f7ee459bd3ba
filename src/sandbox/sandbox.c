/* The steps of the confinement in their order, and what a host allows of them. */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/internal.h"

static void leave_out(struct sandbox_report *report)
{
	unsigned layer;

	for (layer = 0; layer < SANDBOX_LAYERS; layer++)
		sandbox_note(report, layer, false, "left out: this build has a sanitizer");
}

/* One folder alone: by what the kernel looks up, too. */
static void limit_to_root(const struct sandbox_config *config, struct sandbox_report *report)
{
	bool is_root = report->layers[SANDBOX_EMPTY_ROOT].holds;
	int result = sandbox_limit_paths(is_root ? "/" : config->root, config->root_is_readonly);

	if (!is_root && result == 0)
		sandbox_note(report, SANDBOX_EMPTY_ROOT, true, "a folder, by landlock alone");
}

int sandbox_enter(const struct sandbox_config *config, struct sandbox_report *report,
		  struct error *error)
{
	int result;

	/* The C library reads the time zone's file before its first gmtime_r, say. */
	tzset();
	memset(report, 0, sizeof(*report));
	if (SANDBOX_IS_RELAXED) {
		leave_out(report);
		return 0;
	}
	sandbox_take_limits(config, report);
	sandbox_take_namespaces(config, report);
	sandbox_drop_capabilities(report);
	result = sandbox_forbid_new_privileges(report, error);
	if (result < 0)
		return result;
	if (config->root)
		limit_to_root(config, report);
	sandbox_forbid_dumps(report);
	return 0;
}

int sandbox_lock(const struct sandbox_config *config, struct sandbox_report *report,
		 struct error *error)
{
	if (SANDBOX_IS_RELAXED)
		return 0;
	return sandbox_install_filter(config, report, error);
}

int sandbox_probe(const struct sandbox_config *config, struct sandbox_report *report)
{
	struct error error;
	ssize_t length;
	pid_t child;
	int ends[2];

	memset(report, 0, sizeof(*report));
	if (pipe(ends) < 0)
		return -errno;
	child = fork();
	if (child < 0) {
		int result = -errno;

		close(ends[0]);
		close(ends[1]);
		return result;
	}
	if (child == 0) {
		if (sandbox_enter(config, report, &error) == 0)
			sandbox_lock(config, report, &error);
		length = write(ends[1], report, sizeof(*report));
		_exit(length == sizeof(*report) ? 0 : 1);
	}
	close(ends[1]);
	length = read(ends[0], report, sizeof(*report));
	close(ends[0]);
	waitpid(child, NULL, 0);
	return length == sizeof(*report) ? 0 : -EIO;
}
