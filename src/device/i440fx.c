/*
 * Intel 440FX host bridge (82441FX data sheet), PIIX3 ISA bridge (82371SB) and PIIX4
 * power-management function (82371AB), as far as software looks at them to find its way:
 * identification, what firmware programs, and the routing of the PCI interrupt links to the PICs'
 * inputs. The registers that would move memory (PAM) or ports (PMBA) are fixed: RAM behind them is
 * always open, the ports are where the ACPI tables say.
 */
#include "device/i440fx.h"

#include <stddef.h>
#include <string.h>

#define VENDOR_INTEL	 0x8086
#define DEVICE_82441FX	 0x1237
#define DEVICE_82371SB	 0x7000
#define DEVICE_82371AB_PM 0x7113

#define CLASS_HOST_BRIDGE 0x060000
#define CLASS_ISA_BRIDGE  0x060100
#define CLASS_OTHER_BRIDGE 0x068000

#define HOST_PAM	  0x59 /* ..0x5f: memory attributes of 0xc0000-0xfffff */
#define HOST_PAM_COUNT	  7
#define HOST_PAM_OPEN	  0x33 /* both halves read and write RAM */
#define ISA_PIRQ_ROUTE	  0x60 /* ..0x63: PIRQA# to PIRQD# */
#define ISA_PIRQ_DISABLED 0x80
#define ISA_PIRQ_IRQ	  0x0f
#define ISA_PIRQ_IRQS	  0xdef8 /* those that it may be: not 0, 1, 2, 8, 13 */
#define PM_BASE		  0x40
#define PM_BASE_IO	  0x01
#define PM_REGISTERS	  0x80
#define PM_REGISTERS_ON	  0x01

#define FUNCTIONS 3

/* Wire a link as its register says. */
static void update_route(struct i440fx *chipset, unsigned link)
{
	uint8_t value = pci_config_get(&chipset->isa_bridge, ISA_PIRQ_ROUTE + link, 1);
	unsigned irq = value & ISA_PIRQ_IRQ;
	bool is_routed = !(value & ISA_PIRQ_DISABLED) && (ISA_PIRQ_IRQS >> irq & 1);

	pci_bus_route(chipset->bus, link, is_routed ? irq : PCI_NO_GSI);
}

static void update_routes(struct i440fx *chipset)
{
	unsigned link;

	for (link = 0; link < PCI_PINS; link++)
		update_route(chipset, link);
}

static void isa_bridge_written(struct pci_function *isa, unsigned offset, unsigned size)
{
	struct i440fx *chipset = (struct i440fx *)((char *)isa - offsetof(struct i440fx, isa_bridge));

	if (offset < ISA_PIRQ_ROUTE + PCI_PINS && offset + size > ISA_PIRQ_ROUTE) {
		pthread_mutex_lock(&chipset->route_lock);
		update_routes(chipset);
		pthread_mutex_unlock(&chipset->route_lock);
	}
}

void i440fx_init(struct i440fx *chipset, struct pci_bus *bus, uint16_t pm_port, uint8_t sci_irq)
{
	struct pci_function *host = &chipset->host_bridge, *isa = &chipset->isa_bridge;
	struct pci_function *pm = &chipset->power_management;
	uint16_t pm_base = pm_port | PM_BASE_IO;

	memset(chipset, 0, sizeof(*chipset));
	pthread_mutex_init(&chipset->route_lock, NULL);
	chipset->bus = bus;
	pci_function_init(host, VENDOR_INTEL, DEVICE_82441FX, CLASS_HOST_BRIDGE, 2);
	host->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	host->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	memset(host->config + HOST_PAM, HOST_PAM_OPEN, HOST_PAM_COUNT);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(0, 0), host);

	pci_function_init(isa, VENDOR_INTEL, DEVICE_82371SB, CLASS_ISA_BRIDGE, 0);
	isa->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	isa->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	memset(isa->config + ISA_PIRQ_ROUTE, ISA_PIRQ_DISABLED, PCI_PINS);
	memset(isa->writable + ISA_PIRQ_ROUTE, ISA_PIRQ_DISABLED | ISA_PIRQ_IRQ, PCI_PINS);
	isa->config_written = isa_bridge_written;
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 0), isa);

	pci_function_init(pm, VENDOR_INTEL, DEVICE_82371AB_PM, CLASS_OTHER_BRIDGE, 3);
	pm->config[PCI_COMMAND] = PCI_COMMAND_IO;
	pm->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	pm->config[PCI_INTERRUPT_LINE] = sci_irq;
	/* A pin of its own, wired to the SCI: no link. */
	pm->config[PCI_INTERRUPT_PIN] = 1;
	memcpy(pm->config + PM_BASE, &pm_base, sizeof(pm_base));
	pm->config[PM_REGISTERS] = PM_REGISTERS_ON;
	pm->writable[PCI_INTERRUPT_LINE] = 0xff;
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 3), pm);
}

void i440fx_set_routes(struct i440fx *chipset, const uint8_t irqs[PCI_PINS])
{
	unsigned link;

	for (link = 0; link < PCI_PINS; link++)
		pci_config_write(chipset->bus, PCI_SLOT_FUNCTION(1, 0), ISA_PIRQ_ROUTE + link, 1,
				 irqs[link]);
}

/* The bus has reset the functions. */
static void i440fx_reset(void *device)
{
	update_routes(device);
}

static void transfer(struct i440fx *chipset, struct pci_function_state saved[FUNCTIONS],
		     struct state_stream *state)
{
	pci_function_transfer(&chipset->host_bridge, &saved[0], state);
	pci_function_transfer(&chipset->isa_bridge, &saved[1], state);
	pci_function_transfer(&chipset->power_management, &saved[2], state);
}

static void i440fx_save(void *device, struct state_stream *state)
{
	struct pci_function_state saved[FUNCTIONS];
	unsigned i;

	transfer(device, saved, state);
	for (i = 0; i < FUNCTIONS; i++)
		pci_function_state_free(&saved[i]);
}

static void i440fx_load(void *device, struct state_stream *state)
{
	struct i440fx *chipset = device;
	struct pci_function_state saved[FUNCTIONS];
	unsigned i;

	transfer(chipset, saved, state);
	if (state_complete(state)) {
		pci_function_restore(&chipset->host_bridge, &saved[0]);
		pci_function_restore(&chipset->isa_bridge, &saved[1]);
		pci_function_restore(&chipset->power_management, &saved[2]);
		update_routes(chipset);
	}
	for (i = 0; i < FUNCTIONS; i++)
		pci_function_state_free(&saved[i]);
}

static void i440fx_destroy(void *device)
{
	struct i440fx *chipset = device;

	pci_function_destroy(&chipset->power_management);
	pci_function_destroy(&chipset->isa_bridge);
	pci_function_destroy(&chipset->host_bridge);
	pthread_mutex_destroy(&chipset->route_lock);
}

const struct device_ops i440fx_device_ops = {
	.version = 1,
	.reset = i440fx_reset,
	.save = i440fx_save,
	.load = i440fx_load,
	.destroy = i440fx_destroy,
};
