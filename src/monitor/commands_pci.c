/* QMP's query-pci: what is on the PCI buses, as configuration space has it now. */
#include "device/bus/pci.h"
#include "machine/inspect.h"
#include "machine/machine.h"
#include <qmp_commands.h>

#define ROOT_BUS 0
#define UNMAPPED (-1) /* QEMU's word for a BAR that opens no window */

static const struct {
	uint16_t class_code;
	const char *name;
} classes[] = {
	{0x0000, "Unclassified device"}, {0x0001, "VGA controller"},	 {0x0100, "SCSI controller"},
	{0x0101, "IDE controller"},	 {0x0106, "SATA controller"},	 {0x0108, "NVMe controller"},
	{0x0180, "Storage controller"},	 {0x0200, "Ethernet controller"}, {0x0280, "Network controller"},
	{0x0300, "VGA controller"},	 {0x0380, "Display controller"},  {0x0600, "Host bridge"},
	{0x0601, "ISA bridge"},		 {0x0604, "PCI bridge"},	 {0x0680, "Bridge"},
	{0x0700, "Serial port"},	 {0x0780, "Communication controller"}, {0x0880, "System peripheral"},
	{0x0c03, "USB controller"},	 {0x0c05, "SMBus"},
};

static uint32_t get(struct pci_function *function, unsigned offset, unsigned size)
{
	return pci_config_get(function, offset, size);
}

static json_t *describe_class(struct pci_function *function)
{
	uint16_t class_code = get(function, PCI_CLASS + 1, 2);
	json_t *answer = json_pack("{s:i}", "class", class_code);
	unsigned i;

	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (classes[i].class_code == class_code)
			json_object_set_new(answer, "desc", json_string(classes[i].name));
	return answer;
}

static bool is_bridge(struct pci_function *function)
{
	return (get(function, PCI_HEADER_TYPE, 1) & PCI_HEADER_TYPE_MASK) == PCI_HEADER_BRIDGE;
}

static json_t *describe_id(struct pci_function *function)
{
	json_t *id = json_pack("{s:i,s:i}", "device", get(function, PCI_DEVICE, 2), "vendor",
			       get(function, PCI_VENDOR, 2));

	if (!is_bridge(function)) {
		json_object_set_new(id, "subsystem", json_integer(get(function, PCI_SUBSYSTEM, 2)));
		json_object_set_new(id, "subsystem-vendor",
				    json_integer(get(function, PCI_SUBSYSTEM_VENDOR, 2)));
	}
	return id;
}

/* Where a BAR's window is now, or UNMAPPED. */
static json_int_t address_of(struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->bars[index];
	uint32_t command = get(function, PCI_COMMAND, 2);
	uint64_t address = get(function, PCI_BAR(index), 4);
	bool is_io = bar->kind == PCI_BAR_IO;

	if (!(command & (is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return UNMAPPED;
	if (bar->kind == PCI_BAR_MEMORY64)
		address |= (uint64_t)get(function, PCI_BAR(index + 1), 4) << 32;
	address &= ~(uint64_t)(is_io ? PCI_BAR_IO_FLAGS : PCI_BAR_MEMORY_FLAGS);
	return address ? (json_int_t)address : UNMAPPED;
}

static json_t *describe_regions(struct pci_function *function)
{
	json_t *regions = json_array(), *region;
	const struct pci_bar *bar;
	unsigned i;

	for (i = 0; i < PCI_BARS; i++) {
		bar = &function->bars[i];
		if (!bar->kind)
			continue;
		region = json_pack("{s:i,s:s,s:I,s:I}", "bar", i, "type", bar->kind == PCI_BAR_IO ? "io" : "memory",
				   "address", address_of(function, i), "size", (json_int_t)bar->size_bytes);
		if (bar->kind != PCI_BAR_IO) {
			json_object_set_new(region, "prefetch", json_boolean(bar->is_prefetchable));
			json_object_set_new(region, "mem_type_64", json_boolean(bar->kind == PCI_BAR_MEMORY64));
		}
		json_array_append_new(regions, region);
	}
	return regions;
}

static json_t *range(uint64_t base, uint64_t limit)
{
	return json_pack("{s:I,s:I}", "base", (json_int_t)base, "limit", (json_int_t)limit);
}

/* What a bridge forwards (PCI-to-PCI Bridge 1.2 §3.2.5): nothing where the base is above the limit. */
static json_t *describe_numbers(struct pci_function *bridge)
{
	uint64_t high_base = get(bridge, PCI_BRIDGE_PREFETCH_BASE_HIGH, 4);
	uint64_t high_limit = get(bridge, PCI_BRIDGE_PREFETCH_LIMIT_HIGH, 4);

	return json_pack(
		"{s:i,s:i,s:i,s:o,s:o,s:o}", "number", get(bridge, PCI_BRIDGE_PRIMARY, 1), "secondary",
		get(bridge, PCI_BRIDGE_SECONDARY, 1), "subordinate", get(bridge, PCI_BRIDGE_SUBORDINATE, 1),
		"io_range",
		range((get(bridge, PCI_BRIDGE_IO_BASE, 1) & 0xf0) << 8,
		      (get(bridge, PCI_BRIDGE_IO_LIMIT, 1) & 0xf0) << 8 | 0xfff),
		"memory_range",
		range((get(bridge, PCI_BRIDGE_MEMORY_BASE, 2) & 0xfff0) << 16,
		      (get(bridge, PCI_BRIDGE_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff),
		"prefetchable_range",
		range(high_base << 32 | (get(bridge, PCI_BRIDGE_PREFETCH_BASE, 2) & 0xfff0) << 16,
		      high_limit << 32 | (get(bridge, PCI_BRIDGE_PREFETCH_LIMIT, 2) & 0xfff0) << 16 | 0xfffff));
}

static json_t *describe_bus(const struct monitor *monitor, const struct pci_bus *bus, unsigned number);

static json_t *describe_function(const struct monitor *monitor, struct pci_function *function, unsigned number)
{
	const struct monitor_facts *facts = &monitor->facts;
	unsigned place = machine_pci_place(monitor->machine, function), pin = get(function, PCI_INTERRUPT_PIN, 1);
	const char *id = facts->find_device ? facts->find_device(facts->change_context, place) : NULL;
	json_t *answer = json_pack("{s:i,s:i,s:i,s:o,s:o,s:i,s:s,s:o}", "bus", number, "slot",
				   function->slot_function >> 3, "function", function->slot_function & 7,
				   "class_info", describe_class(function), "id", describe_id(function), "irq_pin", pin,
				   "qdev_id", id ? id : "", "regions", describe_regions(function)), *bridge;

	if (pin)
		json_object_set_new(answer, "irq", json_integer(get(function, PCI_INTERRUPT_LINE, 1)));
	if (function->secondary) {
		bridge = json_pack("{s:o}", "bus", describe_numbers(function));
		json_object_set_new(bridge, "devices",
				    describe_bus(monitor, function->secondary, get(function, PCI_BRIDGE_SECONDARY, 1)));
		json_object_set_new(answer, "pci_bridge", bridge);
	}
	return answer;
}

static json_t *describe_bus(const struct monitor *monitor, const struct pci_bus *bus, unsigned number)
{
	json_t *devices = json_array();
	struct pci_function *function;
	unsigned i;

	for (i = 0; i < PCI_FUNCTIONS; i++) {
		function = pci_bus_at(bus, i);
		if (function)
			json_array_append_new(devices, describe_function(monitor, function, number));
	}
	return devices;
}

json_t *qmp_query_pci(struct qmp_call *call)
{
	const struct pci_bus *bus = call->monitor->machine ? machine_pci(call->monitor->machine) : NULL;

	/* A machine without PCI has no buses. */
	if (!bus)
		return json_array();
	return json_pack("[{s:i,s:o}]", "bus", ROOT_BUS, "devices", describe_bus(call->monitor, bus, ROOT_BUS));
}
