/* Intel's 82574L, a gigabit network controller on PCI Express: what -device e1000e is. */
#ifndef KVIK_DEVICE_E1000E_H
#define KVIK_DEVICE_E1000E_H

#include "device/e1000.h"

/* As e1000_create; and e1000_device_ops and e1000_set_link are for it, too. */
struct e1000 *e1000e_create(struct pci_bus *bus, unsigned slot_function, const struct net_link *link,
			    const uint8_t mac[E1000_MAC_BYTES], const struct pci_rom *rom,
			    struct event_loop *loop, struct error *error);

#endif
