/*
 * What a drive is, whatever it is wired to: an image, or a tray that is empty; what it is called. Guarded by
 * the lock of the controller that it hangs on.
 *
 * The names are those that QEMU's drives have: scripts and udev rules in guests look for them.
 */
#ifndef KVIK_DEVICE_STORAGE_DRIVE_H
#define KVIK_DEVICE_STORAGE_DRIVE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "util/state.h"

#define DRIVE_REVISION "2.5+"

/* What a user has a drive called (SPC-4 §6.6.2, §7.8.6): texts of ASCII, "": its own; 0: it has no such name. */
struct drive_identity {
	char vendor[8 + 1], product[16 + 1], revision[4 + 1];
	uint64_t wwn, port_wwn; /* world wide names (NAA), of the unit and of its target's port */
};

struct storage_drive {
	bool is_present, is_cdrom;
	struct block *block; /* owned; NULL: no medium */
	char serial[BLOCK_SERIAL_MAX + 1];
	struct drive_identity identity;
	/* Of a drive with a tray: */
	bool is_open, is_locked;
	bool has_changed; /* another medium, or none: the guest has not been told yet */
	bool is_pinned; /* the medium stays open (drive_pin) */
	pthread_cond_t unpinned;
	void (*moved)(void *context); /* as in its configuration */
	void *moved_context;
};

/* What a board gives a controller for each of its places. All zero: nothing is there. */
struct drive_config {
	bool is_present, is_cdrom;
	struct block *block; /* NULL: a tray without a medium */
	unsigned number;     /* for a serial number where the image has none: QM00001 */
	struct drive_identity identity;
	/* The tray was opened or closed, by whomever. Any thread, with the controller's lock held. NULL: nobody
	 * wants to know. */
	void (*moved)(void *context);
	void *moved_context;
};

/* Take the image over, and start it. On failure the drive has none. 0 or -errno. */
int drive_init(struct storage_drive *drive, const struct drive_config *config, struct error *error);
/* End it; nothing is under way. Fine on one that is all zero. */
void drive_close(struct storage_drive *drive);
void drive_reset(struct storage_drive *drive);

/* The tray moves. */
static inline void drive_set_open(struct storage_drive *drive, bool is_open)
{
	drive->is_open = is_open;
	if (drive->moved)
		drive->moved(drive->moved_context);
}

/* The medium that can be read now, or NULL. */
static inline struct block *drive_medium(const struct storage_drive *drive)
{
	return drive->is_open ? NULL : drive->block;
}

/* The medium, which stays open until drive_unpin whatever becomes of the tray, for who does something with it without the
 * lock; one at a time. NULL: there is none, and nothing to be unpinned. Both with the lock. */
struct block *drive_pin(struct storage_drive *drive);
void drive_unpin(struct storage_drive *drive);
/* Take it out: be without it, and wait until nobody has it pinned. What was in it is the caller's. `lock` is held. */
struct block *drive_take_out(struct storage_drive *drive, pthread_mutex_t *lock);

/* Bytes of the medium; 0: none. */
uint64_t drive_size(const struct storage_drive *drive);
bool drive_is_readonly(const struct storage_drive *drive);

/* Fields of a drive's own; a drive with another image is none that a guest could stand. */
struct drive_state {
	bool is_open, is_locked, has_changed;
};
void drive_transfer(const struct storage_drive *drive, struct drive_state *loaded, struct state_stream *state);
void drive_restore(struct storage_drive *drive, const struct drive_state *loaded);

/* Text in a field of fixed width, with spaces behind it. */
void drive_put_text(uint8_t *field, unsigned width, const char *text);

#endif
