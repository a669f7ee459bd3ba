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
	line->config.cores = levels[CORE] * levels[DIE] * levels[CLUSTER];
	line->config.threads = levels[THREAD];
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
	for (i = 0; i < LEVELS; i++) {
		if (keyval_number(options, level_names[i], 4096, &levels[i], error) < 0)
			goto fail;
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

int line_cpu_of(const struct line *line, const json_t *device, struct error *error)
{
	const struct machine_config *config = &line->config;
	uint64_t socket = UINT64_MAX, die = 0, core = UINT64_MAX, thread = UINT64_MAX, node = 0, apic = UINT64_MAX, cpu;
	unsigned in_socket = config->cores * config->threads, sockets = most_cpus(config) / in_socket;

	if (check_type(line, keyval_text(device, "driver"), error) < 0 ||
	    keyval_number(device, "socket-id", INT32_MAX, &socket, error) < 0 ||
	    keyval_number(device, "die-id", 0, &die, error) < 0 ||
	    keyval_number(device, "node-id", 0, &node, error) < 0 ||
	    keyval_number(device, "core-id", INT32_MAX, &core, error) < 0 ||
	    keyval_number(device, "thread-id", INT32_MAX, &thread, error) < 0 ||
	    keyval_number(device, "apic-id", INT32_MAX, &apic, error) < 0)
		return -EINVAL;
	if (apic != UINT64_MAX && socket == UINT64_MAX)
		return apic < most_cpus(config) ? (int)apic
						: error_set(error, EINVAL, "Invalid CPU with APIC ID %llu",
							    (unsigned long long)apic);
	if (socket == UINT64_MAX)
		return error_set(error, EINVAL, "CPU socket-id is not set");
	if (socket >= sockets)
		return error_set(error, EINVAL, "Invalid CPU socket-id: %llu must be in range 0:%u",
				 (unsigned long long)socket, sockets - 1);
	if (core == UINT64_MAX)
		return error_set(error, EINVAL, "CPU core-id is not set");
	if (core >= config->cores)
		return error_set(error, EINVAL, "Invalid CPU core-id: %llu must be in range 0:%u",
				 (unsigned long long)core, config->cores - 1);
	if (thread == UINT64_MAX)
		return error_set(error, EINVAL, "CPU thread-id is not set");
	if (thread >= config->threads)
		return error_set(error, EINVAL, "Invalid CPU thread-id: %llu must be in range 0:%u",
				 (unsigned long long)thread, config->threads - 1);
	cpu = (socket * config->cores + core) * config->threads + thread;
	if (apic != UINT64_MAX && apic != cpu)
		return error_set(error, EINVAL, "Invalid CPU APIC ID %llu: that is %llu's place",
				 (unsigned long long)apic, (unsigned long long)cpu);
	return cpu;
}

int line_add_cpu(struct line *line, const json_t *device, struct error *error)
{
	struct machine_config *config = &line->config;
	int cpu = line_cpu_of(line, device, error);

	if (cpu < 0)
		return cpu;
	if (cpu < (int)config->cpus || (config->more_cpus >> cpu & 1))
		return error_set(error, EEXIST, "CPU[%d] with APIC ID %d exists", cpu, cpu);
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
