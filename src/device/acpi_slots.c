/*
 * The registers as QEMU's documents describe them (docs/specs/acpi_pci_hotplug), of bus 0 alone: while another one
 * is selected everything reads as 0. A guest may let go without being asked, of what may go; a device
 * whose guest was asked, and is reset before it has answered, goes at the reset.
 */
#include "device/acpi_slots.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct acpi_slots {
	struct acpi_slots_config config;
	pthread_mutex_t lock; /* guards what follows; no other is taken with it held */
	uint32_t bus;
	uint32_t added, leaving;
	uint32_t movable; /* not saved: what is there is the board's to say */
};

static uint32_t slots_read(void *device, uint16_t offset, unsigned size)
{
	struct acpi_slots *slots = device;
	uint32_t value = 0;

	if (size != 4)
		return 0;
	pthread_mutex_lock(&slots->lock);
	switch (slots->bus ? ACPI_SLOTS_BUS : offset) {
	case ACPI_SLOTS_ADDED:
		value = slots->added;
		slots->added = 0;
		break;
	case ACPI_SLOTS_LEAVING: value = slots->leaving; break;
	case ACPI_SLOTS_MOVABLE: value = slots->movable; break;
	default: break;
	}
	pthread_mutex_unlock(&slots->lock);
	return value;
}

static void slots_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_slots *slots = device;
	uint32_t ejected = 0;

	if (size != 4)
		return;
	pthread_mutex_lock(&slots->lock);
	if (offset == ACPI_SLOTS_BUS)
		slots->bus = value;
	else if (offset == ACPI_SLOTS_EJECT && !slots->bus)
		ejected = value & slots->movable;
	slots->leaving &= ~ejected;
	slots->added &= ~ejected;
	pthread_mutex_unlock(&slots->lock);
	if (ejected)
		slots->config.ejected(slots->config.context, ejected);
}

const struct pio_ops acpi_slots_pio_ops = {
	.read = slots_read,
	.write = slots_write,
	.widest_access = 4,
};

void acpi_slots_fill(struct acpi_slots *slots, unsigned slot, bool comes_now)
{
	pthread_mutex_lock(&slots->lock);
	slots->movable |= 1u << slot;
	if (comes_now)
		slots->added |= 1u << slot;
	pthread_mutex_unlock(&slots->lock);
	if (comes_now)
		acpi_pm_raise_event(slots->config.pm, ACPI_SLOTS_EVENT);
}

void acpi_slots_empty(struct acpi_slots *slots, unsigned slot)
{
	pthread_mutex_lock(&slots->lock);
	slots->movable &= ~(1u << slot);
	slots->added &= ~(1u << slot);
	slots->leaving &= ~(1u << slot);
	pthread_mutex_unlock(&slots->lock);
}

bool acpi_slots_ask(struct acpi_slots *slots, unsigned slot)
{
	bool hears = acpi_pm_hears_event(slots->config.pm, ACPI_SLOTS_EVENT);

	pthread_mutex_lock(&slots->lock);
	/* A guest that handles the event has it masked meanwhile (Linux does): it will look once more. */
	hears = hears || slots->leaving;
	if (hears)
		slots->leaving |= 1u << slot;
	pthread_mutex_unlock(&slots->lock);
	if (!hears)
		return false;
	acpi_pm_raise_event(slots->config.pm, ACPI_SLOTS_EVENT);
	return true;
}

static void slots_reset(void *device)
{
	struct acpi_slots *slots = device;
	uint32_t leaving;

	pthread_mutex_lock(&slots->lock);
	leaving = slots->leaving;
	slots->bus = slots->added = slots->leaving = 0;
	pthread_mutex_unlock(&slots->lock);
	if (leaving)
		slots->config.ejected(slots->config.context, leaving);
}

static void transfer(struct state_stream *state, struct acpi_slots *slots)
{
	state_u32(state, "bus", &slots->bus);
	state_u32(state, "added", &slots->added);
	state_u32(state, "leaving", &slots->leaving);
}

static void slots_save(void *device, struct state_stream *state)
{
	struct acpi_slots *slots = device;

	pthread_mutex_lock(&slots->lock);
	transfer(state, slots);
	pthread_mutex_unlock(&slots->lock);
}

static void slots_load(void *device, struct state_stream *state)
{
	struct acpi_slots *slots = device, loaded = {.bus = 0};

	transfer(state, &loaded);
	pthread_mutex_lock(&slots->lock);
	state_check(state, "leaving", !(loaded.leaving & ~slots->movable));
	if (state_complete(state)) {
		slots->bus = loaded.bus;
		slots->added = loaded.added;
		slots->leaving = loaded.leaving;
	}
	pthread_mutex_unlock(&slots->lock);
}

static void slots_destroy(void *device)
{
	struct acpi_slots *slots = device;

	pthread_mutex_destroy(&slots->lock);
	free(slots);
}

const struct device_ops acpi_slots_device_ops = {
	.version = 1,
	.reset = slots_reset,
	.save = slots_save,
	.load = slots_load,
	.destroy = slots_destroy,
};

struct acpi_slots *acpi_slots_create(const struct acpi_slots_config *config, struct error *error)
{
	struct acpi_slots *slots = calloc(1, sizeof(*slots));

	if (!slots) {
		error_set_errno(error, ENOMEM, "cannot create the slots");
		return NULL;
	}
	slots->config = *config;
	pthread_mutex_init(&slots->lock, NULL);
	return slots;
}
