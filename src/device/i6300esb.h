/* A watchdog: that of Intel's 6300ESB I/O controller hub. */
#ifndef KVIK_DEVICE_I6300ESB_H
#define KVIK_DEVICE_I6300ESB_H

#include "device/bus/pci.h"
#include "device/device.h"
#include "util/event_loop.h"

struct i6300esb;

/* On `bus` at PCI_SLOT_FUNCTION(...). When a guest lets it run out it requests POWER_WATCHDOG. */
struct i6300esb *i6300esb_create(struct pci_bus *bus, unsigned slot_function, struct event_loop *loop,
				 const struct power *power, struct error *error);

/* device: struct i6300esb, on a bus that is reset, saved and loaded before. */
extern const struct device_ops i6300esb_device_ops;

#endif
