/* QMP's commands about what comes and goes by ACPI, and about memory. */
#include <errno.h>

#include "machine/inspect.h"
#include "monitor/ospm.h"
#include <qmp_commands.h>

/* The device in a slot, which is there; NULL: nobody knows more of it. */
static const json_t *find_memory(const struct monitor *monitor, unsigned slot)
{
	return monitor->facts.find_memory ? monitor->facts.find_memory(monitor->facts.change_context, slot) : NULL;
}

/* Of a machine whose CPUs all stay there is nothing to say of them. */
json_t *qmp_query_acpi_ospm_status(struct qmp_call *call)
{
	const struct monitor *monitor = call->monitor;
	const struct machine *machine = monitor->machine;
	const struct machine_config *config = machine ? machine_configuration(machine) : NULL;
	json_t *answer = json_array();
	uint32_t event, status;
	const char *id;
	unsigned i;

	for (i = 0; machine && config->max_cpus > config->cpus && i < machine_cpus(machine); i++) {
		machine_cpu_report(machine, i, &event, &status);
		id = NULL;
		if (monitor->facts.find_cpu)
			monitor->facts.find_cpu(monitor->facts.change_context, i, &id);
		json_array_append_new(answer, ospm_describe("CPU", i, id, event, status));
	}
	for (i = 0; machine && i < config->more_ram.slots; i++) {
		machine_memory_report(machine, i, &event, &status);
		id = json_string_value(json_object_get(find_memory(monitor, i), "id"));
		json_array_append_new(answer, ospm_describe("DIMM", i, id, event, status));
	}
	return answer;
}

json_t *qmp_query_memory_devices(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;
	const struct machine_config *config = machine ? machine_configuration(machine) : NULL;
	json_t *answer = json_array(), *data;
	const json_t *device;
	struct ram_dimm dimm;
	const char *id;
	unsigned i;

	for (i = 0; machine && i < config->more_ram.slots; i++) {
		if (!machine_memory_in_slot(machine, i, &dimm))
			continue;
		device = find_memory(call->monitor, i);
		id = json_string_value(json_object_get(device, "id"));
		data = json_pack("{s:I,s:I,s:i,s:i,s:o,s:b,s:b}", "addr", (json_int_t)dimm.gpa, "size",
				 (json_int_t)dimm.size_bytes, "slot", (int)i, "node", 0, "memdev",
				 json_sprintf("/objects/%s", json_string_value(json_object_get(device, "memdev"))),
				 "hotplugged", json_is_true(json_object_get(device, "hotplugged")), "hotpluggable", 1);
		if (id)
			json_object_set_new(data, "id", json_string(id));
		json_array_append_new(answer, json_pack("{s:s,s:o}", "type", "dimm", "data", data));
	}
	return answer;
}

json_t *qmp_query_memory_size_summary(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;

	if (!machine) {
		error_set(&call->error, ENODEV, "there is no machine (-machine none)");
		return NULL;
	}
	return json_pack("{s:I,s:I}", "base-memory", (json_int_t)machine_configuration(machine)->ram_bytes,
			 "plugged-memory", (json_int_t)machine_plugged_bytes(machine));
}

json_t *qmp_query_memdev(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	return facts->describe_memory ? facts->describe_memory(facts->change_context) : json_array();
}
