/* The list of a board's devices. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/board.h"
#include "machine/board_parts.h"

const struct device *board_find(const struct board *board, const char *name)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		if (strcmp(board->devices[i].name, name) == 0)
			return &board->devices[i];
	return NULL;
}

void *board_find_kind(const struct board *board, const struct device_ops *ops)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		if (board->devices[i].ops == ops)
			return board->devices[i].device;
	return NULL;
}

int board_add(struct board *board, const char *name, const struct device_ops *ops, void *device,
              struct error *error)
{
	struct device added = {.ops = ops, .device = device}, *larger;

	snprintf(added.name, sizeof(added.name), "%s", name);
	larger = realloc(board->devices, (board->device_count + 1) * sizeof(*larger));
	if (!larger) {
		device_destroy(&added);
		return error_set_errno(error, ENOMEM, "%s", name);
	}
	board->devices = larger;
	board->devices[board->device_count++] = added;
	return 0;
}

void board_visit_devices(const struct board *board, void (*visit)(void *context, const char *name), void *context)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		visit(context, board->devices[i].name);
}
