/*
 * A PCI bus and the functions on it (PCI Local Bus 3.0): configuration space by configuration
 * mechanism #1 (ports 0xcf8 and 0xcfc) and by memory (ECAM, PCI Express 3.0 §7.2.2), base address
 * registers that move while the guest runs, INTx pins, MSI and MSI-X.
 *
 * A device embeds a struct pci_function, and describes it before the machine runs: identification,
 * BARs, capabilities. The bus then does what is the same for all functions:
 * - it keeps the configuration space, of which a mask says what software may write, and tells the
 *   function what was written;
 * - it puts the BARs' windows on the port and memory buses and takes them off again, as the BARs and
 *   the command register say. When a window is gone no access is in it any more;
 * - it sends interrupts the way that the guest has chosen, holds back what is masked, and remembers
 *   it as pending.
 *
 * A function may be a bridge (pci_bridge.h), with a bus of its own behind it: configuration accesses find
 * it by the bridge's numbers, windows open where all bridges above forward them, and its pins come out
 * of the bridge's own.
 *
 * Locks. Each function has one, for its configuration space and vectors; nothing of the device is
 * called with it held, so a device calls the functions below with its own lock held. Windows are
 * moved under a lock of the bus that no access to a BAR may need: a device never writes its own
 * command register or BARs from inside an access to a BAR.
 */
#ifndef KVIK_DEVICE_BUS_PCI_H
#define KVIK_DEVICE_BUS_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/bus/mmio.h"
#include "device/bus/pci_registers.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/guest_memory.h"
#include "device/irq_line.h"
#include "device/msi.h"
#include "device/power.h"

#define PCI_CONFIG_PORT	 0xcf8 /* address at 0xcf8, reset control at 0xcf9, data at 0xcfc */
#define PCI_CONFIG_PORTS 8
#define PCI_ECAM_BUS_BYTES (1u << 20) /* 256 functions of 4 KiB each */
#define PCI_ECAM_BYTES	   PCI_ECAM_BUS_BYTES /* of bus 0 */

#define PCI_SLOT_FUNCTION(slot, function) ((slot) << 3 | (function))
#define PCI_SLOTS	 32
#define PCI_FUNCTIONS	 256
#define PCI_CONFIG_BYTES 256
#define PCI_BARS	 6
#define PCI_ROM_BAR	 6 /* the expansion ROM's, behind them */
#define PCI_WINDOWS	 7
#define PCI_PINS	 4
#define PCI_LINKS_MAX	 8
#define PCI_MSIX_MAX	 2048

struct pci_bus;
struct pci_function;
struct pci_irqfd;

/* What becomes of a vector that is sent now: nothing; it stays pending; it leaves. */
enum pci_vector_state { PCI_VECTOR_OFF, PCI_VECTOR_MASKED, PCI_VECTOR_OPEN };

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64, PCI_BAR_ROM };

/* A base address register. The device fills in the first part, before pci_bus_add. */
struct pci_bar {
	enum pci_bar_kind kind; /* MEMORY64 takes the next register, too */
	bool is_prefetchable;
	uint64_t size_bytes; /* a power of two; I/O: 4 to 256, memory: 16 or more */
	const char *name;
	/* What an access to the window calls; with `device`. Of memory, NULL: reads are ones. */
	const struct pio_ops *pio;
	const struct mmio_ops *mmio;
	void *device;
	/*
	 * The window appears at `address` (a port or a guest-physical address), or has gone from
	 * there. For what isn't an access that exits: a memory slot, an eventfd. One call at a time
	 * on a bus, without a function's lock. NULL: nothing else to do.
	 */
	void (*activate)(struct pci_function *function, unsigned bar, uint64_t address);
	void (*deactivate)(struct pci_function *function, unsigned bar, uint64_t address);
	/* The bus's own, guarded by its lock for windows: */
	struct pci_function *function;
	bool is_mapped;
	uint64_t address;
};

/* A function. Owned and embedded by its device. */
struct pci_function {
	pthread_mutex_t lock; /* guards everything below up to `irqfds` */
	uint8_t config[PCI_CONFIG_BYTES];
	bool intx_level; /* the device's wish; what is seen depends on the command register */
	bool intx_driven; /* the pin */
	uint8_t *msix_table; /* owned; NULL: no MSI-X */
	uint64_t msix_pending[PCI_MSIX_MAX / 64];
	struct pci_irqfd *irqfds; /* pci_irqfd.h; not owned */
	/* Fixed once it is on a bus: */
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits that software may change */
	uint8_t volatile_bits[PCI_CONFIG_BYTES]; /* bits that the function itself changes */
	uint8_t cleared_by_ones[PCI_CONFIG_BYTES]; /* of these: bits that software clears by writing ones */
	uint8_t initial[PCI_CONFIG_BYTES];  /* config at reset; taken by pci_bus_add */
	struct pci_bar bars[PCI_WINDOWS];
	uint8_t *rom; /* owned; NULL: no expansion ROM (pci_rom.h) */
	uint8_t capability_end; /* the first free byte for a capability */
	uint8_t msi, msix, express; /* offsets of their capabilities; 0: none */
	unsigned msix_vectors, msix_bar;
	uint32_t msix_table_offset, msix_pba_offset; /* in that BAR */
	/* After software wrote [offset, offset + size); NULL: nothing to do. The accessing thread,
	 * without locks: others may have written since. */
	void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
	/* Before software reads it: the function may bring it up to date. NULL likewise. */
	void (*config_reading)(struct pci_function *function, unsigned offset, unsigned size);
	bool is_express; /* of PCI Express also on bus 0: an endpoint that is integrated there */
	struct pci_bus *bus;
	unsigned slot_function;
	struct pci_bus *secondary; /* behind this bridge; NULL: it is none. Not owned */
};

/* Description, before pci_bus_add. `class_code` is 24 bits. */
void pci_function_init(struct pci_function *function, uint16_t vendor, uint16_t device,
		       uint32_t class_code, uint8_t revision);
void pci_function_set_subsystem(struct pci_function *function, uint16_t vendor, uint16_t device);
/* The function has an interrupt pin: 1 to 4 for INTA# to INTD#. */
void pci_function_set_pin(struct pci_function *function, uint8_t pin);
/* Room for a capability of `size` bytes, its first two filled in; its offset. */
uint8_t pci_add_capability(struct pci_function *function, uint8_t id, uint8_t size);
/* MSI with `vectors` (1, 2, 4 ... 32) messages, 64-bit addresses and masks. */
void pci_add_msi(struct pci_function *function, unsigned vectors);
/* MSI-X with 1 to PCI_MSIX_MAX vectors: table and pending bits (a multiple of 8 bytes each) lie in a
 * memory BAR at these offsets, multiples of 8, where the device isn't asked. 0 or -ENOMEM. */
int pci_add_msix(struct pci_function *function, unsigned vectors, unsigned bar,
		 uint32_t table_offset, uint32_t pba_offset, struct error *error);
void pci_function_destroy(struct pci_function *function); /* takes its windows away */

/* A little-endian register of 1, 2 or 4 bytes, for devices: without masks. Any thread. */
uint32_t pci_config_get(struct pci_function *function, unsigned offset, unsigned size);
void pci_config_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value);
/* Clear some bits and set others at once. The register as it is now. */
uint32_t pci_config_change(struct pci_function *function, unsigned offset, unsigned size,
			   uint32_t cleared, uint32_t set);

/* Interrupts. Any thread, device locks held. Without a lock, and by other processes: pci_irqfd.h. */
void pci_set_intx(struct pci_function *function, bool level);
bool pci_has_messages(struct pci_function *function); /* MSI or MSI-X is on: INTx isn't seen */
/* Send vector `vector` by MSI-X or MSI, whichever is on; nothing when neither is. */
void pci_notify(struct pci_function *function, unsigned vector);

/* The function as bus master: guest memory, -EACCES while software has not allowed it. Any thread. */
int pci_dma_read(struct pci_function *function, uint64_t gpa, void *data, size_t size);
int pci_dma_write(struct pci_function *function, uint64_t gpa, const void *data, size_t size);
/* Guest memory itself, for those who have asked before whether they may, and for lists of it. */
const struct guest_memory *pci_memory(const struct pci_function *function);
bool pci_is_master(struct pci_function *function);

/* Back to its first state. Done for all functions when the bus is reset. */
void pci_function_reset(struct pci_function *function);

/* Write configuration space, MSI-X table and interrupt line. While the machine stands still. */
void pci_function_save(struct pci_function *function, struct state_stream *state);
/*
 * The same by a stream that saves, or load a function into `saved` and check it: what software cannot write must be
 * as here. After state_complete, restore takes it over. `saved` is freed in any case.
 */
struct pci_function_state {
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t *msix_table; /* owned */
	uint64_t msix_pending[PCI_MSIX_MAX / 64];
	bool intx_level;
};
void pci_function_transfer(struct pci_function *function, struct pci_function_state *saved,
			   struct state_stream *state);
void pci_function_restore(struct pci_function *function, const struct pci_function_state *saved);
void pci_function_state_free(struct pci_function_state *saved);

#define PCI_NO_GSI 0xff

struct pci_bus_config {
	struct power power;
	struct pio_bus *pio; /* where the BARs' windows go */
	struct mmio_bus *mmio;
	const struct guest_memory *memory;
	struct irq_line irq; /* `gsi` is filled in */
	struct msi_target msi;
	/* Which of the interrupt links pin 0 to 3 (INTA# is 0) of a slot of bus 0 drives, below PCI_LINKS_MAX.
	 * NULL: pci_link_of, with PCI_PINS of them. */
	unsigned (*link_of)(unsigned slot, unsigned pin);
};

/* Bus 0, without functions. NULL and `error`: no memory. The bus is a device on the board's list: pci_bus_device_ops. */
struct pci_bus *pci_bus_create(const struct pci_bus_config *config, struct error *error);

/* Put a function at PCI_SLOT_FUNCTION(...) of a bus, where there is none. I/O thread. Behind a PCI Express
 * port it becomes an endpoint of that. */
void pci_bus_add(struct pci_bus *bus, unsigned slot_function, struct pci_function *function);
struct pci_function *pci_bus_at(const struct pci_bus *bus, unsigned slot_function); /* or NULL */
/* A slot with nothing in it, but 0, which is a host bridge's; -1 when all are taken. */
int pci_bus_free_slot(const struct pci_bus *bus);

/* Take a function off its bus, while it goes on to exist: no access is in it any more, and its pin is low.
 * I/O thread, without locks; also fine for one that is on none. */
void pci_bus_remove(struct pci_function *function);

/*
 * Wire one of bus 0's interrupt links to a GSI or to none (PCI_NO_GSI). Any thread. A link may have an input
 * that it always drives besides, an I/O APIC's: that is wired before the machine runs.
 */
void pci_bus_route(struct pci_bus *bus, unsigned link, uint8_t gsi);
void pci_bus_wire(struct pci_bus *bus, unsigned link, uint8_t gsi);
/* Pin p of slot s drives link (s + p - 1) mod 4 on the PIIX boards. */
unsigned pci_link_of(unsigned slot, unsigned pin);
/* As the bus of the slot has it, whichever that is. */
unsigned pci_bus_link_of(const struct pci_bus *bus, unsigned slot, unsigned pin);

/* Configuration accesses as software makes them: 1, 2 or 4 bytes inside a doubleword. Any thread,
 * without locks. */
uint32_t pci_config_read(struct pci_bus *bus, unsigned slot_function, unsigned offset,
			 unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned slot_function, unsigned offset, unsigned size,
		      uint32_t value);

/* device: struct pci_bus. Destroyed after all its functions. */
extern const struct device_ops pci_bus_device_ops;
extern const struct pio_ops pci_bus_pio_ops;	/* PCI_CONFIG_PORTS */
/* PCI_ECAM_BUS_BYTES for bus 0, and as much for each further one that it reaches. */
extern const struct mmio_ops pci_bus_ecam_ops;
/* Whether this thread is in an access to it: whose range must not be removed then. */
bool pci_bus_is_in_ecam(void);

#endif
