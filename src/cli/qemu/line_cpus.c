#include "cli/qemu/line_cpus.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/keyval.h"

/* What a CPU's place is made of, in the order of its number; how many of each there are. */
enum { SOCKET, DIE, CLUSTER, CORE, THREAD, LEVELS };
static const char *const level_names[LEVELS] = {"sockets", "dies", "clusters", "cores", "threads"};

static unsigned most_cpus(const struct machine_config *config)
{
	return config->max_cpus ? config->max_cpus : config->cpus;
}

/* What is not said: one of each, and as many cores as that takes; or sockets, or threads, where others are said. */
static void complete_topology(uint64_t levels[LEVELS], uint64_t most)
{
	unsigned free = !levels[CORE] ? CORE : !levels[SOCKET] ? SOCKET : THREAD, i;
	uint64_t product = 1;

	for (i = 0; i < LEVELS; i++) {
		if (!levels[i] && i != free)
			levels[i] = 1;
		if (i != free)
			product *= levels[i];
	}
	if (!levels[free])
		levels[free] = most / product;
}

static int take_topology(struct line *line, const uint64_t said[LEVELS], uint64_t most, struct error *error)
{
	uint64_t levels[LEVELS], product = 1;
	unsigned i;

	memcpy(levels, said, sizeof(levels));
	complete_topology(levels, most);
	for (i = 0; i < LEVELS; i++)
		product *= levels[i];
	if (product != most)
		return error_set(error, EINVAL, "sockets, cores and threads make %llu CPUs, not %llu",
				 (unsigned long long)product, (unsigned long long)most);
	/* The guest is told of no clusters. */
	line->config.topology =
		(struct cpu_topology){levels[DIE], levels[CORE] * levels[CLUSTER], levels[THREAD]};
	return 0;
}

int line_examine_cpus(struct line *line, struct error *error)
{
	const json_t *options = json_object_get(line->said, "smp");
	uint64_t levels[LEVELS] = {0}, cpus = 0, most = 0, product = 1;
	unsigned i;

	if (keyval_number(options, "cpus", 4096, &cpus, error) < 0 ||
	    keyval_number(options, "maxcpus", 4096, &most, error) < 0)
		goto fail;
	if ((!cpus && json_object_get(options, "cpus")) || (!most && json_object_get(options, "maxcpus"))) {
		error_set(error, EINVAL, "use 1 to %u CPUs", MACHINE_MAX_CPUS);
		goto fail;
	}
	for (i = 0; i < LEVELS; i++) {
		if (keyval_number(options, level_names[i], 4096, &levels[i], error) < 0)
			goto fail;
		if (!levels[i] && json_object_get(options, level_names[i])) {
			error_set(error, EINVAL, "%s=0: use 1 or more", level_names[i]);
			goto fail;
		}
		product *= levels[i] ? levels[i] : 1;
	}
	if (!cpus)
		cpus = most ? most : product;
	if (!most)
		most = cpus;
	if (!cpus || cpus > MACHINE_MAX_CPUS || most > MACHINE_MAX_CPUS) {
		error_set(error, EINVAL, "use 1 to %u CPUs", MACHINE_MAX_CPUS);
		goto fail;
	}
	if (most < cpus) {
		error_set(error, EINVAL, "maxcpus=%llu: there are %llu from the start", (unsigned long long)most,
			  (unsigned long long)cpus);
		goto fail;
	}
	if (most > cpus && line_is_microvm(line)) {
		error_set(error, ENOTSUP, "maxcpus=%llu: a microvm has all of its CPUs from the start: use %llu",
			  (unsigned long long)most, (unsigned long long)cpus);
		goto fail;
	}
	if (take_topology(line, levels, most, error) < 0)
		goto fail;
	line->config.cpus = cpus;
	line->config.max_cpus = most;
	return 0;

fail:
	error_prefix(error, "-smp");
	return -EINVAL;
}

/* Of the model that all have; "host" and "max" are one. */
static int check_type(const struct line *line, const char *driver, struct error *error)
{
	const struct cpu_model *model = line->config.cpu.model;
	const char *name = model ? model->name : "max";
	size_t length = strlen(name);

	if (strncmp(driver, name, length) == 0 && strcmp(driver + length, DEVICE_CPU_SUFFIX) == 0)
		return 0;
	if (!model && strcmp(driver, "host" DEVICE_CPU_SUFFIX) == 0)
		return 0;
	return error_set(error, EINVAL, "Invalid CPU type, expected cpu type: '%s" DEVICE_CPU_SUFFIX "'", name);
}

/* By its APIC id, alone. */
static int cpu_by_apic_id(const struct machine_config *config, uint64_t apic, struct error *error)
{
	unsigned i;

	for (i = 0; i < most_cpus(config); i++)
		if (cpu_topology_apic_id(&config->topology, i) == apic)
			return i;
	return error_set(error, EINVAL, "Invalid CPU with APIC ID %llu", (unsigned long long)apic);
}

/* One of `count` there are. */
static int check_place(const char *name, uint64_t value, unsigned count, struct error *error)
{
	if (value == UINT64_MAX)
		return error_set(error, EINVAL, "CPU %s is not set", name);
	if (value >= count)
		return error_set(error, EINVAL, "Invalid CPU %s: %llu must be in range 0:%u", name,
				 (unsigned long long)value, count - 1);
	return 0;
}

int line_cpu_of(const struct line *line, const json_t *device, struct error *error)
{
	const struct machine_config *config = &line->config;
	const struct cpu_topology *topology = &config->topology;
	uint64_t socket = UINT64_MAX, die = 0, core = UINT64_MAX, thread = UINT64_MAX, node = 0, apic = UINT64_MAX, cpu;
	unsigned sockets = most_cpus(config) / (topology->dies * topology->cores * topology->threads);

	if (check_type(line, keyval_text(device, "driver"), error) < 0 ||
	    keyval_number(device, "socket-id", INT32_MAX, &socket, error) < 0 ||
	    keyval_number(device, "die-id", INT32_MAX, &die, error) < 0 ||
	    keyval_number(device, "node-id", 0, &node, error) < 0 ||
	    keyval_number(device, "core-id", INT32_MAX, &core, error) < 0 ||
	    keyval_number(device, "thread-id", INT32_MAX, &thread, error) < 0 ||
	    keyval_number(device, "apic-id", INT32_MAX, &apic, error) < 0)
		return -EINVAL;
	if (apic != UINT64_MAX && socket == UINT64_MAX)
		return cpu_by_apic_id(config, apic, error);
	if (check_place("socket-id", socket, sockets, error) < 0 || check_place("die-id", die, topology->dies, error) < 0 ||
	    check_place("core-id", core, topology->cores, error) < 0 ||
	    check_place("thread-id", thread, topology->threads, error) < 0)
		return -EINVAL;
	cpu = ((socket * topology->dies + die) * topology->cores + core) * topology->threads + thread;
	if (apic != UINT64_MAX && apic != cpu_topology_apic_id(topology, cpu))
		return error_set(error, EINVAL, "Invalid CPU APIC ID %llu: that place has %u", (unsigned long long)apic,
				 cpu_topology_apic_id(topology, cpu));
	return cpu;
}

int line_add_cpu(struct line *line, const json_t *device, struct error *error)
{
	struct machine_config *config = &line->config;
	int cpu = line_cpu_of(line, device, error);

	if (cpu < 0)
		return cpu;
	if (cpu < (int)config->cpus || (config->more_cpus >> cpu & 1))
		return error_set(error, EEXIST, "CPU[%d] with APIC ID %u exists", cpu,
				 cpu_topology_apic_id(&config->topology, cpu));
	config->more_cpus |= 1ull << cpu;
	return 0;
}

json_t *line_find_cpu(const struct line *line, unsigned cpu)
{
	const struct device_driver *driver;
	json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one) {
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		if (driver && driver->role == ROLE_CPU && line_cpu_of(line, one, NULL) == (int)cpu)
			return one;
	}
	return NULL;
}
