/*
 * Intel Q35's memory controller hub (3 Series Express Chipset Family data sheet) and of the ICH9 (data sheet
 * 316972) the LPC bridge and the SMBus controller, as far as firmware programs them and software looks at them to
 * find its way: identification, configuration space by memory (PCIEXBAR), shadow RAM (PAM), the routing of the
 * interrupt links to the PICs' inputs, where ACPI registers and root complex registers are, the APM ports as two
 * bytes, and an SMBus with nothing on it.
 *
 * Not modelled: system management mode (SMRAM reads as closed, see also acpi_pm.c), the watchdog (TCO), general
 * purpose I/O, and that the root complex's registers change which link a slot has.
 */
#include "device/q35.h"

#include <stddef.h>
#include <string.h>

#include "device/locked_bytes.h"
#include "util/log.h"

#define VENDOR_INTEL   0x8086
#define DEVICE_MCH     0x29c0
#define DEVICE_LPC     0x2918
#define DEVICE_SMBUS   0x2930
#define ICH9_REVISION  2

/* By which firmware knows a virtual machine with a fw_cfg device (QEMU docs/specs/pci-ids.rst). */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define CLASS_HOST_BRIDGE 0x060000
#define CLASS_ISA_BRIDGE  0x060100
#define CLASS_SMBUS	  0x0c0500

#define HOST_PCIEXBAR	    0x60 /* 8 bytes */
#define PCIEXBAR_ON	    0x1
#define PCIEXBAR_SIZE	    0x6 /* 256, 128 or 64 MiB; 3 is reserved */
#define PCIEXBAR_SIZE_SHIFT 1
#define PCIEXBAR_BITS	    0xffc000007ull
#define ECAM_MAX_BYTES	    (256ull << 20)
#define HOST_PAM	    0x90 /* ..0x96: memory attributes of 0xc0000-0xfffff */
#define HOST_SMRAM	    0x9d
#define HOST_SMRAM_CLOSED   0x02 /* its base is fixed; nothing is enabled */

#define LPC_PM_BASE	   0x40
#define LPC_PM_BASE_IO	   0x01
#define LPC_PM_BASE_BITS   0xff80
#define LPC_ACPI_CONTROL   0x44
#define LPC_ACPI_ON	   0x80
#define LPC_PIRQ_A	   0x60 /* ..0x63: PIRQA# to PIRQD# */
#define LPC_PIRQ_E	   0x68 /* ..0x6b: PIRQE# to PIRQH# */
#define LPC_PIRQ_DISABLED  0x80
#define LPC_PIRQ_IRQ	   0x0f
#define LPC_PIRQ_IRQS	   0xdef8 /* those that it may be: not 0, 1, 2, 8, 13 */
#define LPC_ROOT_COMPLEX   0xf0
#define ROOT_COMPLEX_ON	   0x1
#define ROOT_COMPLEX_BITS  0xffffc000u

#define SMBUS_BAR	  4
#define SMBUS_PORTS	  32
#define SMBUS_HOST_CONFIG 0x40
#define SMBUS_HOST_BITS	  0x03

/* The root complex's registers (ICH9 §10.1). */
#define INTERRUPT_ROUTES      0x3140 /* ..0x3151: of slots 31 to 25 */
#define INTERRUPT_ROUTES_END  0x3152
#define INTERRUPT_ROUTE_RESET 0x3210 /* pins A to D have links A to D */
#define GENERAL_CONTROL	      0x3410

#define FUNCTIONS 3

unsigned q35_link_of(unsigned slot, unsigned pin)
{
	if (slot >= 25 && slot != 30)
		return pin % PCI_PINS;
	return (slot == 30 ? pin : slot + pin) % PCI_PINS + PCI_PINS;
}

static unsigned pirq_register(unsigned link)
{
	return link < PCI_PINS ? LPC_PIRQ_A + link : LPC_PIRQ_E + link - PCI_PINS;
}

static void update_routes(struct q35 *chipset)
{
	unsigned link, irq;
	uint8_t value;
	bool is_routed;

	for (link = 0; link < Q35_LINKS; link++) {
		value = pci_config_get(&chipset->lpc, pirq_register(link), 1);
		irq = value & LPC_PIRQ_IRQ;
		is_routed = !(value & LPC_PIRQ_DISABLED) && (LPC_PIRQ_IRQS >> irq & 1);
		pci_bus_route(chipset->bus, link, is_routed ? irq : PCI_NO_GSI);
	}
}

static void update_shadow(struct q35 *chipset)
{
	uint8_t access[PAM_SEGMENTS];

	pam_get(&chipset->host_bridge, HOST_PAM, access);
	if (chipset->wiring.route_shadow)
		chipset->wiring.route_shadow(chipset->wiring.context, access);
}

static void update_pm(struct q35 *chipset)
{
	uint16_t base = pci_config_get(&chipset->lpc, LPC_PM_BASE, 2) & LPC_PM_BASE_BITS;
	bool is_on = pci_config_get(&chipset->lpc, LPC_ACPI_CONTROL, 1) & LPC_ACPI_ON;

	if (chipset->wiring.place_pm)
		chipset->wiring.place_pm(chipset->wiring.context, is_on ? base : 0);
}

static void update_root_complex(struct q35 *chipset)
{
	uint32_t value;

	pthread_mutex_lock(&chipset->root_complex_lock);
	value = pci_config_get(&chipset->lpc, LPC_ROOT_COMPLEX, 4);
	if (chipset->wiring.place_root_complex)
		chipset->wiring.place_root_complex(chipset->wiring.context,
						   value & ROOT_COMPLEX_ON ? value & ROOT_COMPLEX_BITS : 0);
	pthread_mutex_unlock(&chipset->root_complex_lock);
}

static void update_ecam(struct q35 *chipset)
{
	uint64_t value, bytes, gpa;

	if (pci_bus_is_in_ecam()) {
		log_guest("PCIEXBAR is written by way of itself: it stays where it is");
		return;
	}
	pthread_mutex_lock(&chipset->ecam_lock);
	value = pci_config_get(&chipset->host_bridge, HOST_PCIEXBAR, 4) |
		(uint64_t)pci_config_get(&chipset->host_bridge, HOST_PCIEXBAR + 4, 4) << 32;
	bytes = ECAM_MAX_BYTES >> ((value & PCIEXBAR_SIZE) >> PCIEXBAR_SIZE_SHIFT);
	gpa = value & ~(bytes - 1);
	if (!(value & PCIEXBAR_ON) || (value & PCIEXBAR_SIZE) == PCIEXBAR_SIZE || !gpa)
		bytes = 0;
	if (chipset->wiring.place_ecam)
		chipset->wiring.place_ecam(chipset->wiring.context, bytes ? gpa : 0, bytes);
	pthread_mutex_unlock(&chipset->ecam_lock);
}

/* The registers have changed, from whichever side. */
static void update_all(struct q35 *chipset)
{
	pthread_mutex_lock(&chipset->lock);
	update_routes(chipset);
	update_shadow(chipset);
	update_pm(chipset);
	pthread_mutex_unlock(&chipset->lock);
	update_root_complex(chipset);
	update_ecam(chipset);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
	return offset < first + count && offset + size > first;
}

#define CHIPSET_OF(function, member)                                                               \
	((struct q35 *)((char *)(function) - offsetof(struct q35, member)))

static void host_bridge_written(struct pci_function *host, unsigned offset, unsigned size)
{
	struct q35 *chipset = CHIPSET_OF(host, host_bridge);

	if (touches(offset, size, HOST_PAM, PAM_REGISTERS)) {
		pthread_mutex_lock(&chipset->lock);
		update_shadow(chipset);
		pthread_mutex_unlock(&chipset->lock);
	}
	if (touches(offset, size, HOST_PCIEXBAR, 8))
		update_ecam(chipset);
}

static void lpc_written(struct pci_function *lpc, unsigned offset, unsigned size)
{
	struct q35 *chipset = CHIPSET_OF(lpc, lpc);

	pthread_mutex_lock(&chipset->lock);
	if (touches(offset, size, LPC_PIRQ_A, PCI_PINS) || touches(offset, size, LPC_PIRQ_E, PCI_PINS))
		update_routes(chipset);
	if (touches(offset, size, LPC_PM_BASE, 2) || touches(offset, size, LPC_ACPI_CONTROL, 1))
		update_pm(chipset);
	pthread_mutex_unlock(&chipset->lock);
	if (touches(offset, size, LPC_ROOT_COMPLEX, 4))
		update_root_complex(chipset);
}

static uint32_t apm_read(void *device, uint16_t offset, unsigned size)
{
	struct q35 *chipset = device;

	return locked_bytes_read(&chipset->lock, chipset->apm + offset, size);
}

static void apm_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct q35 *chipset = device;

	locked_bytes_write(&chipset->lock, chipset->apm + offset, size, value);
}

const struct pio_ops q35_apm_pio_ops = {apm_read, apm_write, 1};

/* -- root complex -- */

static uint8_t root_complex_byte(const struct q35 *chipset, uint64_t offset)
{
	if (offset >= INTERRUPT_ROUTES && offset < INTERRUPT_ROUTES_END)
		return INTERRUPT_ROUTE_RESET >> (8 * (offset & 1)) & 0xff;
	if (offset >= GENERAL_CONTROL && offset < GENERAL_CONTROL + 4)
		return chipset->general_control >> (8 * (offset - GENERAL_CONTROL));
	return 0;
}

static uint64_t root_complex_read(void *device, uint64_t offset, unsigned size)
{
	struct q35 *chipset = device;
	uint64_t value = 0;
	unsigned i;

	pthread_mutex_lock(&chipset->lock);
	for (i = 0; i < size; i++)
		value |= (uint64_t)root_complex_byte(chipset, offset + i) << (8 * i);
	pthread_mutex_unlock(&chipset->lock);
	return value;
}

static void root_complex_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct q35 *chipset = device;

	if (offset != GENERAL_CONTROL || size != 4)
		return;
	pthread_mutex_lock(&chipset->lock);
	chipset->general_control = value;
	pthread_mutex_unlock(&chipset->lock);
}

const struct mmio_ops q35_root_complex_ops = {root_complex_read, root_complex_write};

/* -- SMBus (ICH9 §18.2): every transaction finds nobody -- */

#define SMBUS_STATUS	     0x00
#define SMBUS_STATUS_CLEARED 0xbe /* by ones; not whether it is busy, and not who uses it */
#define SMBUS_STATUS_ERROR   0x04 /* nobody has acknowledged */
#define SMBUS_STATUS_IN_USE  0x40 /* set by reading, cleared by a one */
#define SMBUS_CONTROL	     0x02
#define SMBUS_CONTROL_START  0x40

static uint32_t smbus_read(void *device, uint16_t offset, unsigned size)
{
	struct q35 *chipset = device;
	uint32_t value;

	(void)size;
	pthread_mutex_lock(&chipset->lock);
	value = chipset->smbus_registers[offset];
	if (offset == SMBUS_STATUS)
		chipset->smbus_registers[offset] |= SMBUS_STATUS_IN_USE;
	pthread_mutex_unlock(&chipset->lock);
	return value;
}

static void smbus_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct q35 *chipset = device;
	uint8_t *registers = chipset->smbus_registers;

	(void)size;
	pthread_mutex_lock(&chipset->lock);
	if (offset == SMBUS_STATUS) {
		registers[offset] &= ~(value & (SMBUS_STATUS_CLEARED | SMBUS_STATUS_IN_USE));
	} else {
		registers[offset] = value;
		if (offset == SMBUS_CONTROL && (value & SMBUS_CONTROL_START)) {
			registers[SMBUS_CONTROL] &= ~SMBUS_CONTROL_START;
			registers[SMBUS_STATUS] |= SMBUS_STATUS_ERROR;
		}
	}
	pthread_mutex_unlock(&chipset->lock);
}

static const struct pio_ops smbus_pio_ops = {smbus_read, smbus_write, 1};

/* -- description -- */

static void describe_host_bridge(struct pci_function *host)
{
	const uint64_t bar_bits = PCIEXBAR_BITS;

	pci_function_init(host, VENDOR_INTEL, DEVICE_MCH, CLASS_HOST_BRIDGE, 0);
	pci_function_set_subsystem(host, SUBSYSTEM_VENDOR, SUBSYSTEM);
	host->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	host->config[HOST_SMRAM] = HOST_SMRAM_CLOSED;
	memcpy(host->writable + HOST_PCIEXBAR, &bar_bits, sizeof(bar_bits));
	pam_describe(host, HOST_PAM);
	host->config_written = host_bridge_written;
}

static void describe_lpc(struct pci_function *lpc)
{
	const uint16_t base = LPC_PM_BASE_IO, base_bits = LPC_PM_BASE_BITS;
	const uint32_t complex_bits = ROOT_COMPLEX_BITS | ROOT_COMPLEX_ON;
	unsigned link;

	pci_function_init(lpc, VENDOR_INTEL, DEVICE_LPC, CLASS_ISA_BRIDGE, ICH9_REVISION);
	pci_function_set_subsystem(lpc, SUBSYSTEM_VENDOR, SUBSYSTEM);
	lpc->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	lpc->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	memcpy(lpc->config + LPC_PM_BASE, &base, sizeof(base));
	memcpy(lpc->writable + LPC_PM_BASE, &base_bits, sizeof(base_bits));
	lpc->writable[LPC_ACPI_CONTROL] = LPC_ACPI_ON; /* the SCI stays IRQ 9 */
	for (link = 0; link < Q35_LINKS; link++) {
		lpc->config[pirq_register(link)] = LPC_PIRQ_DISABLED;
		lpc->writable[pirq_register(link)] = LPC_PIRQ_DISABLED | LPC_PIRQ_IRQ;
	}
	memcpy(lpc->writable + LPC_ROOT_COMPLEX, &complex_bits, sizeof(complex_bits));
	lpc->config_written = lpc_written;
}

static void describe_smbus(struct q35 *chipset)
{
	struct pci_function *smbus = &chipset->smbus;

	pci_function_init(smbus, VENDOR_INTEL, DEVICE_SMBUS, CLASS_SMBUS, ICH9_REVISION);
	pci_function_set_subsystem(smbus, SUBSYSTEM_VENDOR, SUBSYSTEM);
	smbus->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	smbus->bars[SMBUS_BAR] = (struct pci_bar){.kind = PCI_BAR_IO,
						  .size_bytes = SMBUS_PORTS,
						  .name = "SMBus",
						  .pio = &smbus_pio_ops,
						  .device = chipset};
	smbus->writable[SMBUS_HOST_CONFIG] = SMBUS_HOST_BITS;
}

void q35_init(struct q35 *chipset, struct pci_bus *bus, const struct q35_wiring *wiring)
{
	unsigned link;

	memset(chipset, 0, sizeof(*chipset));
	pthread_mutex_init(&chipset->lock, NULL);
	pthread_mutex_init(&chipset->ecam_lock, NULL);
	pthread_mutex_init(&chipset->root_complex_lock, NULL);
	chipset->bus = bus;
	chipset->wiring = *wiring;
	for (link = 0; link < Q35_LINKS; link++)
		pci_bus_wire(bus, link, Q35_FIRST_APIC_GSI + link);
	describe_host_bridge(&chipset->host_bridge);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(0, 0), &chipset->host_bridge);
	describe_lpc(&chipset->lpc);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(Q35_ICH9_SLOT, 0), &chipset->lpc);
	describe_smbus(chipset);
	pci_bus_add(bus, PCI_SLOT_FUNCTION(Q35_ICH9_SLOT, 3), &chipset->smbus);
}

void q35_set_up(struct q35 *chipset, const uint8_t irqs[Q35_LINKS], uint16_t pm_port,
		uint64_t ecam_gpa)
{
	unsigned i;

	for (i = 0; i < Q35_LINKS; i++)
		pci_config_set(&chipset->lpc, pirq_register(i), 1, irqs[i]);
	pci_config_set(&chipset->lpc, LPC_PM_BASE, 2, pm_port | LPC_PM_BASE_IO);
	pci_config_set(&chipset->lpc, LPC_ACPI_CONTROL, 1, LPC_ACPI_ON);
	pci_config_set(&chipset->host_bridge, HOST_PCIEXBAR, 4, ecam_gpa | PCIEXBAR_ON);
	pci_config_set(&chipset->host_bridge, HOST_PCIEXBAR + 4, 4, ecam_gpa >> 32);
	pam_open(&chipset->host_bridge, HOST_PAM);
	update_all(chipset);
}

void q35_open_shadow(struct q35 *chipset)
{
	pam_open(&chipset->host_bridge, HOST_PAM);
	pthread_mutex_lock(&chipset->lock);
	update_shadow(chipset);
	pthread_mutex_unlock(&chipset->lock);
}

/* The bus has reset the functions. */
static void q35_reset(void *device)
{
	struct q35 *chipset = device;

	pthread_mutex_lock(&chipset->lock);
	memset(chipset->apm, 0, sizeof(chipset->apm));
	memset(chipset->smbus_registers, 0, sizeof(chipset->smbus_registers));
	chipset->general_control = 0;
	pthread_mutex_unlock(&chipset->lock);
	update_all(chipset);
}

/* What there is besides the functions. */
struct registers {
	uint8_t apm[Q35_APM_PORTS], smbus[SMBUS_PORTS];
	uint32_t general_control;
};

static void transfer(struct q35 *chipset, struct pci_function_state saved[FUNCTIONS],
		     struct registers *registers, struct state_stream *state)
{
	pci_function_transfer(&chipset->host_bridge, &saved[0], state);
	pci_function_transfer(&chipset->lpc, &saved[1], state);
	pci_function_transfer(&chipset->smbus, &saved[2], state);
	state_bytes(state, "apm", registers->apm, sizeof(registers->apm));
	state_bytes(state, "smbus", registers->smbus, sizeof(registers->smbus));
	state_u32(state, "general_control", &registers->general_control);
}

static void q35_save(void *device, struct state_stream *state)
{
	struct q35 *chipset = device;
	struct pci_function_state saved[FUNCTIONS];
	struct registers registers;
	unsigned i;

	pthread_mutex_lock(&chipset->lock);
	memcpy(registers.apm, chipset->apm, sizeof(registers.apm));
	memcpy(registers.smbus, chipset->smbus_registers, sizeof(registers.smbus));
	registers.general_control = chipset->general_control;
	pthread_mutex_unlock(&chipset->lock);
	transfer(chipset, saved, &registers, state);
	for (i = 0; i < FUNCTIONS; i++)
		pci_function_state_free(&saved[i]);
}

static void q35_load(void *device, struct state_stream *state)
{
	struct q35 *chipset = device;
	struct pci_function_state saved[FUNCTIONS];
	struct registers registers = {.general_control = 0};
	unsigned i;

	transfer(chipset, saved, &registers, state);
	if (state_complete(state)) {
		pci_function_restore(&chipset->host_bridge, &saved[0]);
		pci_function_restore(&chipset->lpc, &saved[1]);
		pci_function_restore(&chipset->smbus, &saved[2]);
		pthread_mutex_lock(&chipset->lock);
		memcpy(chipset->apm, registers.apm, sizeof(registers.apm));
		memcpy(chipset->smbus_registers, registers.smbus, sizeof(registers.smbus));
		chipset->general_control = registers.general_control;
		pthread_mutex_unlock(&chipset->lock);
		update_all(chipset);
	}
	for (i = 0; i < FUNCTIONS; i++)
		pci_function_state_free(&saved[i]);
}

static void q35_destroy(void *device)
{
	struct q35 *chipset = device;

	pci_function_destroy(&chipset->smbus);
	pci_function_destroy(&chipset->lpc);
	pci_function_destroy(&chipset->host_bridge);
	pthread_mutex_destroy(&chipset->root_complex_lock);
	pthread_mutex_destroy(&chipset->ecam_lock);
	pthread_mutex_destroy(&chipset->lock);
}

const struct device_ops q35_device_ops = {
	.version = 1,
	.reset = q35_reset,
	.save = q35_save,
	.load = q35_load,
	.destroy = q35_destroy,
};
