/*
 * Intel 440FX host bridge (82441FX data sheet), PIIX3 ISA bridge (82371SB) and PIIX4
 * power-management function (82371AB), as far as software looks at them to find its way:
 * identification, and what firmware programs. The registers that would move memory (PAM) or ports
 * (PMBA) are fixed: RAM behind them is always open, the ports are where the ACPI tables say.
 */
#include "device/i440fx.h"

#include <string.h>

#define VENDOR_INTEL	 0x8086
#define DEVICE_82441FX	 0x1237
#define DEVICE_82371SB	 0x7000
#define DEVICE_82371AB_PM 0x7113

#define CLASS_HOST_BRIDGE 0x060000
#define CLASS_ISA_BRIDGE  0x060100
#define CLASS_OTHER_BRIDGE 0x068000

#define COMMAND		  0x04
#define COMMAND_IO	  0x01
#define COMMAND_MEMORY	  0x02
#define COMMAND_MASTER	  0x04
#define STATUS		  0x06
#define STATUS_MEDIUM_DEVSEL_HIGH 0x02 /* in the high byte */
#define INTERRUPT_LINE	  0x3c
#define INTERRUPT_PIN	  0x3d

#define HOST_PAM	  0x59 /* ..0x5f: memory attributes of 0xc0000-0xfffff */
#define HOST_PAM_COUNT	  7
#define HOST_PAM_OPEN	  0x33 /* both halves read and write RAM */
#define ISA_PIRQ_ROUTE	  0x60 /* ..0x63 */
#define ISA_PIRQ_DISABLED 0x80
#define PM_BASE		  0x40
#define PM_BASE_IO	  0x01
#define PM_REGISTERS	  0x80
#define PM_REGISTERS_ON	  0x01

void i440fx_init(struct i440fx *chipset, struct pci_bus *bus, uint16_t pm_port, uint8_t sci_irq)
{
	struct pci_function *host = &chipset->host_bridge, *isa = &chipset->isa_bridge;
	struct pci_function *pm = &chipset->power_management;
	uint16_t pm_base = pm_port | PM_BASE_IO;

	memset(chipset, 0, sizeof(*chipset));
	chipset->bus = bus;
	pci_function_identify(host, VENDOR_INTEL, DEVICE_82441FX, CLASS_HOST_BRIDGE, 2);
	host->config[COMMAND] = COMMAND_MEMORY | COMMAND_MASTER;
	host->config[STATUS + 1] = STATUS_MEDIUM_DEVSEL_HIGH;
	memset(host->config + HOST_PAM, HOST_PAM_OPEN, HOST_PAM_COUNT);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(0, 0), host);

	pci_function_identify(isa, VENDOR_INTEL, DEVICE_82371SB, CLASS_ISA_BRIDGE, 0);
	isa->config[COMMAND] = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER;
	isa->config[STATUS + 1] = STATUS_MEDIUM_DEVSEL_HIGH;
	memset(isa->config + ISA_PIRQ_ROUTE, ISA_PIRQ_DISABLED, 4);
	memset(isa->writable + ISA_PIRQ_ROUTE, 0x8f, 4);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 0), isa);

	pci_function_identify(pm, VENDOR_INTEL, DEVICE_82371AB_PM, CLASS_OTHER_BRIDGE, 3);
	pm->config[COMMAND] = COMMAND_IO;
	pm->config[STATUS + 1] = STATUS_MEDIUM_DEVSEL_HIGH;
	pm->config[INTERRUPT_LINE] = sci_irq;
	pm->config[INTERRUPT_PIN] = 1;
	memcpy(pm->config + PM_BASE, &pm_base, sizeof(pm_base));
	pm->config[PM_REGISTERS] = PM_REGISTERS_ON;
	pm->writable[INTERRUPT_LINE] = 0xff;
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 3), pm);
}

#define FUNCTIONS 3

static void transfer(struct i440fx *chipset, uint8_t configs[][PCI_CONFIG_BYTES],
		     struct state_stream *state)
{
	pci_function_transfer(chipset->bus, &chipset->host_bridge, configs[0], state);
	pci_function_transfer(chipset->bus, &chipset->isa_bridge, configs[1], state);
	pci_function_transfer(chipset->bus, &chipset->power_management, configs[2], state);
}

static void i440fx_save(void *device, struct state_stream *state)
{
	uint8_t configs[FUNCTIONS][PCI_CONFIG_BYTES];

	transfer(device, configs, state);
}

static void i440fx_load(void *device, struct state_stream *state)
{
	struct i440fx *chipset = device;
	uint8_t configs[FUNCTIONS][PCI_CONFIG_BYTES];

	transfer(chipset, configs, state);
	if (!state_complete(state))
		return;
	pci_function_restore(chipset->bus, &chipset->host_bridge, configs[0]);
	pci_function_restore(chipset->bus, &chipset->isa_bridge, configs[1]);
	pci_function_restore(chipset->bus, &chipset->power_management, configs[2]);
}

const struct device_ops i440fx_device_ops = {
	.version = 1,
	.save = i440fx_save,
	.load = i440fx_load,
};
