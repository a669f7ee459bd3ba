/* One register, which the _EVT method of the DSDT's generic event device reads and clears. The layout is ours. */
#include "device/acpi_events.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define EVENTS ACPI_EVENT_POWER_BUTTON

struct acpi_events {
	pthread_mutex_t lock; /* guards everything below */
	struct irq_line line;
	uint32_t pending;
};

static void update_irq(const struct acpi_events *events)
{
	irq_line_set(&events->line, events->pending);
}

static uint32_t read_port(void *device, uint16_t offset, unsigned size)
{
	struct acpi_events *events = device;
	uint32_t pending;

	(void)size;
	pthread_mutex_lock(&events->lock);
	pending = events->pending >> 8 * offset;
	pthread_mutex_unlock(&events->lock);
	return pending;
}

static void write_port(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_events *events = device;

	(void)size;
	pthread_mutex_lock(&events->lock);
	events->pending &= ~(value << 8 * offset);
	update_irq(events);
	pthread_mutex_unlock(&events->lock);
}

const struct pio_ops acpi_events_pio_ops = {
	.read = read_port,
	.write = write_port,
	.widest_access = 4,
};

void acpi_events_press_power_button(struct acpi_events *events)
{
	pthread_mutex_lock(&events->lock);
	events->pending |= ACPI_EVENT_POWER_BUTTON;
	update_irq(events);
	pthread_mutex_unlock(&events->lock);
}

static void reset(void *device)
{
	struct acpi_events *events = device;

	pthread_mutex_lock(&events->lock);
	events->pending = 0;
	update_irq(events);
	pthread_mutex_unlock(&events->lock);
}

static void save(void *device, struct state_stream *state)
{
	struct acpi_events *events = device;

	pthread_mutex_lock(&events->lock);
	state_u32(state, "pending", &events->pending);
	pthread_mutex_unlock(&events->lock);
}

static void load(void *device, struct state_stream *state)
{
	struct acpi_events *events = device;
	uint32_t pending = 0;

	state_u32(state, "pending", &pending);
	state_check(state, "pending", (pending & ~EVENTS) == 0);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&events->lock);
	events->pending = pending;
	update_irq(events);
	pthread_mutex_unlock(&events->lock);
}

static void destroy(void *device)
{
	struct acpi_events *events = device;

	pthread_mutex_destroy(&events->lock);
	free(events);
}

const struct device_ops acpi_events_device_ops = {
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

struct acpi_events *acpi_events_create(const struct irq_line *line, struct error *error)
{
	struct acpi_events *events = calloc(1, sizeof(*events));

	if (!events) {
		error_set_errno(error, ENOMEM, "cannot create the ACPI events");
		return NULL;
	}
	events->line = *line;
	pthread_mutex_init(&events->lock, NULL);
	return events;
}
