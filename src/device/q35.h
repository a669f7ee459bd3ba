/* The chipset of a PCI Express PC: host bridge (MCH), LPC bridge and SMBus (ICH9). */
#ifndef KVIK_DEVICE_Q35_H
#define KVIK_DEVICE_Q35_H

#include "device/bus/pci.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/pam.h"

/* Ports that are the chipset's by themselves: APM control and status. */
#define Q35_APM_PORT  0xb2
#define Q35_APM_PORTS 2

#define Q35_ROOT_COMPLEX_BYTES (1u << 14)

/* Slots with something in them: the LPC bridge is function 0 of its own, AHCI function 2, SMBus 3. */
#define Q35_ICH9_SLOT	   31

/* The interrupt links PIRQA# to PIRQH#; each drives an input of the I/O APIC of its own, too. */
#define Q35_LINKS	   8
#define Q35_FIRST_APIC_GSI 16
/* struct pci_bus_config.link_of: slots 25 to 31 have PIRQA# to PIRQD#, the others share the rest (ICH9 data
 * sheet §5.10; the assignments of its chip configuration registers at reset). */
unsigned q35_link_of(unsigned slot, unsigned pin);

/* What hangs on the chipset's registers. Called one at a time, also when a register was written with what
 * it had already; a function that is NULL isn't. */
struct q35_wiring {
	/* Route the segments so. */
	void (*route_shadow)(void *context, const uint8_t access[PAM_SEGMENTS]);
	/* Have the ACPI registers' ports begin at `port`; 0: there are none. */
	void (*place_pm)(void *context, uint16_t port);
	/* Have configuration space by memory at [gpa, gpa + bytes); 0 bytes: nowhere. Not called by whom is in
	 * an access to it, but such an access may be under way on other threads. */
	void (*place_ecam)(void *context, uint64_t gpa, uint64_t bytes);
	/* The root complex's registers, Q35_ROOT_COMPLEX_BYTES of them; 0: nowhere. */
	void (*place_root_complex)(void *context, uint64_t gpa);
	void *context;
};

struct q35 {
	struct pci_bus *bus;
	struct q35_wiring wiring;
	struct pci_function host_bridge, lpc, smbus;
	/* Held while the ECAM is moved, and by nobody who is in an access to it; likewise the root complex's
	 * registers. */
	pthread_mutex_t ecam_lock, root_complex_lock;
	/* Guards what follows, and is held while links, segments and ports are wired, so that the last
	 * write counts. */
	pthread_mutex_t lock;
	uint8_t apm[Q35_APM_PORTS];
	uint32_t general_control; /* of the root complex */
	uint8_t smbus_registers[32];
};

/* Fill in the functions and put them on the bus. */
void q35_init(struct q35 *chipset, struct pci_bus *bus, const struct q35_wiring *wiring);
/* As firmware does: wire the interrupt links to these inputs of the PICs, put the ACPI registers at
 * `pm_port` and 256 MiB of configuration space at `ecam_gpa`, and open all shadow RAM. */
void q35_set_up(struct q35 *chipset, const uint8_t irqs[Q35_LINKS], uint16_t pm_port,
		uint64_t ecam_gpa);
/* Shadow RAM alone: for firmware that goes on after a sleep, and did so itself at power-on. */
void q35_open_shadow(struct q35 *chipset);

/* device: struct q35, on a bus that is reset, saved and loaded before. Its owner's memory. */
extern const struct device_ops q35_device_ops;
extern const struct pio_ops q35_apm_pio_ops;
extern const struct mmio_ops q35_root_complex_ops; /* Q35_ROOT_COMPLEX_BYTES */

#endif
