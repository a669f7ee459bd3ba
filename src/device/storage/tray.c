#include "device/storage/tray.h"

#include <errno.h>

#include "device/storage/scsi_parts.h"
#include "util/log.h"

struct tray_state tray_look(const struct tray *tray)
{
	const struct storage_drive *drive = tray->unit->drive;
	struct tray_state state;

	pthread_mutex_lock(tray->lock);
	state = (struct tray_state){drive->is_open, drive->is_locked, drive->block != NULL};
	pthread_mutex_unlock(tray->lock);
	return state;
}

int tray_open(const struct tray *tray, bool by_force)
{
	int result = 0;

	pthread_mutex_lock(tray->lock);
	if (!tray->unit->drive->is_open && tray->unit->drive->is_locked && !by_force) {
		tray->unit->event = MEDIA_EJECT_REQUEST;
		result = -EBUSY;
	} else {
		scsi_move_tray(tray->unit, true);
	}
	pthread_mutex_unlock(tray->lock);
	return result;
}

void tray_close(const struct tray *tray)
{
	pthread_mutex_lock(tray->lock);
	scsi_move_tray(tray->unit, false);
	pthread_mutex_unlock(tray->lock);
}

int tray_insert(const struct tray *tray, struct block *block, struct error *error)
{
	int result = block_start(block, error);

	if (result < 0) {
		block_close(block, NULL);
		return result;
	}
	pthread_mutex_lock(tray->lock);
	tray->unit->drive->block = block;
	pthread_mutex_unlock(tray->lock);
	return 0;
}

void tray_empty(const struct tray *tray)
{
	struct block *block;
	struct error error;

	pthread_mutex_lock(tray->lock);
	block = drive_take_out(tray->unit->drive, tray->lock);
	pthread_mutex_unlock(tray->lock);
	/* Nobody begins anything on it now. What was begun ends under the controller's lock. */
	if (block_close(block, &error) < 0)
		log_error("%s", error.message);
}
