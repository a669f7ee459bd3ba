/*
 * The first program of a guest that runs one command: static, and alone with its modules in the initial RAM disk.
 */
#include "guest/init.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/protocol.h"

static void add(char **list, unsigned *count, char *value)
{
	if (*count < ITEMS_MAX)
		list[(*count)++] = value;
}

static void add_share(struct guest_plan *plan, const char *tag, const char *path, bool is_readonly)
{
	if (plan->share_count < sizeof(plan->shares) / sizeof(plan->shares[0]))
		plan->shares[plan->share_count++] = (struct share_item){tag, path, is_readonly};
}

static void take_item(struct guest_plan *plan, char *item)
{
	static const char *tag = "";
	char *value = item + 1;

	switch (item[0]) {
	case GUEST_MODULE:
		if (plan->module_count < sizeof(plan->modules) / sizeof(plan->modules[0]))
			plan->modules[plan->module_count++] = value;
		break;
	case GUEST_TAG: tag = value; break;
	case GUEST_READONLY: add_share(plan, tag, value, true); break;
	case GUEST_WRITABLE: add_share(plan, tag, value, false); break;
	case GUEST_DIRECTORY: plan->directory = value; break;
	case GUEST_VARIABLE: add(plan->variables, &plan->variable_count, value); break;
	case GUEST_ARGUMENT: add(plan->arguments, &plan->argument_count, value); break;
	case GUEST_TERMINALS:
		for (; *value; value++)
			if (*value >= '0' && *value <= '2')
				plan->is_terminal[*value - '0'] = true;
		break;
	case GUEST_RAW: plan->is_raw = true; break;
	case GUEST_SIZE: sscanf(value, "%u %u", &plan->rows, &plan->columns); break;
	case GUEST_HOST: plan->host = value; break;
	case GUEST_NETWORK: plan->has_network = true; break;
	default: break;
	}
}

/* What is read stays for good. */
static int read_plan(struct guest_plan *plan)
{
	int fd = open(GUEST_CONFIG, O_RDONLY | O_CLOEXEC);
	struct stat status;
	char *text, *at;

	if (fd < 0 || fstat(fd, &status) < 0)
		return fail("no %s", GUEST_CONFIG);
	text = malloc(status.st_size + 1);
	if (!text || read(fd, text, status.st_size) != status.st_size)
		return fail("cannot read %s", GUEST_CONFIG);
	text[status.st_size] = 0;
	close(fd);
	for (at = text; at < text + status.st_size; at += strlen(at) + 1)
		take_item(plan, at);
	return plan->argument_count ? 0 : fail("no command");
}

int main(void)
{
	static struct guest_plan plan = {.directory = "/"};
	int result, port;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("none", "/proc", "proc", 0, NULL);
	mount("none", "/sys", "sysfs", 0, NULL);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	result = read_plan(&plan);
	load_modules(&plan);
	port = open_port();
	if (port < 0) {
		fprintf(stderr, "kvik's init: the port to kvik does not come\n");
		return 1;
	}
	if (result == 0)
		result = make_system(&plan);
	if (result < 0)
		report_failure(port);
	run_command(&plan, port);
}
