/*
 * The registers as QEMU's documents describe them (docs/specs/acpi_cpu_hotplug), without the older bitmap of CPUs that
 * its machines begin with: writing 0 to the selector, by which software leaves that, selects the first CPU here. And
 * without what firmware in system management mode does before the operating system.
 */
#include "device/acpi_cpus.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct acpi_cpus {
	struct acpi_cpus_config config;
	pthread_mutex_t lock; /* guards what follows; no other is taken with it held */
	uint32_t selector;
	uint8_t command;
	uint64_t present, coming, leaving;
	struct {
		uint32_t event, status;
	} reports[ACPI_CPUS_MAX];
};

static uint64_t bit(unsigned cpu)
{
	return 1ull << cpu;
}

static uint8_t status_of(const struct acpi_cpus *cpus, unsigned cpu)
{
	return (cpus->present >> cpu & 1 ? ACPI_CPUS_PRESENT : 0) | (cpus->coming >> cpu & 1 ? ACPI_CPUS_COMES : 0) |
	       (cpus->leaving >> cpu & 1 ? ACPI_CPUS_LEAVES : 0);
}

static uint32_t cpus_read(void *device, uint16_t offset, unsigned size)
{
	struct acpi_cpus *cpus = device;
	uint32_t value = 0;

	(void)size;
	pthread_mutex_lock(&cpus->lock);
	if (cpus->selector < cpus->config.count) {
		if (offset == ACPI_CPUS_STATUS)
			value = status_of(cpus, cpus->selector);
		else if (offset == ACPI_CPUS_DATA && cpus->command == ACPI_CPUS_NEXT)
			value = cpus->selector;
		else if (offset == ACPI_CPUS_DATA && cpus->command == ACPI_CPUS_APIC_ID)
			value = cpus->config.apic_ids[cpus->selector];
	}
	pthread_mutex_unlock(&cpus->lock);
	return value;
}

/* The selected one first, then those behind it, around to those before it; where none is, it stays. */
static void select_next(struct acpi_cpus *cpus)
{
	uint64_t waiting = cpus->coming | cpus->leaving;
	unsigned i, cpu;

	for (i = 0; i < cpus->config.count; i++) {
		cpu = (cpus->selector + i) % cpus->config.count;
		if (!(waiting >> cpu & 1))
			continue;
		cpus->selector = cpu;
		return;
	}
}

/* Whether the selected one goes. */
static bool write_control(struct acpi_cpus *cpus, uint8_t value)
{
	unsigned cpu = cpus->selector;

	if (value & ACPI_CPUS_COMES) {
		cpus->coming &= ~bit(cpu);
	} else if (value & ACPI_CPUS_LEAVES) {
		cpus->leaving &= ~bit(cpu);
	} else if ((value & ACPI_CPUS_EJECT) && cpu && (cpus->present >> cpu & 1)) {
		cpus->present &= ~bit(cpu);
		cpus->coming &= ~bit(cpu);
		cpus->leaving &= ~bit(cpu);
		return true;
	}
	return false;
}

static void cpus_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_cpus *cpus = device;
	bool goes = false, has_reported = false;
	unsigned cpu;

	(void)size;
	pthread_mutex_lock(&cpus->lock);
	if (offset == ACPI_CPUS_SELECTOR)
		cpus->selector = value;
	cpu = cpus->selector;
	if (offset != ACPI_CPUS_SELECTOR && cpu < cpus->config.count) {
		if (offset == ACPI_CPUS_CONTROL) {
			goes = write_control(cpus, value);
		} else if (offset == ACPI_CPUS_COMMAND) {
			cpus->command = value;
			if (cpus->command == ACPI_CPUS_NEXT)
				select_next(cpus);
		} else if (offset == ACPI_CPUS_DATA && cpus->command == ACPI_CPUS_OST_EVENT) {
			cpus->reports[cpu].event = value;
		} else if (offset == ACPI_CPUS_DATA && cpus->command == ACPI_CPUS_OST_STATUS) {
			cpus->reports[cpu].status = value;
			has_reported = true;
		}
	}
	pthread_mutex_unlock(&cpus->lock);
	if (goes)
		cpus->config.ejected(cpus->config.context, cpu);
	if (has_reported)
		cpus->config.reported(cpus->config.context, cpu);
}

const struct pio_ops acpi_cpus_pio_ops = {
	.read = cpus_read,
	.write = cpus_write,
	.widest_access = 4,
};

uint64_t acpi_cpus_present(struct acpi_cpus *cpus)
{
	uint64_t present;

	pthread_mutex_lock(&cpus->lock);
	present = cpus->present;
	pthread_mutex_unlock(&cpus->lock);
	return present;
}

void acpi_cpus_add(struct acpi_cpus *cpus, unsigned cpu)
{
	pthread_mutex_lock(&cpus->lock);
	cpus->present |= bit(cpu);
	cpus->coming |= bit(cpu);
	cpus->leaving &= ~bit(cpu);
	pthread_mutex_unlock(&cpus->lock);
	acpi_pm_raise_event(cpus->config.pm, ACPI_CPUS_EVENT);
}

bool acpi_cpus_ask(struct acpi_cpus *cpus, unsigned cpu)
{
	if (!acpi_pm_hears_event(cpus->config.pm, ACPI_CPUS_EVENT))
		return false;
	pthread_mutex_lock(&cpus->lock);
	cpus->leaving |= bit(cpu) & cpus->present;
	pthread_mutex_unlock(&cpus->lock);
	acpi_pm_raise_event(cpus->config.pm, ACPI_CPUS_EVENT);
	return true;
}

void acpi_cpus_remove(struct acpi_cpus *cpus, unsigned cpu)
{
	pthread_mutex_lock(&cpus->lock);
	cpus->present &= ~bit(cpu);
	cpus->coming &= ~bit(cpu);
	cpus->leaving &= ~bit(cpu);
	pthread_mutex_unlock(&cpus->lock);
}

void acpi_cpus_last_report(struct acpi_cpus *cpus, unsigned cpu, uint32_t *event, uint32_t *status)
{
	pthread_mutex_lock(&cpus->lock);
	*event = cpus->reports[cpu].event;
	*status = cpus->reports[cpu].status;
	pthread_mutex_unlock(&cpus->lock);
}

/* Those that are there stay, and whoever begins now finds them without being told. */
static void cpus_reset(void *device)
{
	struct acpi_cpus *cpus = device;

	pthread_mutex_lock(&cpus->lock);
	cpus->selector = cpus->command = 0;
	cpus->coming = cpus->leaving = 0;
	pthread_mutex_unlock(&cpus->lock);
}

static void transfer(struct state_stream *state, struct acpi_cpus *cpus)
{
	unsigned i;

	state_u32(state, "selector", &cpus->selector);
	state_u8(state, "command", &cpus->command);
	state_u64(state, "present", &cpus->present);
	state_u64(state, "coming", &cpus->coming);
	state_u64(state, "leaving", &cpus->leaving);
	for (i = 0; i < cpus->config.count; i++) {
		state_u32(state, "ost_event", &cpus->reports[i].event);
		state_u32(state, "ost_status", &cpus->reports[i].status);
	}
}

static void cpus_save(void *device, struct state_stream *state)
{
	struct acpi_cpus *cpus = device;

	pthread_mutex_lock(&cpus->lock);
	transfer(state, cpus);
	pthread_mutex_unlock(&cpus->lock);
}

static void cpus_load(void *device, struct state_stream *state)
{
	struct acpi_cpus *cpus = device, loaded = {.config = cpus->config};
	uint64_t possible = cpus->config.count < 64 ? bit(cpus->config.count) - 1 : UINT64_MAX;
	unsigned i;

	transfer(state, &loaded);
	state_check(state, "present", (loaded.present & 1) && !(loaded.present & ~possible));
	state_check(state, "coming", !(loaded.coming & ~loaded.present));
	state_check(state, "leaving", !(loaded.leaving & ~loaded.present));
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&cpus->lock);
	cpus->selector = loaded.selector;
	cpus->command = loaded.command;
	cpus->present = loaded.present;
	cpus->coming = loaded.coming;
	cpus->leaving = loaded.leaving;
	for (i = 0; i < cpus->config.count; i++)
		cpus->reports[i] = loaded.reports[i];
	pthread_mutex_unlock(&cpus->lock);
}

static void cpus_destroy(void *device)
{
	struct acpi_cpus *cpus = device;

	pthread_mutex_destroy(&cpus->lock);
	free(cpus);
}

const struct device_ops acpi_cpus_device_ops = {
	.version = 1,
	.reset = cpus_reset,
	.save = cpus_save,
	.load = cpus_load,
	.destroy = cpus_destroy,
};

struct acpi_cpus *acpi_cpus_create(const struct acpi_cpus_config *config, struct error *error)
{
	struct acpi_cpus *cpus = calloc(1, sizeof(*cpus));

	if (!cpus) {
		error_set_errno(error, ENOMEM, "cannot create the CPUs' registers");
		return NULL;
	}
	cpus->config = *config;
	cpus->present = config->present;
	pthread_mutex_init(&cpus->lock, NULL);
	return cpus;
}
