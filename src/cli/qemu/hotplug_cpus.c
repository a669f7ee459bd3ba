#include "cli/qemu/hotplug_cpus.h"

#include <errno.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/facts.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_cpus.h"
#include "cli/qemu/line_devices.h"

bool hotplug_is_cpu(const json_t *device)
{
	const char *name = keyval_text(device, "driver");
	const struct device_driver *driver = name ? device_driver_find(name, NULL) : NULL;

	return driver && driver->role == ROLE_CPU;
}

int hotplug_add_cpu(struct hotplug *hotplug, json_t *device, struct error *error)
{
	struct line *line = hotplug->line;
	int cpu, result = line_check_plugged(line, device, error);

	if (result < 0)
		return result;
	cpu = line_cpu_of(line, device, error);
	if (cpu < 0)
		return cpu;
	if (machine_has_cpu(hotplug->machine, cpu))
		return error_set(error, EEXIST, "CPU[%d] with APIC ID %d exists", cpu, cpu);
	result = machine_plug_cpu(hotplug->machine, cpu, error);
	if (result < 0)
		return result;
	json_array_append(line->devices, device);
	facts_renew(hotplug->facts, line);
	return 0;
}

int hotplug_delete_cpu(struct hotplug *hotplug, const json_t *device, struct error *error)
{
	int cpu = line_cpu_of(hotplug->line, device, error);

	return cpu < 0 ? cpu : machine_unplug_cpu(hotplug->machine, cpu, error);
}

void hotplug_cpu_unplugged(void *context, unsigned cpu)
{
	struct hotplug *hotplug = context;
	json_t *device = line_find_cpu(hotplug->line, cpu);

	if (!device)
		return;
	json_incref(device);
	line_unplug_device(hotplug->line, device);
	facts_renew(hotplug->facts, hotplug->line);
	monitor_device_deleted(hotplug->monitor, keyval_text(device, "id"));
	json_decref(device);
}

void hotplug_cpu_reported(void *context, unsigned cpu, uint32_t event, uint32_t status)
{
	struct hotplug *hotplug = context;
	const json_t *device = line_find_cpu(hotplug->line, cpu);

	monitor_acpi_reported(hotplug->monitor, "CPU", cpu, device ? keyval_text(device, "id") : NULL, event, status);
}

bool hotplug_find_cpu(void *context, unsigned cpu, const char **id)
{
	const struct hotplug *hotplug = context;
	const json_t *device = line_find_cpu(hotplug->line, cpu);

	*id = device ? keyval_text(device, "id") : NULL;
	return device;
}
