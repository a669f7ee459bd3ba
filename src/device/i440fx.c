/*
 * Intel 440FX host bridge (82441FX data sheet), PIIX3 ISA bridge (82371SB) and PIIX4
 * power-management function (82371AB), as far as firmware programs them and software looks at them to
 * find its way: identification, shadow RAM (PAM), the routing of the PCI interrupt links to the PICs'
 * inputs, where the ACPI registers are, and the APM ports as two bytes.
 *
 * Not modelled: system management mode. DEVACTB reads as if SMIs had been set up already, so that firmware
 * leaves them alone; writes to the APM control port cause none.
 */
#include "device/i440fx.h"

#include <stddef.h>
#include <string.h>

#include "device/locked_bytes.h"

#define VENDOR_INTEL	 0x8086
#define DEVICE_82441FX	 0x1237
#define DEVICE_82371SB	 0x7000
#define DEVICE_82371AB_PM 0x7113

/* By which firmware knows a virtual machine with a fw_cfg device (QEMU docs/specs/pci-ids.rst). */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define CLASS_HOST_BRIDGE 0x060000
#define CLASS_ISA_BRIDGE  0x060100
#define CLASS_OTHER_BRIDGE 0x068000

#define HOST_PAM	  0x59 /* ..0x5f: memory attributes of 0xc0000-0xfffff */
#define HOST_SMRAM	  0x72
#define HOST_SMRAM_CLOSED 0x02 /* its base is fixed; nothing is enabled */
#define ISA_PIRQ_ROUTE	  0x60 /* ..0x63: PIRQA# to PIRQD# */
#define ISA_PIRQ_DISABLED 0x80
#define ISA_PIRQ_IRQ	  0x0f
#define ISA_PIRQ_IRQS	  0xdef8 /* those that it may be: not 0, 1, 2, 8, 13 */
#define PM_BASE		  0x40
#define PM_BASE_IO	  0x01
#define PM_BASE_BITS	  0xffc0
#define PM_DEVACTB	  0x58
#define PM_DEVACTB_APMC	  (1u << 25) /* writes to the APM control port cause SMIs */
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

static void update_shadow(struct i440fx *chipset)
{
	uint8_t access[PAM_SEGMENTS];

	pam_get(&chipset->host_bridge, HOST_PAM, access);
	if (chipset->wiring.route_shadow)
		chipset->wiring.route_shadow(chipset->wiring.context, access);
}

static void update_pm(struct i440fx *chipset)
{
	uint16_t base = pci_config_get(&chipset->power_management, PM_BASE, 2) & PM_BASE_BITS;
	bool is_on = pci_config_get(&chipset->power_management, PM_REGISTERS, 1) & PM_REGISTERS_ON;

	if (chipset->wiring.place_pm)
		chipset->wiring.place_pm(chipset->wiring.context, is_on ? base : 0);
}

/* The registers have changed, from whichever side. */
static void update_all(struct i440fx *chipset)
{
	pthread_mutex_lock(&chipset->lock);
	update_routes(chipset);
	update_shadow(chipset);
	update_pm(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
	return offset < first + count && offset + size > first;
}

#define CHIPSET_OF(function, member)                                                               \
	((struct i440fx *)((char *)(function) - offsetof(struct i440fx, member)))

static void host_bridge_written(struct pci_function *host, unsigned offset, unsigned size)
{
	struct i440fx *chipset = CHIPSET_OF(host, host_bridge);

	if (!touches(offset, size, HOST_PAM, PAM_REGISTERS))
		return;
	pthread_mutex_lock(&chipset->lock);
	update_shadow(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

static void isa_bridge_written(struct pci_function *isa, unsigned offset, unsigned size)
{
	struct i440fx *chipset = CHIPSET_OF(isa, isa_bridge);

	if (!touches(offset, size, ISA_PIRQ_ROUTE, PCI_PINS))
		return;
	pthread_mutex_lock(&chipset->lock);
	update_routes(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

static void power_management_written(struct pci_function *pm, unsigned offset, unsigned size)
{
	struct i440fx *chipset = CHIPSET_OF(pm, power_management);

	if (!touches(offset, size, PM_BASE, 2) && !touches(offset, size, PM_REGISTERS, 1))
		return;
	pthread_mutex_lock(&chipset->lock);
	update_pm(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

static uint32_t apm_read(void *device, uint16_t offset, unsigned size)
{
	struct i440fx *chipset = device;

	return locked_bytes_read(&chipset->lock, chipset->apm + offset, size);
}

static void apm_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct i440fx *chipset = device;

	locked_bytes_write(&chipset->lock, chipset->apm + offset, size, value);
}

const struct pio_ops i440fx_apm_pio_ops = {apm_read, apm_write, 1};

static void describe_power_management(struct pci_function *pm, uint8_t sci_irq)
{
	const uint16_t base = PM_BASE_IO, base_bits = PM_BASE_BITS;
	const uint32_t activity = PM_DEVACTB_APMC;

	pci_function_init(pm, VENDOR_INTEL, DEVICE_82371AB_PM, CLASS_OTHER_BRIDGE, 3);
	pci_function_set_subsystem(pm, SUBSYSTEM_VENDOR, SUBSYSTEM);
	pm->config[PCI_COMMAND] = PCI_COMMAND_IO;
	pm->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	pm->config[PCI_INTERRUPT_LINE] = sci_irq;
	/* A pin of its own, wired to the SCI: no link. */
	pm->config[PCI_INTERRUPT_PIN] = 1;
	memcpy(pm->config + PM_BASE, &base, sizeof(base));
	memcpy(pm->writable + PM_BASE, &base_bits, sizeof(base_bits));
	memcpy(pm->config + PM_DEVACTB, &activity, sizeof(activity));
	pm->writable[PM_REGISTERS] = PM_REGISTERS_ON;
	pm->writable[PCI_INTERRUPT_LINE] = 0xff;
	pm->config_written = power_management_written;
}

void i440fx_init(struct i440fx *chipset, struct pci_bus *bus, const struct i440fx_wiring *wiring)
{
	struct pci_function *host = &chipset->host_bridge, *isa = &chipset->isa_bridge;

	memset(chipset, 0, sizeof(*chipset));
	pthread_mutex_init(&chipset->lock, NULL);
	chipset->bus = bus;
	chipset->wiring = *wiring;
	pci_function_init(host, VENDOR_INTEL, DEVICE_82441FX, CLASS_HOST_BRIDGE, 2);
	pci_function_set_subsystem(host, SUBSYSTEM_VENDOR, SUBSYSTEM);
	host->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	host->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	host->config[HOST_SMRAM] = HOST_SMRAM_CLOSED;
	pam_describe(host, HOST_PAM);
	host->config_written = host_bridge_written;
	pci_bus_add(bus, PCI_SLOT_FUNCTION(0, 0), host);

	pci_function_init(isa, VENDOR_INTEL, DEVICE_82371SB, CLASS_ISA_BRIDGE, 0);
	pci_function_set_subsystem(isa, SUBSYSTEM_VENDOR, SUBSYSTEM);
	isa->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	isa->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	memset(isa->config + ISA_PIRQ_ROUTE, ISA_PIRQ_DISABLED, PCI_PINS);
	memset(isa->writable + ISA_PIRQ_ROUTE, ISA_PIRQ_DISABLED | ISA_PIRQ_IRQ, PCI_PINS);
	isa->config_written = isa_bridge_written;
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 0), isa);

	describe_power_management(&chipset->power_management, wiring->sci_irq);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(1, 3), &chipset->power_management);
}

void i440fx_set_up(struct i440fx *chipset, const uint8_t irqs[PCI_PINS], uint16_t pm_port)
{
	unsigned i;

	for (i = 0; i < PCI_PINS; i++)
		pci_config_set(&chipset->isa_bridge, ISA_PIRQ_ROUTE + i, 1, irqs[i]);
	pci_config_set(&chipset->power_management, PM_BASE, 2, pm_port | PM_BASE_IO);
	pci_config_set(&chipset->power_management, PM_REGISTERS, 1, PM_REGISTERS_ON);
	pam_open(&chipset->host_bridge, HOST_PAM);
	update_all(chipset);
}

void i440fx_open_shadow(struct i440fx *chipset)
{
	pam_open(&chipset->host_bridge, HOST_PAM);
	pthread_mutex_lock(&chipset->lock);
	update_shadow(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

/* The bus has reset the functions. */
static void i440fx_reset(void *device)
{
	struct i440fx *chipset = device;

	pthread_mutex_lock(&chipset->lock);
	memset(chipset->apm, 0, sizeof(chipset->apm));
	pthread_mutex_unlock(&chipset->lock);
	update_all(chipset);
}

static void transfer(struct i440fx *chipset, struct pci_function_state saved[FUNCTIONS],
		     uint8_t apm[I440FX_APM_PORTS], struct state_stream *state)
{
	pci_function_transfer(&chipset->host_bridge, &saved[0], state);
	pci_function_transfer(&chipset->isa_bridge, &saved[1], state);
	pci_function_transfer(&chipset->power_management, &saved[2], state);
	if (state->version >= 2)
		state_bytes(state, "apm", apm, I440FX_APM_PORTS);
}

static void i440fx_save(void *device, struct state_stream *state)
{
	struct i440fx *chipset = device;
	struct pci_function_state saved[FUNCTIONS];
	uint8_t apm[I440FX_APM_PORTS];
	unsigned i;

	pthread_mutex_lock(&chipset->lock);
	memcpy(apm, chipset->apm, sizeof(apm));
	pthread_mutex_unlock(&chipset->lock);
	transfer(chipset, saved, apm, state);
	for (i = 0; i < FUNCTIONS; i++)
		pci_function_state_free(&saved[i]);
}

static void i440fx_load(void *device, struct state_stream *state)
{
	struct i440fx *chipset = device;
	struct pci_function_state saved[FUNCTIONS];
	uint8_t apm[I440FX_APM_PORTS] = {0};
	unsigned i;

	transfer(chipset, saved, apm, state);
	if (state_complete(state)) {
		pci_function_restore(&chipset->host_bridge, &saved[0]);
		pci_function_restore(&chipset->isa_bridge, &saved[1]);
		pci_function_restore(&chipset->power_management, &saved[2]);
		pthread_mutex_lock(&chipset->lock);
		memcpy(chipset->apm, apm, sizeof(apm));
		pthread_mutex_unlock(&chipset->lock);
		update_all(chipset);
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
	pthread_mutex_destroy(&chipset->lock);
}

const struct device_ops i440fx_device_ops = {
	.version = 2,
	.reset = i440fx_reset,
	.save = i440fx_save,
	.load = i440fx_load,
	.destroy = i440fx_destroy,
};
