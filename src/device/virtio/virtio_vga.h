/* A VGA and a GPU in one PCI function, as QEMU's virtio-vga is (virtio 1.2 §5.7.7): what knows only the one finds it, and
 * so does the driver of the other. */
#ifndef KVIK_DEVICE_VIRTIO_VIRTIO_VGA_H
#define KVIK_DEVICE_VIRTIO_VIRTIO_VGA_H

#include "device/virtio/virtio_pci.h"

#define VIRTIO_VGA_CLASS 0x030000 /* VGA-compatible */

/* `other` is the VGA: of vga_part_create. */
extern const struct virtio_pci_layout virtio_vga_layout;

#endif
