#include "cli/qemu/hotplug_memory.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/facts.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_devices.h"
#include "cli/qemu/line_memory.h"
#include "cli/qemu/memory_backend.h"

/* _OST (ACPI 6.4 §6.3.5): what it is about, and its result. */
#define OST_EJECT_BY_NOTICE	 0x003
#define OST_EJECT_BY_USER	 0x103
#define OST_SUCCESS		 0x00
#define OST_EJECT_IS_UNDER_WAY 0x84

bool hotplug_is_dimm(const json_t *device)
{
	const char *name = keyval_text(device, "driver");
	const struct device_driver *driver = name ? device_driver_find(name, NULL) : NULL;

	return driver && driver->role == ROLE_DIMM;
}

int hotplug_add_dimm(struct hotplug *hotplug, json_t *device, struct error *error)
{
	struct line *line = hotplug->line;
	struct ram_dimm dimm;
	int result = line_check_plugged(line, device, error);

	if (result == 0)
		result = line_dimm_of(line, device, &dimm, error);
	if (result == 0)
		result = machine_plug_memory(hotplug->machine, &dimm, error);
	if (result < 0)
		return result;
	line_note_dimm(device, &dimm, true);
	json_array_append(line->devices, device);
	facts_renew(hotplug->facts, line);
	return 0;
}

int hotplug_delete_dimm(struct hotplug *hotplug, const json_t *device, struct error *error)
{
	uint64_t slot = RAM_ANY_SLOT;

	if (keyval_number(device, "slot", UINT32_MAX, &slot, error) < 0)
		return -EINVAL;
	return machine_unplug_memory(hotplug->machine, slot, error);
}

void hotplug_note_dimms(struct hotplug *hotplug)
{
	const struct machine_config *config = machine_configuration(hotplug->machine);
	unsigned i = 0;
	json_t *one;
	size_t at;

	json_array_foreach(hotplug->line->devices, at, one)
		if (hotplug_is_dimm(one) && i < config->dimm_count)
			line_note_dimm(one, &config->dimms[i++], false);
}

void hotplug_memory_unplugged(void *context, unsigned slot)
{
	struct hotplug *hotplug = context;
	json_t *device = line_find_dimm(hotplug->line, slot);

	if (!device)
		return;
	json_incref(device);
	line_unplug_device(hotplug->line, device);
	facts_renew(hotplug->facts, hotplug->line);
	monitor_device_deleted(hotplug->monitor, keyval_text(device, "id"));
	json_decref(device);
}

void hotplug_memory_reported(void *context, unsigned slot, uint32_t event, uint32_t status)
{
	struct hotplug *hotplug = context;
	const json_t *device = line_find_dimm(hotplug->line, slot);
	const char *id = device ? keyval_text(device, "id") : NULL;

	monitor_acpi_reported(hotplug->monitor, "DIMM", slot, id, event, status);
	if ((event == OST_EJECT_BY_NOTICE || event == OST_EJECT_BY_USER) && status != OST_SUCCESS &&
	    status != OST_EJECT_IS_UNDER_WAY)
		monitor_unplug_failed(hotplug->monitor, id);
}

const json_t *hotplug_find_memory(void *context, unsigned slot)
{
	const struct hotplug *hotplug = context;

	return line_find_dimm(hotplug->line, slot);
}

json_t *hotplug_describe_memory(void *context)
{
	const struct hotplug *hotplug = context;
	json_t *answer = json_array(), *one;
	uint64_t size;
	size_t i;

	json_array_foreach(json_object_get(hotplug->line->said, "object"), i, one) {
		size = 0;
		if (!memory_backend_is(one) ||
		    keyval_size(one, "size", 1, &size, NULL) < 0)
			continue;
		json_array_append_new(answer, json_pack("{s:s,s:I,s:b,s:b,s:b,s:b,s:[],s:s}", "id", keyval_text(one, "id"), "size",
							(json_int_t)size, "merge", 0, "dump", 0, "prealloc",
							memory_backend_is_preallocated(one), "share",
							memory_backend_is_shared(one), "host-nodes", "policy", "default"));
	}
	return answer;
}
