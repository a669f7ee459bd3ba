/* The chipset of a plain PCI PC: host bridge, ISA bridge, power-management function. */
#ifndef KVIK_DEVICE_I440FX_H
#define KVIK_DEVICE_I440FX_H

#include "device/bus/pci.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/pam.h"

/* Ports that are the chipset's by themselves: APM control and status. */
#define I440FX_APM_PORT	 0xb2
#define I440FX_APM_PORTS 2

/* What hangs on the chipset's registers. Called one at a time, also when a register was written with what
 * it had already; a function that is NULL isn't. */
struct i440fx_wiring {
	uint8_t sci_irq;
	/* Route the segments so. */
	void (*route_shadow)(void *context, const uint8_t access[PAM_SEGMENTS]);
	/* Have the ACPI registers' ports begin at `port`; 0: there are none. */
	void (*place_pm)(void *context, uint16_t port);
	void *context;
};

struct i440fx {
	struct pci_bus *bus;
	struct i440fx_wiring wiring;
	struct pci_function host_bridge, isa_bridge, power_management;
	/* Guards what follows, and is held while links, segments and ports are wired, so that the last
	 * write counts. */
	pthread_mutex_t lock;
	uint8_t apm[I440FX_APM_PORTS];
};

/* Fill in the functions and put them on the bus. */
void i440fx_init(struct i440fx *chipset, struct pci_bus *bus, const struct i440fx_wiring *wiring);
/* As firmware does: wire the interrupt links A to D to these inputs of the PICs, put the ACPI registers
 * at `pm_port`, and open all shadow RAM. */
void i440fx_set_up(struct i440fx *chipset, const uint8_t irqs[PCI_PINS], uint16_t pm_port);
/* Shadow RAM alone: for firmware that goes on after a sleep, and did so itself at power-on. */
void i440fx_open_shadow(struct i440fx *chipset);

/* device: struct i440fx, on a bus that is reset, saved and loaded before. Its owner's memory. */
extern const struct device_ops i440fx_device_ops;
extern const struct pio_ops i440fx_apm_pio_ops;

#endif
