/* What firmware may boot, as it calls it. */
#include <stdarg.h>
#include <stdio.h>

#include "machine/board_parts.h"

/* Turns of those that do not say: disks in their order, CD-ROMs, network cards. */
#define TURN_DISKS  0x10000
#define TURN_CDROMS 0x20000
#define TURN_NETS   0x30000

static unsigned turn_of(const struct board *board, const struct board_disk *disk, unsigned turn_plus_1)
{
	return turn_plus_1 ? turn_plus_1 - 1 : (disk->is_cdrom ? TURN_CDROMS : TURN_DISKS) + board->boot_count;
}

static unsigned net_turn_of(const struct board *board, unsigned turn_plus_1)
{
	return turn_plus_1 ? turn_plus_1 - 1 : TURN_NETS + board->boot_count;
}

static void __attribute__((format(printf, 2, 0)))
add(struct board *board, const char *format, va_list list, struct board_boot boot)
{
	int used = snprintf(boot.path, sizeof(boot.path), "/pci@i0cf8/");

	vsnprintf(boot.path + used, sizeof(boot.path) - used, format, list);
	/* Else firmware has been told. */
	if (!board->is_complete)
		board->boots[board->boot_count++] = boot;
}

void board_add_boot(struct board *board, const struct board_disk *disk, const char *format, ...)
{
	struct board_boot boot = {.turn = turn_of(board, disk, disk->boot_plus_1),
				  .later_turn = turn_of(board, disk, disk->later_boot_plus_1)};
	va_list list;

	va_start(list, format);
	add(board, format, list, boot);
	va_end(list);
}

/* Its path in Open Firmware's manner, which OVMF takes apart, too: the card, and what it speaks by. */
static void __attribute__((format(printf, 3, 4)))
add_net(struct board *board, struct board_boot boot, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	add(board, format, list, boot);
	va_end(list);
}

void board_add_net_boot(struct board *board, const struct board_net *net, unsigned place)
{
	struct board_boot boot = {.turn = net_turn_of(board, net->boot_plus_1),
				  .later_turn = net_turn_of(board, net->later_boot_plus_1)};
	char path[BOARD_BOOT_PATH];

	if (net->may_boot)
		add_net(board, boot, "%s/ethernet-phy@0", board_pci_path(board, place, "ethernet", path));
}
