/* virtio-scsi adapters on a board, and the units that they have, from the start or from later on. */
#include <errno.h>
#include <stdio.h>

#include "device/virtio/scsi.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define CLASS_SCSI 0x010000

static struct virtio_scsi_address address_of(unsigned place)
{
	return (struct virtio_scsi_address){BOARD_SCSI_PLACE_TARGET(place), BOARD_SCSI_PLACE_LUN(place)};
}

/* Where a disk that says nothing goes: a target of its own. */
static unsigned choose_place(struct virtio_device *virtio, unsigned controller)
{
	unsigned target = 0;

	while (target < VIRTIO_SCSI_TARGETS - 1 && virtio_scsi_has(virtio, (struct virtio_scsi_address){target, 0}))
		target++;
	return BOARD_SCSI_PLACE(controller, target, 0);
}

int board_add_scsi_disk(struct board *board, struct board_disk *disk, unsigned number, struct error *error)
{
	struct drive_config drive = {
		.is_present = true,
		.is_cdrom = disk->is_cdrom,
		.block = disk->block,
		.identity = disk->identity,
		.moved = disk->is_cdrom ? board_tray_moves : NULL,
		.moved_context = board,
	};
	struct virtio_device *virtio = board->scsi[disk->controller].virtio;
	int result;

	if (disk->is_cdrom && board_watch_trays(board, error) < 0)
		return -EIO;
	if (!disk->scsi_place)
		disk->scsi_place = choose_place(virtio, disk->controller);
	/* Without one of its image's it has a serial number by its place, the same wherever the machine goes on. */
	drive.number = 1 + (disk->controller << 22 | BOARD_SCSI_PLACE_LUN(disk->scsi_place) << 8 |
			    BOARD_SCSI_PLACE_TARGET(disk->scsi_place));
	disk->block = NULL;
	result = virtio_scsi_plug(virtio, address_of(disk->scsi_place), &drive, error);
	if (result == 0 && disk->is_cdrom)
		board_keep_tray(board, number, virtio_scsi_tray(virtio, address_of(disk->scsi_place)));
	return result;
}

int board_remove_scsi_disk(struct board *board, unsigned place, struct error *error)
{
	unsigned controller = BOARD_SCSI_PLACE_CONTROLLER(place);
	struct virtio_device *virtio = controller < BOARD_CONTROLLERS_MAX ? board->scsi[controller].virtio : NULL;
	struct tray tray;

	if (!virtio || !virtio_scsi_has(virtio, address_of(place)))
		return error_set(error, ENODEV, "nothing that can be taken out is there");
	tray = virtio_scsi_tray(virtio, address_of(place));
	board_forget_tray(board, &tray);
	return virtio_scsi_unplug(virtio, address_of(place));
}

static bool is_on(const struct board_disk *disk, unsigned controller)
{
	return disk->bus == BOARD_BUS_SCSI && disk->controller == controller;
}

/* Those that say where first. */
static int add_disks(struct board *board, unsigned controller, struct error *error)
{
	bool is_added[BOARD_DISKS_MAX] = {false};
	struct board_disk *disk;
	unsigned i, pass;
	int result = 0;

	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < board->config.disk_count && result == 0; i++) {
			disk = &board->config.disks[i];
			if (is_on(disk, controller) && (pass ? !is_added[i] : disk->scsi_place != 0)) {
				result = board_add_scsi_disk(board, disk, i, error);
				is_added[i] = true;
			}
		}
	return result;
}

/* How firmware calls them, in the order of the disks. */
static void add_boots(struct board *board, unsigned controller, const char *path)
{
	const struct board_disk *disk;
	unsigned i;

	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		if (is_on(disk, controller))
			board_add_boot(board, disk, "%s/channel@0/disk@%x,%x", path,
				       BOARD_SCSI_PLACE_TARGET(disk->scsi_place), BOARD_SCSI_PLACE_LUN(disk->scsi_place));
	}
}

int board_add_scsi(struct board *board, const struct board_controller *controller, unsigned number, struct error *error)
{
	unsigned queues = controller->queues ? controller->queues : board->config.cpus;
	struct virtio_host host = board_virtio_host(board, &controller->rings);
	char name[STATE_NAME_MAX + 1], path[BOARD_BOOT_PATH];
	struct virtio_device *virtio;
	unsigned place;
	int result;

	snprintf(name, sizeof(name), "scsi%u", number);
	if (!board->pci)
		return error_set(error, ENODEV, "%s needs PCI: use --machine pc", name);
	place = board_choose_place(board, controller->place);
	virtio = virtio_scsi_create(&host, queues > VIRTIO_SCSI_QUEUES_MAX ? VIRTIO_SCSI_QUEUES_MAX : queues, error);
	if (!virtio)
		return -EINVAL;
	result = board_add_virtio(board, name, virtio, CLASS_SCSI, place, controller->interface, error);
	if (result < 0)
		return result;
	board_note_seat(board, controller->place);
	board->scsi[number] = (struct board_scsi){virtio, board_seat(board, controller->place)};
	/* One that comes later comes without. */
	if (board->is_complete)
		return 0;
	result = add_disks(board, number, error);
	if (result == 0)
		add_boots(board, number, board_pci_path(board, place, "scsi", path));
	return result;
}

void board_forget_scsi(struct board *board, unsigned seat)
{
	struct board_scsi *scsi;
	struct tray all;

	for (scsi = board->scsi; scsi < board->scsi + BOARD_CONTROLLERS_MAX; scsi++) {
		if (!scsi->virtio || scsi->seat != seat)
			continue;
		all = (struct tray){NULL, &scsi->virtio->lock};
		board_forget_tray(board, &all);
		scsi->virtio = NULL;
	}
}
