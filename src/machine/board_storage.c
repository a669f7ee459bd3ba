/* How disks and CD-ROM drives come onto a board, by whatever they are wired to. */
#include <errno.h>

#include "device/storage/ide.h"
#include "machine/board_parts.h"

#define IDE_SLOT     1
#define IDE_FUNCTION 1

/* The disks of a bus at their places: those that say which first, as `place_count` allows. */
static int place_disks(struct board *board, enum board_bus bus, struct drive_config *places,
		       unsigned place_count, const char *name, struct error *error)
{
	struct board_disk *disk;
	unsigned i, place, pass;

	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < board->config.disk_count; i++) {
			disk = &board->config.disks[i];
			if (disk->bus != bus || (disk->place_plus_1 != 0) != (pass == 0))
				continue;
			for (place = 0; !pass || place < place_count; place++)
				if (pass ? !places[place].is_present : place == disk->place_plus_1 - 1)
					break;
			if (place >= place_count || places[place].is_present)
				return error_set(error, ENOSPC,
						 pass ? "%s has room for %u drives"
						      : "%s has one drive at each of %u places",
						 name, place_count);
			places[place] = (struct drive_config){
				.is_present = true,
				.is_cdrom = disk->is_cdrom,
				.block = disk->block,
				.number = i + 1,
			};
			disk->place_plus_1 = place + 1;
		}
	}
	return 0;
}

/* The images are the controller's from now on. */
static void give_away(struct board *board, enum board_bus bus)
{
	unsigned i;

	for (i = 0; i < board->config.disk_count; i++)
		if (board->config.disks[i].bus == bus)
			board->config.disks[i].block = NULL;
}

static bool has_disks(const struct board *board, enum board_bus bus)
{
	unsigned i;

	for (i = 0; i < board->config.disk_count; i++)
		if (board->config.disks[i].bus == bus)
			return true;
	return false;
}

static int add_ide_channel(struct board *board, struct ide_channel *channel, unsigned number,
			   struct error *error)
{
	int result = pio_bus_add(board->config.pio, IDE_FIRST_PORT(number), IDE_PORTS, "IDE",
				 &ide_port_ops, channel, error);

	return result < 0 ? result
			  : pio_bus_add(board->config.pio, IDE_CONTROL_PORT(number), 1, "IDE control",
					&ide_control_ops, channel, error);
}

static int add_ide(struct board *board, struct error *error)
{
	struct drive_config drives[IDE_DRIVES] = {{false}};
	const struct board_disk *disk;
	struct ide *ide;
	unsigned i, place;
	int result;

	if (!has_disks(board, BOARD_BUS_IDE))
		return 0;
	if (board->config.kind != BOARD_PC)
		return error_set(error, ENODEV, "a %s has no IDE: use --machine pc", board_product(board));
	result = place_disks(board, BOARD_BUS_IDE, drives, IDE_DRIVES, "IDE", error);
	if (result < 0)
		return result;
	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		place = disk->place_plus_1 - 1;
		if (disk->bus == BOARD_BUS_IDE && disk->block)
			board_add_boot(board, disk, "ide@%x,%x/drive@%u/disk@%u", IDE_SLOT, IDE_FUNCTION,
				       place / IDE_CHANNEL_DRIVES, place % IDE_CHANNEL_DRIVES);
	}
	give_away(board, BOARD_BUS_IDE);
	ide = ide_create(board->pci, PCI_SLOT_FUNCTION(IDE_SLOT, IDE_FUNCTION), &board->config.irq, drives,
			 error);
	if (!ide)
		return -EINVAL;
	result = board_add(board, "ide", &ide_device_ops, ide, error);
	for (i = 0; i < IDE_CHANNELS && result == 0; i++)
		result = add_ide_channel(board, ide_channel(ide, i), i, error);
	return result;
}

int board_add_disks(struct board *board, struct error *error)
{
	unsigned i;
	int result = add_ide(board, error);

	for (i = 0; i < board->config.disk_count && result == 0; i++)
		if (board->config.disks[i].bus == BOARD_BUS_VIRTIO)
			result = board_add_virtio_disk(board, &board->config.disks[i], i, error);
	return result;
}
