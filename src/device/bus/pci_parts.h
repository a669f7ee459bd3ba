/*
 * The PCI bus from inside, for its own files, of which each uses those before it: pci_function.c is
 * what a function is, pci_bridge.c what a bridge is, pci_vector.c what becomes of its messages, pci_irqfd.c messages by eventfd,
 * pci_interrupt.c pins and messages, pci_rom.c expansion ROMs, pci_window.c the BARs, pci_state.c reset, saving and loading,
 * pci_bus.c the bus.
 */
#ifndef KVIK_DEVICE_BUS_PCI_PARTS_H
#define KVIK_DEVICE_BUS_PCI_PARTS_H

#include "device/bus/pci.h"

/*
 * Lock order: tree_lock, window_lock, a function's lock, link_lock. The locks are bus 0's for all.
 *
 * tree_lock is held for reading by accesses to configuration space, which so may be many at once and one
 * inside another, and for writing, for a moment, by the I/O thread that changes what is on the buses.
 */
struct pci_bus {
	struct pci_bus_config config;
	struct pci_function *functions[PCI_FUNCTIONS]; /* guarded by tree_lock; not owned */
	struct pci_bus *root;	     /* bus 0; may be this one */
	struct pci_function *bridge; /* that it is behind; NULL: it is bus 0 */
	struct pci_bus *next;	     /* all that are behind bridges; fixed while vCPUs run */
	/* Bus 0's: */
	pthread_rwlock_t tree_lock;
	pthread_mutex_t window_lock; /* guards where all BARs are; held while a window is awaited */
	pthread_mutex_t port_lock; /* guards the two registers of the configuration ports */
	uint32_t address;
	uint8_t reset_control;
	pthread_mutex_t link_lock; /* guards what follows; held while lines are driven */
	uint8_t link_gsi[PCI_LINKS_MAX];
	uint8_t wired_gsi[PCI_LINKS_MAX]; /* fixed while vCPUs run */
	unsigned link_users[PCI_LINKS_MAX]; /* functions that drive it */
};

/* The bus with that number, as software has given it, or NULL. */
struct pci_bus *pci_bus_numbered(struct pci_bus *root, unsigned number);
/* Whether all bridges above the bus forward accesses of `size_bytes` at the address. */
bool pci_bus_is_reached(const struct pci_bus *bus, bool is_memory, uint64_t address,
			uint64_t size_bytes);

static inline uint32_t pci_get(const struct pci_function *function, unsigned offset, unsigned size)
{
	uint32_t value = 0;
	unsigned i;

	for (i = 0; i < size; i++)
		value |= (uint32_t)function->config[offset + i] << (8 * i);
	return value;
}

static inline void pci_put(uint8_t *config, unsigned offset, unsigned size, uint32_t value)
{
	unsigned i;

	for (i = 0; i < size; i++)
		config[offset + i] = value >> (8 * i);
}

static inline bool pci_overlaps(unsigned offset, unsigned size, unsigned first, unsigned bytes)
{
	return offset < first + bytes && first < offset + size;
}

/* Describe the BARs in the configuration space; of pci_bus_add. */
void pci_windows_describe(struct pci_function *function);
/* Put the function's windows where its registers say. Without its lock. */
void pci_windows_update(struct pci_function *function);
void pci_windows_remove(struct pci_function *function);
/* The same for all that is on a bus, and behind it. */
void pci_windows_update_behind(struct pci_bus *bus);

#define PCI_MSIX_PBA_BYTES(vectors) (((vectors) + 63) / 64 * 8)

void pci_msix_clear(struct pci_function *function);
/* Accesses to the table and the pending bits of MSI-X, where a window holds them. */
bool pci_msix_holds(const struct pci_bar *bar, uint64_t offset);
uint64_t pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size);
void pci_msix_write(struct pci_function *function, uint64_t offset, unsigned size, uint64_t value);

/* With the function's lock held: after its registers changed, the pin and what became unmasked;
 * and all of it to its first state. */
void pci_update_pin(struct pci_function *function);
void pci_update_messages(struct pci_function *function);
void pci_interrupts_reset(struct pci_function *function);

/* A vector of MSI-X or MSI, whichever is on; the message is filled in when it is open. With the
 * function's lock held. */
struct pci_message {
	uint64_t address;
	uint32_t data;
};
enum pci_vector_state pci_vector_state(const struct pci_function *function, unsigned vector,
				       struct pci_message *message);
void pci_vector_set_pending(struct pci_function *function, unsigned vector);
void pci_message_send(struct pci_function *function, const struct pci_message *message);
void pci_send_unmasked(struct pci_function *function); /* what is pending and may leave */
bool pci_messages_are_on(const struct pci_function *function);

/* With the function's lock held: connect and disconnect its eventfds as the registers say; have
 * the pending bits tell which of them are signalled; and for saving, have nothing under way. */
void pci_irqfds_update(struct pci_function *function);
void pci_irqfds_collect(struct pci_function *function);
void pci_irqfds_settle(struct pci_function *function);

#endif
