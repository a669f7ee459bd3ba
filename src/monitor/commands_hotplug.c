/* QMP's commands about what comes and goes by ACPI. */
#include "machine/inspect.h"
#include "monitor/ospm.h"
#include <qmp_commands.h>

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
	return answer;
}
