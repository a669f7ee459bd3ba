#include "cli/qemu/line_gdb.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"

/* A socket of a chardev's is the stub's own, which speaks more than a stream: it knows when its peer is gone. */
static int take_socket(struct line *line, struct chardev *chardev, struct error *error)
{
	const char *path = keyval_text(chardev->options, "path"), *host = keyval_text(chardev->options, "host");
	const char *port = keyval_text(chardev->options, "port");
	int length = -1;

	if (path)
		length = snprintf(line->gdb_place, sizeof(line->gdb_place), "unix:%s", path);
	else if (port)
		length = snprintf(line->gdb_place, sizeof(line->gdb_place), "tcp:%s:%s", host ? host : "", port);
	if (length < 0 || length >= (int)sizeof(line->gdb_place))
		return error_set(error, EINVAL, "chardev %.60s: use path=, or host= and port=", chardev->id);
	chardev->is_taken = chardev->has_user = true;
	snprintf(chardev->filename, sizeof(chardev->filename), "%.140s,server=on", line->gdb_place);
	line->gdb = line->gdb_place;
	return 0;
}

/* Whether it is one that the stub listens on itself: of -gdb's own text, tcp: without a word on it is, as in QEMU. */
static bool is_listener(const struct chardev *chardev)
{
	const json_t *server = json_object_get(chardev->options, "server");

	return strcmp(keyval_text(chardev->options, "backend"), "socket") == 0 &&
	       !json_object_get(chardev->options, "fd") && !json_is_true(json_object_get(chardev->options, "mux")) &&
	       (server ? json_is_true(server) : strcmp(chardev->id, "gdb") == 0);
}

int line_examine_gdb(struct line *line, struct error *error)
{
	const char *said = line->gdb;
	struct chardev *chardev;
	int index;

	if (!said || (!strchr(said, ',') && (strncmp(said, "tcp:", 4) == 0 || strncmp(said, "unix:", 5) == 0)))
		return 0;
	line->gdb = NULL;
	if (chardevs_add_text(&line->chardevs, said, "gdb", &index, error) < 0)
		goto fail;
	if (index < 0)
		return 0;
	chardev = &line->chardevs.list[index];
	if ((chardev->has_user || chardev->is_monitor) && !json_is_true(json_object_get(chardev->options, "mux")))
		error_set(error, EBUSY, "chardev %.60s has a user already", chardev->id);
	else if (!is_listener(chardev)) {
		line->gdb_chardev = index;
		return 0;
	} else if (take_socket(line, chardev, error) == 0)
		return 0;
fail:
	error_prefix(error, "-gdb");
	return -EINVAL;
}
