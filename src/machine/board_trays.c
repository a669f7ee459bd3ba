/* The trays of a board's CD-ROM drives: which there are, and who hears when one moves. */
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

void board_forget_tray(struct board *board, const struct tray *tray)
{
	unsigned i;

	for (i = 0; i < BOARD_DISKS_MAX; i++)
		if (board->trays[i].tray.unit &&
		    (tray->unit ? board->trays[i].tray.unit == tray->unit : board->trays[i].tray.lock == tray->lock))
			board->trays[i] = (struct board_tray){.was_open = false};
}

/* Any thread, with the controller's lock held: the I/O thread looks what it was. */
void board_tray_moves(void *context)
{
	const struct board *board = context;

	event_signal_raise(&board->tray_signal);
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
	board_tell_trays(context);
}

int board_watch_trays(struct board *board, struct error *error)
{
	int result;

	if (board->tray_signal.raised)
		return 0;
	result = event_signal_init(&board->tray_signal, board->config.loop, trays_have_moved, board);
	return result < 0 ? error_set_errno(error, -result, "cannot create a CD-ROM drive") : 0;
}
