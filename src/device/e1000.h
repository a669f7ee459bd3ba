/* Intel's 82540EM, a gigabit network controller on PCI: what -device e1000 is. struct e1000 is any card of its family. */
#ifndef KVIK_DEVICE_E1000_H
#define KVIK_DEVICE_E1000_H

#include "device/bus/pci.h"
#include "device/bus/pci_rom.h"
#include "device/e1000_eeprom.h"
#include "net/link.h"
#include "util/event_loop.h"

struct e1000;

/*
 * Put the function on the bus. The link is the device's own from now on, also when this fails. Frames come and go on a
 * thread of the device's, or, where `loop` is given (tests), on that one. `rom` is copied. NULL and `error`.
 */
struct e1000 *e1000_create(struct pci_bus *bus, unsigned slot_function, const struct net_link *link,
			   const uint8_t mac[E1000_MAC_BYTES], const struct pci_rom *rom,
			   struct event_loop *loop, struct error *error);

extern const struct device_ops e1000_device_ops; /* of all of the family; device: struct e1000 */

/* Plug its cable in or pull it out: what is sent or comes meanwhile is lost, and the driver is told. Any thread. */
void e1000_set_link(struct e1000 *e1000, bool is_up);

#endif
