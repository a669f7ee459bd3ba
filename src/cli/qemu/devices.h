/*
 * The devices that -device adds: one table says which there are, what they are called, and what may be
 * said of them. From it come -device's checks and help, and what QMP's qom-list-types and
 * device-list-properties answer.
 */
#ifndef KVIK_CLI_QEMU_DEVICES_H
#define KVIK_CLI_QEMU_DEVICES_H

#include <jansson.h>
#include <stdio.h>

#include "cli/qemu/keyval.h"

enum device_role {
	ROLE_DISK,    /* virtio-blk */
	ROLE_AHCI,
	ROLE_NVME, /* with its disk */
	ROLE_IDE_DISK, /* of IDE or AHCI */
	ROLE_SCSI_ADAPTER, /* virtio-scsi */
	ROLE_SCSI_DISK,
	ROLE_NETWORK, /* virtio-net */
	ROLE_ENTROPY,
	ROLE_BALLOON,
	ROLE_VSOCK,
	ROLE_FOLDER, /* virtio-9p */
	ROLE_SERIAL_BUS, /* virtio-serial, for: */
	ROLE_CONSOLE,
	ROLE_PORT,
	ROLE_ISA_SERIAL,
	ROLE_ISA_DEBUGCON,
	ROLE_ROOT_PORT, /* pcie-root-port */
	ROLE_DISPLAY,
	ROLE_XHCI,
	ROLE_USB_DEVICE, /* tablet, mouse, keyboard */
	ROLE_USB_DISK,	 /* usb-storage */
	ROLE_TPM,
	ROLE_CPU, /* MODEL-x86_64-cpu */
	ROLE_DIMM, /* memory, in a slot */
	ROLE_OPTION, /* one that `kvik run --device` has by the same name */
};

struct device_driver {
	const char *name, *other_name; /* other_name: or NULL */
	enum device_role role;
	const char *parent;    /* its type's parent in QEMU's tree of types */
	bool is_pci, is_virtio; /* which properties it has besides its own */
	const struct property *properties;
	const char *help;
};

/* What is plugged into a USB controller. */
static inline bool device_is_usb(const struct device_driver *driver)
{
	return driver->role == ROLE_USB_DEVICE || driver->role == ROLE_USB_DISK;
}

#define DEVICE_CPU_SUFFIX "-x86_64-cpu"

/* By either name, and all models of CPUs as one; NULL, and `error` with the way out. There is none for no name. */
const struct device_driver *device_driver_find(const char *name, struct error *error);

/* Whether the driver has all keys of the object; "driver" is among them. 0, or -EINVAL and `error`. */
int device_check(const struct device_driver *driver, json_t *object, struct error *error);

/* Whether a key is a number by the driver's table, in whatever form it was said. */
bool device_property_is_number(const struct device_driver *driver, const char *key);

void devices_print_help(FILE *file);
void device_print_help(FILE *file, const struct device_driver *driver);

/* All types: name to {"parent", "abstract", "properties"}; the caller's. */
json_t *devices_describe_types(void);

#endif
