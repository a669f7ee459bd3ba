/* "info pci", in the form that QEMU's has. */
#include "monitor/hmp_pci.h"

#include <stdint.h>

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_regions(struct hmp_text *text, const json_t *regions)
{
	const json_t *region;
	uint64_t address, last;
	size_t i;

	json_array_foreach(regions, i, region) {
		address = number(region, "address");
		last = address + number(region, "size") - 1;
		if (json_object_get(region, "prefetch"))
			hmp_print(text, "      BAR%lld: %d bit%s memory at 0x%08llx [0x%08llx].\n", number(region, "bar"),
				  json_is_true(json_object_get(region, "mem_type_64")) ? 64 : 32,
				  json_is_true(json_object_get(region, "prefetch")) ? " prefetchable" : "",
				  (unsigned long long)address, (unsigned long long)last);
		else
			hmp_print(text, "      BAR%lld: I/O at 0x%04llx [0x%04llx].\n", number(region, "bar"),
				  (unsigned long long)address, (unsigned long long)last);
	}
}

static void print_range(struct hmp_text *text, const char *name, const json_t *range, unsigned digits)
{
	hmp_print(text, "      %s range [0x%0*llx, 0x%0*llx]\n", name, digits,
		  (unsigned long long)number(range, "base"), digits, (unsigned long long)number(range, "limit"));
}

static void print_devices(struct hmp_text *text, const json_t *devices);

static void print_bridge(struct hmp_text *text, const json_t *bridge)
{
	const json_t *bus = json_object_get(bridge, "bus");

	hmp_print(text, "      BUS %lld.\n      secondary bus %lld.\n      subordinate bus %lld.\n",
		  number(bus, "number"), number(bus, "secondary"), number(bus, "subordinate"));
	print_range(text, "IO", json_object_get(bus, "io_range"), 4);
	print_range(text, "memory", json_object_get(bus, "memory_range"), 8);
	print_range(text, "prefetchable memory", json_object_get(bus, "prefetchable_range"), 8);
}

static void print_device(struct hmp_text *text, const json_t *device)
{
	const json_t *class_info = json_object_get(device, "class_info"), *id = json_object_get(device, "id");
	const json_t *bridge = json_object_get(device, "pci_bridge");
	const char *name = json_string_value(json_object_get(class_info, "desc"));

	hmp_print(text, "  Bus %2lld, device %3lld, function %lld:\n    ", number(device, "bus"),
		  number(device, "slot"), number(device, "function"));
	if (name)
		hmp_print(text, "%s", name);
	else
		hmp_print(text, "Class %04lld", number(class_info, "class"));
	hmp_print(text, ": PCI device %04llx:%04llx\n", (unsigned long long)number(id, "vendor"),
		  (unsigned long long)number(id, "device"));
	if (json_object_get(id, "subsystem"))
		hmp_print(text, "      PCI subsystem %04llx:%04llx\n",
			  (unsigned long long)number(id, "subsystem-vendor"),
			  (unsigned long long)number(id, "subsystem"));
	if (json_object_get(device, "irq"))
		hmp_print(text, "      IRQ %lld, pin %c\n", number(device, "irq"),
			  (char)('A' + number(device, "irq_pin") - 1));
	if (bridge)
		print_bridge(text, bridge);
	print_regions(text, json_object_get(device, "regions"));
	hmp_print(text, "      id \"%s\"\n", json_string_value(json_object_get(device, "qdev_id")));
	if (bridge)
		print_devices(text, json_object_get(bridge, "devices"));
}

static void print_devices(struct hmp_text *text, const json_t *devices)
{
	const json_t *device;
	size_t i;

	json_array_foreach(devices, i, device)
		print_device(text, device);
}

void hmp_print_pci(struct hmp_text *text, const json_t *buses)
{
	const json_t *bus;
	size_t i;

	if (!json_array_size(buses))
		hmp_print(text, "No PCI devices\n");
	json_array_foreach(buses, i, bus)
		print_devices(text, json_object_get(bus, "devices"));
}
