/*
 * A disk or a CD-ROM drive by USB (Mass Storage Class, Bulk-Only Transport 1.0, with SCSI's commands): what is a memory
 * stick to its guest. What commands mean is scsi.h's matter; here they, their data and their ends go over two pipes.
 */
#ifndef KVIK_DEVICE_USB_MASS_STORAGE_H
#define KVIK_DEVICE_USB_MASS_STORAGE_H

#include "device/storage/drive.h"
#include "device/storage/tray.h"
#include "device/usb/usb.h"

/* The image is the device's from now on, also when this fails: NULL and `error`. `is_removable` is what INQUIRY says of a
 * disk's medium. */
struct usb_device *usb_mass_storage_create(const struct drive_config *config, bool is_removable, struct error *error);

/* A CD-ROM drive's, of a device that is plugged in. */
struct tray usb_mass_storage_tray(struct usb_device *device);

#endif
