/*
 * A host controller for USB (xHCI 1.0), as QEMU's qemu-xhci (1b36:000d): ports for USB 2 with up to eight devices, ports
 * for USB 3 without any, one interrupter, MSI-X. Not modelled: streams, isochronous transfers, power states of links,
 * saving by the guest (CSS, CRS).
 *
 * Its rings and contexts lie in the guest's memory and are hostile: what is read is copied and checked, what it leads to
 * is bounded for each doorbell, and nonsense stops the controller with an error until the guest resets it.
 */
#ifndef KVIK_DEVICE_USB_XHCI_H
#define KVIK_DEVICE_USB_XHCI_H

#include "device/bus/pci.h"
#include "device/usb/usb.h"

#define XHCI_USB2_PORTS 8
#define XHCI_USB3_PORTS 4
#define XHCI_PORTS	(XHCI_USB2_PORTS + XHCI_USB3_PORTS)

struct xhci;

/* Put the function on the bus. NULL and `error`. */
struct xhci *xhci_create(struct pci_bus *bus, unsigned slot_function, struct error *error);

/* Plug a device in, which is the controller's from now on, also when this fails: at a port from 1 to XHCI_USB2_PORTS, or
 * 0 for the first that is free. At any time, on the I/O thread. The port, or -ENOSPC and `error`. */
int xhci_plug(struct xhci *xhci, struct usb_device *device, unsigned port, struct error *error);
/* What is plugged in at a port, or NULL. Likewise. */
struct usb_device *xhci_device_at(struct xhci *xhci, unsigned port);
/* Pull out what is at a port, and destroy it; nothing, where nothing is. Likewise. */
void xhci_unplug(struct xhci *xhci, unsigned port);

extern const struct device_ops xhci_device_ops; /* device: struct xhci */

#endif
