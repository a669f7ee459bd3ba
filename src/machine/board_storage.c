/* How disks and CD-ROM drives come onto a board, by whatever they are wired to. */
#include <errno.h>
#include <stdio.h>

#include "device/storage/ahci.h"
#include "device/storage/ide.h"
#include "device/storage/nvme.h"
#include "machine/board_parts.h"

#define IDE_SLOT     1
#define IDE_FUNCTION 1

static bool is_on(const struct board_disk *disk, enum board_bus bus, unsigned controller)
{
	return disk->bus == bus && (bus == BOARD_BUS_IDE || disk->controller == controller);
}

/* Where a disk goes: where it says, if that is free, or the first place that is; `place_count`: nowhere. */
static unsigned choose_place(const struct board_disk *disk, const struct drive_config *places,
			     unsigned place_count)
{
	unsigned place;

	if (disk->place_plus_1) {
		place = disk->place_plus_1 - 1;
		return place < place_count && !places[place].is_present ? place : place_count;
	}
	for (place = 0; place < place_count && places[place].is_present; place++)
		continue;
	return place;
}

/* The disks of a controller at their places: those that say which first. How many, or -errno. */
static int place_disks(struct board *board, enum board_bus bus, unsigned controller,
		       struct drive_config *places, unsigned place_count, struct error *error)
{
	struct board_disk *disk;
	unsigned i, place, pass;
	int count = 0;

	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < board->config.disk_count; i++) {
			disk = &board->config.disks[i];
			if (!is_on(disk, bus, controller) || (disk->place_plus_1 != 0) != (pass == 0))
				continue;
			place = choose_place(disk, places, place_count);
			if (place == place_count)
				return error_set(error, ENOSPC,
						 "a disk's place is taken, or none is left: its controller "
						 "has %u", place_count);
			places[place] = (struct drive_config){
				.is_present = true,
				.is_cdrom = disk->is_cdrom,
				.block = disk->block,
				.number = i + 1,
				.moved = disk->is_cdrom ? board_tray_moves : NULL,
				.moved_context = board,
			};
			if (disk->is_cdrom && board_watch_trays(board, error) < 0)
				return -EIO;
		}
	}
	/* What they got they keep: it is how firmware calls them. */
	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		if (!is_on(disk, bus, controller))
			continue;
		for (place = 0; places[place].number != i + 1; place++)
			continue;
		disk->place_plus_1 = place + 1;
		count++;
	}
	return count;
}

/* The images are the controller's from now on. */
static void give_away(struct board *board, enum board_bus bus, unsigned controller)
{
	unsigned i;

	for (i = 0; i < board->config.disk_count; i++)
		if (is_on(&board->config.disks[i], bus, controller))
			board->config.disks[i].block = NULL;
}

/* Those that can be booted, by the path of their controller and what comes behind it for each. */
static void add_boots(struct board *board, enum board_bus bus, unsigned controller, const char *path)
{
	const struct board_disk *disk;
	unsigned i, place;

	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		place = disk->place_plus_1 - 1;
		/* A tray that is empty may have a medium when its turn comes. */
		if (!is_on(disk, bus, controller) || (!disk->block && !disk->is_cdrom))
			continue;
		if (bus == BOARD_BUS_IDE)
			board_add_boot(board, disk, "%s/drive@%u/disk@%u", path, place / IDE_CHANNEL_DRIVES,
				       place % IDE_CHANNEL_DRIVES);
		else
			board_add_boot(board, disk, "%s/drive@%x/disk@0", path, place);
	}
}

/* The CD-ROM drives of a controller, from the disk of that number on; disk_count: no more. */
static unsigned next_tray(const struct board *board, enum board_bus bus, unsigned controller, unsigned from)
{
	const struct board_config *config = &board->config;

	while (from < config->disk_count &&
	       !(is_on(&config->disks[from], bus, controller) && config->disks[from].is_cdrom))
		from++;
	return from;
}

static unsigned place_of(const struct board *board, unsigned disk)
{
	return board->config.disks[disk].place_plus_1 - 1;
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
	struct ide *ide;
	unsigned i;
	int result = place_disks(board, BOARD_BUS_IDE, 0, drives, IDE_DRIVES, error);

	if (result <= 0)
		return result;
	if (board->config.kind != BOARD_PC)
		return error_set(error, ENODEV, "a %s has no IDE: use --machine pc", board_product(board));
	add_boots(board, BOARD_BUS_IDE, 0, "ide@1,1");
	give_away(board, BOARD_BUS_IDE, 0);
	ide = ide_create(board->pci, PCI_SLOT_FUNCTION(IDE_SLOT, IDE_FUNCTION), &board->config.irq, drives,
			 error);
	if (!ide)
		return -EINVAL;
	for (i = 0; (i = next_tray(board, BOARD_BUS_IDE, 0, i)) < board->config.disk_count; i++)
		board_keep_tray(board, i, ide_tray(ide, place_of(board, i)));
	result = board_add(board, "ide", &ide_device_ops, ide, error);
	for (i = 0; i < IDE_CHANNELS && result == 0; i++)
		result = add_ide_channel(board, ide_channel(ide, i), i, error);
	return result;
}

static int add_ahci(struct board *board, unsigned index, struct error *error)
{
	struct drive_config drives[AHCI_PORTS] = {{false}};
	char name[STATE_NAME_MAX + 1], path[BOARD_BOOT_PATH];
	struct board_seat seat;
	struct ahci *ahci;
	unsigned i, place;
	int result;

	snprintf(name, sizeof(name), "ahci%u", index);
	if (!board->pci)
		return error_set(error, ENODEV, "%s needs PCI: use --machine pc", name);
	place = board_choose_place(board, board->config.controllers[index].place);
	result = board_find_seat(board, name, place, &seat, error);
	if (result == 0)
		result = place_disks(board, BOARD_BUS_AHCI, index, drives, AHCI_PORTS, error);
	if (result < 0)
		return result;
	add_boots(board, BOARD_BUS_AHCI, index, board_pci_path(board, place, "pci8086,2922", path));
	give_away(board, BOARD_BUS_AHCI, index);
	ahci = ahci_create(seat.bus, seat.slot_function, drives, error);
	if (!ahci)
		return -EINVAL;
	for (i = 0; (i = next_tray(board, BOARD_BUS_AHCI, index, i)) < board->config.disk_count; i++)
		board_keep_tray(board, i, ahci_tray(ahci, place_of(board, i)));
	result = board_add(board, name, &ahci_device_ops, ahci, error);
	/* It is counted with adapters of virtio-scsi, which may come. */
	if (result == 0 && place != BOARD_ANYWHERE)
		board->devices[board->device_count - 1].place = BOARD_PLACE_SLOT(place);
	return result;
}

int board_add_nvme(struct board *board, struct board_disk *disk, unsigned number, struct error *error)
{
	char name[STATE_NAME_MAX + 1], path[BOARD_BOOT_PATH];
	struct block *block = disk->block;
	struct board_seat seat;
	unsigned place;
	struct nvme *nvme;
	int result;

	snprintf(name, sizeof(name), "nvme%u", number);
	if (!board->pci)
		return error_set(error, ENODEV, "%s needs PCI: use --machine pc", name);
	place = board_choose_place(board, disk->pci_place);
	result = board_find_seat(board, name, place, &seat, error);
	if (result < 0)
		return result;
	board_add_boot(board, disk, "%s/namespace@1,0", board_pci_path(board, place, "pci1b36,0010", path));
	disk->block = NULL;
	nvme = nvme_create(seat.bus, seat.slot_function, block, number + 1, error);
	if (!nvme)
		return -EINVAL;
	result = board_add(board, name, &nvme_device_ops, nvme, error);
	if (result == 0)
		board_note_seat(board, disk->pci_place);
	return result;
}

int board_add_disks(struct board *board, struct error *error)
{
	unsigned i;
	int result = add_ide(board, error);

	for (i = 0; i < board->config.controller_count && result == 0; i++)
		result = board->config.controllers[i].bus == BOARD_BUS_AHCI
				 ? add_ahci(board, i, error)
				 : board_add_scsi(board, &board->config.controllers[i], i, error);
	for (i = 0; i < board->config.disk_count && result == 0; i++)
		if (board->config.disks[i].bus == BOARD_BUS_VIRTIO)
			result = board_add_virtio_disk(board, &board->config.disks[i], i, error);
		else if (board->config.disks[i].bus == BOARD_BUS_NVME)
			result = board_add_nvme(board, &board->config.disks[i], i, error);
	return result;
}
