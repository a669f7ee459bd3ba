/* virtio-scsi (virtio 1.2 §5.6): a host adapter with disks and CD-ROM drives, each a target with one unit. */
#ifndef KVIK_DEVICE_VIRTIO_SCSI_H
#define KVIK_DEVICE_VIRTIO_SCSI_H

#include "device/storage/drive.h"
#include "device/storage/tray.h"
#include "device/virtio/virtio.h"

#define VIRTIO_SCSI_TARGETS    64
#define VIRTIO_SCSI_QUEUES_MAX 8

/* With those of the drives that are present, whose images are its own even when this fails. NULL and `error`. */
struct virtio_device *virtio_scsi_create(const struct virtio_host *host,
					 const struct drive_config drives[VIRTIO_SCSI_TARGETS],
					 unsigned queues, struct error *error);

/* That of a CD-ROM drive, by its target. */
struct tray virtio_scsi_tray(struct virtio_device *virtio, unsigned target);

#endif
