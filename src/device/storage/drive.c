#include "device/storage/drive.h"

#include <stdio.h>
#include <string.h>

#include "util/log.h"

int drive_init(struct storage_drive *drive, const struct drive_config *config, struct error *error)
{
	const char *serial = config->block ? block_info(config->block)->serial : "";
	int result;

	*drive = (struct storage_drive){.is_present = config->is_present,
					.is_cdrom = config->is_cdrom,
					.identity = config->identity,
					.unpinned = PTHREAD_COND_INITIALIZER,
					.moved = config->moved,
					.moved_context = config->moved_context};
	if (!config->is_present)
		return 0;
	if (*serial)
		snprintf(drive->serial, sizeof(drive->serial), "%s", serial);
	else
		snprintf(drive->serial, sizeof(drive->serial), "QM%05u", config->number);
	if (!config->block)
		return 0;
	result = block_start(config->block, error);
	if (result < 0) {
		block_close(config->block, NULL);
		return result;
	}
	drive->block = config->block;
	return 0;
}

void drive_close(struct storage_drive *drive)
{
	struct error error;

	if (block_close(drive->block, &error) < 0)
		log_error("%s", error.message);
	drive->block = NULL;
}

void drive_reset(struct storage_drive *drive)
{
	if (drive->is_open)
		drive_set_open(drive, false);
	drive->is_locked = drive->has_changed = false;
}

struct block *drive_pin(struct storage_drive *drive)
{
	drive->is_pinned = drive->block != NULL;
	return drive->block;
}

void drive_unpin(struct storage_drive *drive)
{
	drive->is_pinned = false;
	pthread_cond_broadcast(&drive->unpinned);
}

struct block *drive_take_out(struct storage_drive *drive, pthread_mutex_t *lock)
{
	struct block *block = drive->block;

	drive->block = NULL;
	while (drive->is_pinned)
		pthread_cond_wait(&drive->unpinned, lock);
	return block;
}

uint64_t drive_size(const struct storage_drive *drive)
{
	struct block *medium = drive_medium(drive);

	return medium ? block_size(medium) : 0;
}

bool drive_is_readonly(const struct storage_drive *drive)
{
	return drive->is_cdrom || (drive->block && block_info(drive->block)->is_readonly);
}

void drive_transfer(const struct storage_drive *drive, struct drive_state *loaded, struct state_stream *state)
{
	uint64_t size = drive->block ? block_size(drive->block) : 0, capacity = size;

	if (!state->is_loading)
		*loaded = (struct drive_state){drive->is_open, drive->is_locked, drive->has_changed};
	state_u64(state, "capacity", &capacity);
	state_check(state, "capacity", capacity == size);
	state_bool(state, "open", &loaded->is_open);
	state_check(state, "open", !loaded->is_open || drive->is_cdrom);
	state_bool(state, "locked", &loaded->is_locked);
	state_bool(state, "changed", &loaded->has_changed);
}

void drive_restore(struct storage_drive *drive, const struct drive_state *loaded)
{
	if (drive->is_open != loaded->is_open)
		drive_set_open(drive, loaded->is_open);
	drive->is_locked = loaded->is_locked;
	drive->has_changed = loaded->has_changed;
}

void drive_put_text(uint8_t *field, unsigned width, const char *text)
{
	size_t length = strlen(text);

	memset(field, ' ', width);
	memcpy(field, text, length < width ? length : width);
}
