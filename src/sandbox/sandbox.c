/* The steps of the confinement in their order, and what a host allows of them. */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/internal.h"

const char *sandbox_layer_name(enum sandbox_layer layer)
{
	static const char *const names[SANDBOX_LAYERS] = {
		[SANDBOX_LIMITS] = "limits",
		[SANDBOX_NAMESPACES] = "namespaces",
		[SANDBOX_NETWORK] = "network",
		[SANDBOX_EMPTY_ROOT] = "empty root",
		[SANDBOX_CAPABILITIES] = "capabilities",
		[SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
		[SANDBOX_NOT_DUMPABLE] = "not dumpable",
		[SANDBOX_FILTER] = "system calls",
	};

	return names[layer];
}

void sandbox_note(struct sandbox_report *report, enum sandbox_layer layer, bool holds,
		  const char *format, ...)
{
	va_list arguments;

	report->layers[layer].holds = holds;
	va_start(arguments, format);
	vsnprintf(report->layers[layer].how, sizeof(report->layers[layer].how), format, arguments);
	va_end(arguments);
}

static void leave_out(struct sandbox_report *report)
{
	unsigned layer;

	for (layer = 0; layer < SANDBOX_LAYERS; layer++)
		sandbox_note(report, layer, false, "left out: this build has a sanitizer");
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
	sandbox_take_limits(report);
	sandbox_take_namespaces(config, report);
	sandbox_drop_capabilities(report);
	result = sandbox_forbid_new_privileges(report, error);
	if (result < 0)
		return result;
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
