/*
 * A CD-ROM drive's tray from outside: what somebody who stands before the drive does, while the guest uses it. Here
 * media come and go; what the guest hears of it are MMC-6's events and sense data (scsi_cdrom.c).
 */
#ifndef KVIK_DEVICE_STORAGE_TRAY_H
#define KVIK_DEVICE_STORAGE_TRAY_H

#include <pthread.h>

#include "device/storage/scsi.h"

/* Borrowed from the controller that the drive hangs on. */
struct tray {
	struct scsi_unit *unit;
	pthread_mutex_t *lock; /* the controller's */
};

struct tray_state {
	bool is_open, is_locked, has_medium;
};

/* All on the I/O thread, without locks. */
struct tray_state tray_look(const struct tray *tray);

/* 0, or -EBUSY: the guest has locked it and hears of the wish; `by_force` opens it all the same. One that is there
 * already stays. */
int tray_open(const struct tray *tray, bool by_force);
/* What is in it now is what the guest finds: a new medium, or none. */
void tray_close(const struct tray *tray);

/* Put a medium, which is the drive's from now on, into an open and empty tray. 0, or -errno and `error`: then it is
 * closed. */
int tray_insert(const struct tray *tray, struct block *block, struct error *error);
/* Take it out of an open tray: waits for what is under way, and closes the image. */
void tray_empty(const struct tray *tray);

#endif
