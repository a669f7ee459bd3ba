/* virtio-scsi (virtio 1.2 §5.6): a host adapter with disks and CD-ROM drives, the units of its targets, which come and go. */
#ifndef KVIK_DEVICE_VIRTIO_SCSI_H
#define KVIK_DEVICE_VIRTIO_SCSI_H

#include "device/storage/drive.h"
#include "device/storage/tray.h"
#include "device/virtio/virtio.h"

#define VIRTIO_SCSI_TARGETS    256
#define VIRTIO_SCSI_LUNS       16384 /* of a target */
#define VIRTIO_SCSI_UNITS      64 /* of an adapter */
#define VIRTIO_SCSI_QUEUES_MAX 8

struct virtio_scsi_address {
	uint8_t target;
	uint16_t lun;
};

/* Without units. NULL and `error`. */
struct virtio_device *virtio_scsi_create(const struct virtio_host *host, unsigned queues, struct error *error);

/*
 * A unit comes, and the driver hears of it if there is one that can. The image is its own even when this fails. The unit goes
 * when what is under way has ended, which is waited for; what is held (block/error_policy.h) fails. On the I/O thread. 0, or
 * -errno and `error`; -ENODEV: there is none.
 */
int virtio_scsi_plug(struct virtio_device *virtio, struct virtio_scsi_address address, const struct drive_config *config,
		     struct error *error);
int virtio_scsi_unplug(struct virtio_device *virtio, struct virtio_scsi_address address);
bool virtio_scsi_has(struct virtio_device *virtio, struct virtio_scsi_address address);

/* That of a CD-ROM drive that is there, until it goes. */
struct tray virtio_scsi_tray(struct virtio_device *virtio, struct virtio_scsi_address address);

#endif
