/* The trays of a board's CD-ROM drives: which there are, and who hears when one moves. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "machine/board.h"
#include "machine/board_parts.h"

const struct tray *board_tray(const struct board *board, unsigned disk)
{
	return disk < BOARD_DISKS_MAX && board->trays[disk].tray.unit ? &board->trays[disk].tray : NULL;
}

void board_keep_tray(struct board *board, unsigned disk, struct tray tray)
{
	board->trays[disk].tray = tray;
}

/* Any thread, with the controller's lock held: the I/O thread looks what it was. */
void board_tray_moves(void *context)
{
	struct board *board = context;
	const uint64_t one = 1;

	/* When it cannot be written it is signalled as much as it can be. */
	if (write(board->tray_source.fd, &one, sizeof(one)) < 0)
		return;
}

void board_tell_trays(struct board *board)
{
	const struct board_config *config = &board->config;
	struct board_tray *one;
	bool is_open;
	unsigned i;

	for (i = 0; i < BOARD_DISKS_MAX; i++) {
		one = &board->trays[i];
		is_open = one->tray.unit && tray_look(&one->tray).is_open;
		if (is_open == one->was_open)
			continue;
		one->was_open = is_open;
		if (config->tray_moved)
			config->tray_moved(config->tray_context, i, is_open);
	}
}

static void trays_have_moved(void *context)
{
	struct board *board = context;
	uint64_t count;

	if (read(board->tray_source.fd, &count, sizeof(count)) == sizeof(count))
		board_tell_trays(board);
}

int board_watch_trays(struct board *board, struct error *error)
{
	struct event_source *source = &board->tray_source;
	int result;

	if (board->has_tray_source)
		return 0;
	*source = (struct event_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					.ready = trays_have_moved,
					.context = board};
	result = source->fd < 0 ? -errno : event_loop_add(board->config.loop, source);
	if (result < 0) {
		if (source->fd >= 0)
			close(source->fd);
		return error_set_errno(error, -result, "cannot create a CD-ROM drive");
	}
	board->has_tray_source = true;
	return 0;
}

void board_unwatch_trays(struct board *board)
{
	if (!board->has_tray_source)
		return;
	event_loop_remove(&board->tray_source);
	close(board->tray_source.fd);
}
