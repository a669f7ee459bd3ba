#include "cli/qemu/chardev_changes.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/chardev_backend.h"
#include "cli/qemu/hotplug_state.h"
#include "cli/qemu/keyval.h"

json_t *chardev_changes_describe(void *context)
{
	const struct hotplug *hotplug = context;

	return chardevs_describe(&hotplug->line->chardevs);
}

/* What the options name, opened by who may; -1: nothing is to be. -errno and `error`: it cannot be. */
static int open_named(struct hotplug *hotplug, const json_t *options, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	const char *backend = keyval_text(options, "backend");
	enum monitor_file kind;
	char name[PATH_MAX];
	int fd;

	if (!chardev_backend_names(options, &kind, name, sizeof(name))) {
		if (hotplug->door && backend && (strcmp(backend, "pty") == 0 || strcmp(backend, "pipe") == 0 ||
						  strcmp(backend, "serial") == 0 || strcmp(backend, "tty") == 0))
			return error_set(error, EACCES,
					 "a confined kvik opens no %s: use socket or file, or start with -sandbox off",
					 backend);
		return -1;
	}
	fd = facts->open_file(facts->file_context, kind, name, error);
	/* -EPERM would look as if there was nothing. */
	return fd < 0 ? -EACCES : fd;
}

static json_t *answer_of(const struct chardev *chardev)
{
	static const char pty[] = "pty:";

	if (strncmp(chardev->filename, pty, strlen(pty)) != 0)
		return json_object();
	return json_pack("{s:s}", "pty", chardev->filename + strlen(pty));
}

static json_t *add(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_t *options = chardev_backend_options(arguments, error), *answer = NULL;
	struct chardevs *chardevs = &hotplug->line->chardevs;
	int fd;

	if (!options)
		return NULL;
	if (chardevs_add(chardevs, options, error) == 0) {
		fd = open_named(hotplug, options, error);
		if (fd >= -1 && chardevs_open_last(chardevs, fd, error) == 0)
			answer = answer_of(&chardevs->list[chardevs->count - 1]);
		else
			chardevs_remove(chardevs, chardevs->count - 1);
	}
	json_decref(options);
	return answer;
}

static json_t *remove_one(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	struct chardevs *chardevs = &hotplug->line->chardevs;
	const char *id = keyval_text(arguments, "id");
	const struct chardev *chardev = chardevs_find(chardevs, id);

	if (!chardev) {
		error_set(error, ENODEV, "Chardev '%.60s' not found", id);
		return NULL;
	}
	if (chardev->has_user || chardev->mux) {
		error_set(error, EBUSY, "Chardev '%.60s' is busy", id);
		return NULL;
	}
	chardevs_remove(chardevs, chardev - chardevs->list);
	return json_object();
}

/* The new one is opened first: if that fails all is as it was. */
static json_t *lead_elsewhere(struct hotplug *hotplug, struct chardev *chardev, json_t *options, struct error *error)
{
	struct chardevs *chardevs = &hotplug->line->chardevs;
	struct chardev now;
	int fd;

	if (chardevs_check(options, error) < 0)
		return NULL;
	fd = open_named(hotplug, options, error);
	if (fd < -1 || chardevs_open_other(chardevs, options, fd, &now, error) < 0)
		return NULL;
	if (hotplug->machine && machine_look_begin(hotplug->machine, error) < 0) {
		chardev_discard(&now);
		return NULL;
	}
	chardev_take_over(chardev, &now);
	if (hotplug->machine)
		machine_look_end(hotplug->machine);
	return answer_of(chardev);
}

static json_t *change(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *id = keyval_text(arguments, "id");
	struct chardev *chardev = chardevs_find(&hotplug->line->chardevs, id);
	json_t *options, *answer;

	if (!chardev) {
		error_set(error, ENODEV, "Chardev '%.60s' does not exist", id);
		return NULL;
	}
	if (chardev->mux) {
		error_set(error, ENOTSUP, "Mux device hotswap not supported yet");
		return NULL;
	}
	if (!chardev_can_change(chardev)) {
		error_set(error, ENOTSUP, "Chardev user does not support chardev hotswap");
		return NULL;
	}
	options = chardev_backend_options(arguments, error);
	answer = options ? lead_elsewhere(hotplug, chardev, options, error) : NULL;
	json_decref(options);
	return answer;
}

static json_t *send_break(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *id = keyval_text(arguments, "id");
	struct chardev *chardev = chardevs_find(&hotplug->line->chardevs, id);

	if (!chardev) {
		error_set(error, ENODEV, "Chardev '%.60s' not found", id);
		return NULL;
	}
	chardev_send_break(chardev);
	return json_object();
}

json_t *chardev_changes_make(void *context, const char *command, const json_t *arguments, struct error *error)
{
	if (strcmp(command, "chardev-add") == 0)
		return add(context, arguments, error);
	if (strcmp(command, "chardev-remove") == 0)
		return remove_one(context, arguments, error);
	return strcmp(command, "chardev-change") == 0 ? change(context, arguments, error)
						      : send_break(context, arguments, error);
}
