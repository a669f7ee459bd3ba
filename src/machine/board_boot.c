/* What firmware may boot, as it calls it. */
#include <stdarg.h>
#include <stdio.h>

#include "machine/board_parts.h"

/* Turns of those that do not say: disks in their order, then CD-ROMs. */
#define TURN_DISKS  0x10000
#define TURN_CDROMS 0x20000

static unsigned turn_of(const struct board *board, const struct board_disk *disk, unsigned turn_plus_1)
{
	return turn_plus_1 ? turn_plus_1 - 1 : (disk->is_cdrom ? TURN_CDROMS : TURN_DISKS) + board->boot_count;
}

void board_add_boot(struct board *board, const struct board_disk *disk, const char *format, ...)
{
	struct board_boot *boot = &board->boots[board->boot_count];
	va_list list;
	int used;

	/* Firmware has been told. */
	if (board->is_complete)
		return;
	boot->turn = turn_of(board, disk, disk->boot_plus_1);
	boot->later_turn = turn_of(board, disk, disk->later_boot_plus_1);
	used = snprintf(boot->path, sizeof(boot->path), "/pci@i0cf8/");
	va_start(list, format);
	vsnprintf(boot->path + used, sizeof(boot->path) - used, format, list);
	va_end(list);
	board->boot_count++;
}
