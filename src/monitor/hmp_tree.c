#include "monitor/hmp_tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device/guest_memory.h"
#include "machine/inspect.h"

/* False: there is no machine, which was printed. */
static bool need_machine(struct hmp_line *line)
{
	if (!line->monitor->machine)
		hmp_print(line->text, "Error: there is no machine (-machine none)\n");
	return line->monitor->machine != NULL;
}

/* --- addresses --- */

static void print_window(struct hmp_text *text, uint64_t first, uint64_t last, const char *kind, const char *name)
{
	hmp_print(text, "    %016" PRIx64 "-%016" PRIx64 " (prio 0, %s): %s\n", first, last, kind, name);
}

static void print_device_window(void *context, uint64_t first, uint64_t last, const char *name)
{
	print_window(context, first, last, "i/o", name);
}

void hmp_info_mtree(struct hmp_line *line)
{
	const struct guest_memory *memory;
	unsigned i;

	if (!need_machine(line))
		return;
	memory = machine_memory(line->monitor->machine);
	hmp_print(line->text, "address-space: memory\n  %016x-%016" PRIx64 " (prio 0, i/o): system\n", 0, UINT64_MAX);
	for (i = 0; i < memory->region_count; i++) {
		if (!memory->regions[i].size_bytes)
			continue;
		print_window(line->text, memory->regions[i].gpa,
			     memory->regions[i].gpa + memory->regions[i].size_bytes - 1, "ram", "pc.ram");
	}
	machine_visit_windows(line->monitor->machine, false, print_device_window, line->text);
	hmp_print(line->text, "\naddress-space: I/O\n  %016x-%016x (prio 0, i/o): io\n", 0, 0xffff);
	machine_visit_windows(line->monitor->machine, true, print_device_window, line->text);
}

/* --- devices --- */

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_device(void *context, const char *name)
{
	hmp_print(context, "  dev: %s, id \"\"\n", name);
}

static void print_regions(struct hmp_text *text, const json_t *regions, unsigned indent)
{
	const json_t *region;
	uint64_t address;
	size_t i;

	json_array_foreach(regions, i, region) {
		address = number(region, "address");
		hmp_print(text, "%*sbar %lld: %s at 0x%" PRIx64 " [0x%" PRIx64 "]\n", indent, "", number(region, "bar"),
			  json_object_get(region, "prefetch") ? "mem" : "i/o", address,
			  address + (uint64_t)number(region, "size") - 1);
	}
}

static void print_functions(struct hmp_line *line, const json_t *devices, unsigned indent)
{
	const json_t *device, *class_info, *id, *bridge;
	size_t i;

	json_array_foreach(devices, i, device) {
		class_info = json_object_get(device, "class_info");
		id = json_object_get(device, "id");
		bridge = json_object_get(device, "pci_bridge");
		hmp_print(line->text, "%*sdev: %s, id \"%s\"\n", indent, "",
			  *hmp_string(class_info, "desc") ? hmp_string(class_info, "desc") : "PCI device",
			  hmp_string(device, "qdev_id"));
		hmp_print(line->text, "%*saddr = %02llx.%llx\n%*sclass %04llx, addr %02llx:%02llx.%llx, pci id %04llx:%04llx",
			  indent + 2, "", number(device, "slot"), number(device, "function"), indent + 2, "",
			  number(class_info, "class"), number(device, "bus"), number(device, "slot"),
			  number(device, "function"), number(id, "vendor"), number(id, "device"));
		if (json_object_get(id, "subsystem"))
			hmp_print(line->text, " (sub %04llx:%04llx)", number(id, "subsystem-vendor"),
				  number(id, "subsystem"));
		hmp_print(line->text, "\n");
		print_regions(line->text, json_object_get(device, "regions"), indent + 2);
		if (bridge) {
			hmp_print(line->text, "%*sbus: %s\n%*stype PCIE\n", indent + 2, "",
				  hmp_string(device, "qdev_id"), indent + 4, "");
			print_functions(line, json_object_get(bridge, "devices"), indent + 4);
		}
	}
}

void hmp_info_qtree(struct hmp_line *line)
{
	json_t *buses, *bus;
	size_t i;

	if (!need_machine(line))
		return;
	hmp_print(line->text, "bus: main-system-bus\n  type System\n");
	machine_visit_devices(line->monitor->machine, print_device, line->text);
	buses = hmp_ask(line, "query-pci");
	json_array_foreach(buses, i, bus) {
		hmp_print(line->text, "  bus: %s\n    type PCI\n",
			  machine_configuration(line->monitor->machine)->board == BOARD_Q35 ? "pcie.0" : "pci.0");
		print_functions(line, json_object_get(bus, "devices"), 4);
	}
	json_decref(buses);
}

static int compare_paths(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void print_object(struct hmp_line *line, const char *path)
{
	const json_t *object = json_object_get(line->monitor->facts.objects, path);
	const char *type = hmp_string(json_object_get(object, "type"), "value"), *at;
	unsigned depth = 0;

	for (at = path; *at; at++)
		depth += *at == '/';
	at = strrchr(path, '/');
	hmp_print(line->text, "%*s/%s (%s)\n", 2 * (depth - 1), "", at ? at + 1 : path, *type ? type : "container");
}

/* All below /machine, as their paths' order has them: what is below another comes behind it. */
void hmp_info_qom_tree(struct hmp_line *line)
{
	json_t *objects = line->monitor->facts.objects, *object;
	const char **paths = calloc(json_object_size(objects) + 1, sizeof(*paths)), *path;
	size_t count = 0, i;

	json_object_foreach(objects, path, object)
		if (paths && strncmp(path, "/machine", 8) == 0)
			paths[count++] = path;
	if (paths)
		qsort(paths, count, sizeof(*paths), compare_paths);
	for (i = 0; i < count; i++)
		print_object(line, paths[i]);
	free(paths);
}

void hmp_info_usb(struct hmp_line *line)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	struct machine_usb_device device;
	const char *id;
	unsigned port;

	if (!need_machine(line))
		return;
	if (!machine_configuration(line->monitor->machine)->usb.has_controller)
		hmp_print(line->text, "USB support not enabled\n");
	for (port = 1; port <= MACHINE_USB_PORTS; port++) {
		if (!machine_usb_device(line->monitor->machine, port, &device))
			continue;
		id = facts->find_device ? facts->find_device(facts->change_context, BOARD_USB_PLACE(port)) : NULL;
		hmp_print(line->text, "  Device 0.%u, Port %u, Speed %s Mb/s, Product %s%s%s\n", port, port,
			  device.mbits_per_s, device.product, id ? ", ID: " : "", id ? id : "");
	}
}

void hmp_info_mice(struct hmp_line *line)
{
	json_t *mice = hmp_ask(line, "query-mice"), *mouse;
	size_t i;

	if (mice && !json_array_size(mice))
		hmp_print(line->text, "No mouse devices connected\n");
	json_array_foreach(mice, i, mouse)
		hmp_print(line->text, "%c Mouse #%lld: %s%s\n", json_is_true(json_object_get(mouse, "current")) ? '*' : ' ',
			  number(mouse, "index"), hmp_string(mouse, "name"),
			  json_is_true(json_object_get(mouse, "absolute")) ? " (absolute)" : "");
	json_decref(mice);
}
