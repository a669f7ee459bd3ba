/*
 * One register of eight bits (QEMU docs/specs/pvpanic.rst): reading it tells which events there are, writing it which has
 * come. At an I/O port, which ACPI tells of as QEMU0001, or in the only BAR of a PCI function, 1b36:0011. It has no
 * state.
 */
#include "device/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

#define VENDOR	     0x1b36
#define DEVICE_ID    0x0011
#define CLASS	     0x088000 /* a system peripheral */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM    0x1100
#define WINDOW_BYTES 16

static void tell(const struct power *power, uint64_t value)
{
	if (value & EVENTS)
		power_request(power, POWER_PANIC, value & EVENTS);
}

static uint32_t read_port(void *device, uint16_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return EVENTS;
}

static void write_port(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)offset;
	(void)size;
	tell(device, value);
}

const struct pio_ops pvpanic_pio_ops = {.read = read_port, .write = write_port, .widest_access = 1};

const struct device_ops pvpanic_port_device_ops = {.version = 1};

struct pvpanic_pci {
	struct pci_function function;
	const struct power *power;
};

static uint64_t read_window(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)size;
	return offset ? 0 : EVENTS;
}

static void write_window(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	const struct pvpanic_pci *pvpanic = device;

	(void)size;
	if (!offset)
		tell(pvpanic->power, value);
}

static const struct mmio_ops window_ops = {.read = read_window, .write = write_window};

static void pvpanic_pci_save(void *device, struct state_stream *state)
{
	struct pvpanic_pci *pvpanic = device;

	pci_function_save(&pvpanic->function, state);
}

static void pvpanic_pci_load(void *device, struct state_stream *state)
{
	struct pvpanic_pci *pvpanic = device;
	struct pci_function_state saved;

	pci_function_transfer(&pvpanic->function, &saved, state);
	if (state_complete(state))
		pci_function_restore(&pvpanic->function, &saved);
	pci_function_state_free(&saved);
}

static void pvpanic_pci_destroy(void *device)
{
	struct pvpanic_pci *pvpanic = device;

	pci_function_destroy(&pvpanic->function);
	free(pvpanic);
}

const struct device_ops pvpanic_pci_device_ops = {
	.version = 1,
	.save = pvpanic_pci_save,
	.load = pvpanic_pci_load,
	.destroy = pvpanic_pci_destroy,
};

struct pvpanic_pci *pvpanic_pci_create(struct pci_bus *bus, unsigned slot_function, struct power *power,
				       struct error *error)
{
	struct pvpanic_pci *pvpanic = calloc(1, sizeof(*pvpanic));

	if (!pvpanic) {
		error_set_errno(error, ENOMEM, "pvpanic-pci");
		return NULL;
	}
	pvpanic->power = power;
	pci_function_init(&pvpanic->function, VENDOR, DEVICE_ID, CLASS, 1);
	pci_function_set_subsystem(&pvpanic->function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	pvpanic->function.bars[0] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32,
		.size_bytes = WINDOW_BYTES,
		.name = "pvpanic",
		.mmio = &window_ops,
		.device = pvpanic,
	};
	pci_bus_add(bus, slot_function, &pvpanic->function);
	return pvpanic;
}
