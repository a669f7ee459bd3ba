/*
 * Interrupts of a PCI function by eventfd: who signals it, on any thread or in another process, has
 * the function send a vector by MSI-X or MSI. No lock is taken and no request made: the contract
 * waits for the signal (KVM api.rst 4.75, KVM_IRQFD) and sends the message that the vector has.
 *
 * Only while the vector may be sent, though. The signal of a masked one stays in the eventfd, which so
 * is its pending bit, and is seen as such in the function's registers. While messages are off, the
 * function may not be bus master or the vector is none, signals are lost, as those of pci_notify are:
 * INTx is for the device to drive (pci_has_messages).
 */
#ifndef KVIK_DEVICE_BUS_PCI_IRQFD_H
#define KVIK_DEVICE_BUS_PCI_IRQFD_H

#include "device/bus/pci.h"

#define PCI_NO_VECTOR 0xffff

/* Owned and embedded by its device. */
struct pci_irqfd {
	int fd; /* an eventfd, which does not block; others may have duplicates of it */
	struct pci_function *function;
	int gsi; /* its place at the target of messages; -1: has none */
	/* Guarded by the function's lock: */
	struct pci_irqfd *next;
	unsigned vector;
	enum pci_vector_state state; /* open: connected */
	bool is_routed;		     /* the target has this message: */
	uint64_t address;
	uint32_t data;
};

/* After pci_bus_add, before the machine runs; without a vector. 0 or -errno. */
int pci_irqfd_init(struct pci_irqfd *irqfd, struct pci_function *function, struct error *error);
void pci_irqfd_destroy(struct pci_irqfd *irqfd); /* before the function; also fine on a zeroed one */

/* Which vector it sends, or PCI_NO_VECTOR; several may send the same. Any thread. */
void pci_irqfd_set_vector(struct pci_irqfd *irqfd, unsigned vector);
void pci_irqfd_signal(const struct pci_irqfd *irqfd); /* any thread */

#endif
