/*
 * The registers as QEMU's documents describe them (docs/specs/acpi_mem_hotplug). What is in which slot is the board's to
 * say, and not saved here: a machine that is loaded has been made with the same memory.
 */
#include "device/acpi_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct slot {
	uint64_t gpa, size_bytes;
	bool is_present, comes, leaves;
	uint32_t ost_event, ost_status;
};

struct acpi_memory {
	struct acpi_memory_config config;
	pthread_mutex_t lock; /* guards what follows; no other is taken with it held */
	uint32_t selector;
	struct slot slots[ACPI_MEMORY_SLOTS_MAX];
};

static uint8_t status_of(const struct slot *slot)
{
	return (slot->is_present ? ACPI_MEMORY_PRESENT : 0) | (slot->comes ? ACPI_MEMORY_COMES : 0) |
	       (slot->leaves ? ACPI_MEMORY_LEAVES : 0);
}

static uint32_t memory_read(void *device, uint16_t offset, unsigned size)
{
	struct acpi_memory *memory = device;
	const struct slot *slot;
	uint32_t value = 0;

	(void)size;
	pthread_mutex_lock(&memory->lock);
	if (memory->selector < memory->config.slots) {
		slot = &memory->slots[memory->selector];
		switch (offset) {
		case ACPI_MEMORY_ADDRESS_LOW: value = slot->gpa; break;
		case ACPI_MEMORY_ADDRESS_HIGH: value = slot->gpa >> 32; break;
		case ACPI_MEMORY_SIZE_LOW: value = slot->size_bytes; break;
		case ACPI_MEMORY_SIZE_HIGH: value = slot->size_bytes >> 32; break;
		case ACPI_MEMORY_STATUS: value = status_of(slot); break;
		default: break;
		}
	}
	pthread_mutex_unlock(&memory->lock);
	return value;
}

/* Whether the slot's memory goes, if it may. */
static bool write_control(struct slot *slot, uint8_t value)
{
	if (value & ACPI_MEMORY_COMES)
		slot->comes = false;
	else if (value & ACPI_MEMORY_LEAVES)
		slot->leaves = false;
	else
		return (value & ACPI_MEMORY_EJECT) && slot->is_present;
	return false;
}

/* Whoever may not let go finds it there all the same, and says so by _OST. */
static void eject(struct acpi_memory *memory, unsigned index)
{
	struct slot *slot = &memory->slots[index];

	if (!memory->config.may_eject(memory->config.context, index))
		return;
	pthread_mutex_lock(&memory->lock);
	slot->is_present = slot->comes = slot->leaves = false;
	pthread_mutex_unlock(&memory->lock);
	memory->config.ejected(memory->config.context, index);
}

static void memory_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_memory *memory = device;
	bool goes = false, has_reported = false;
	struct slot *slot;
	unsigned index;

	(void)size;
	pthread_mutex_lock(&memory->lock);
	if (offset == ACPI_MEMORY_SELECTOR)
		memory->selector = value;
	index = memory->selector;
	if (offset != ACPI_MEMORY_SELECTOR && index < memory->config.slots) {
		slot = &memory->slots[index];
		if (offset == ACPI_MEMORY_OST_EVENT) {
			slot->ost_event = value;
		} else if (offset == ACPI_MEMORY_OST_STATUS) {
			slot->ost_status = value;
			has_reported = true;
		} else if (offset == ACPI_MEMORY_CONTROL) {
			goes = write_control(slot, value);
		}
	}
	pthread_mutex_unlock(&memory->lock);
	if (goes)
		eject(memory, index);
	if (has_reported)
		memory->config.reported(memory->config.context, index);
}

const struct pio_ops acpi_memory_pio_ops = {
	.read = memory_read,
	.write = memory_write,
	.widest_access = 4,
};

void acpi_memory_fill(struct acpi_memory *memory, unsigned slot, uint64_t gpa, uint64_t size_bytes, bool comes_now)
{
	pthread_mutex_lock(&memory->lock);
	memory->slots[slot] = (struct slot){
		.gpa = gpa, .size_bytes = size_bytes, .is_present = true, .comes = comes_now};
	pthread_mutex_unlock(&memory->lock);
	if (comes_now)
		acpi_pm_raise_event(memory->config.pm, ACPI_MEMORY_EVENT);
}

void acpi_memory_empty(struct acpi_memory *memory, unsigned slot)
{
	pthread_mutex_lock(&memory->lock);
	memory->slots[slot] = (struct slot){.ost_event = memory->slots[slot].ost_event,
					    .ost_status = memory->slots[slot].ost_status};
	pthread_mutex_unlock(&memory->lock);
}

bool acpi_memory_ask(struct acpi_memory *memory, unsigned slot)
{
	if (!acpi_pm_hears_event(memory->config.pm, ACPI_MEMORY_EVENT))
		return false;
	pthread_mutex_lock(&memory->lock);
	memory->slots[slot].leaves = memory->slots[slot].is_present;
	pthread_mutex_unlock(&memory->lock);
	acpi_pm_raise_event(memory->config.pm, ACPI_MEMORY_EVENT);
	return true;
}

void acpi_memory_last_report(struct acpi_memory *memory, unsigned slot, uint32_t *event, uint32_t *status)
{
	pthread_mutex_lock(&memory->lock);
	*event = memory->slots[slot].ost_event;
	*status = memory->slots[slot].ost_status;
	pthread_mutex_unlock(&memory->lock);
}

/* What is there stays, and whoever begins now finds it without being told. */
static void memory_reset(void *device)
{
	struct acpi_memory *memory = device;
	unsigned i;

	pthread_mutex_lock(&memory->lock);
	memory->selector = 0;
	for (i = 0; i < memory->config.slots; i++)
		memory->slots[i].comes = memory->slots[i].leaves = false;
	pthread_mutex_unlock(&memory->lock);
}

static void transfer(struct state_stream *state, struct acpi_memory *memory)
{
	struct slot *slot;
	unsigned i;

	state_u32(state, "selector", &memory->selector);
	for (i = 0; i < memory->config.slots; i++) {
		slot = &memory->slots[i];
		state_bool(state, "comes", &slot->comes);
		state_bool(state, "leaves", &slot->leaves);
		state_u32(state, "ost_event", &slot->ost_event);
		state_u32(state, "ost_status", &slot->ost_status);
	}
}

static void memory_save(void *device, struct state_stream *state)
{
	struct acpi_memory *memory = device;

	pthread_mutex_lock(&memory->lock);
	transfer(state, memory);
	pthread_mutex_unlock(&memory->lock);
}

static void memory_load(void *device, struct state_stream *state)
{
	struct acpi_memory *memory = device, loaded = {.config = memory->config};
	unsigned i;

	transfer(state, &loaded);
	pthread_mutex_lock(&memory->lock);
	for (i = 0; i < memory->config.slots; i++)
		state_check(state, "comes", memory->slots[i].is_present || !(loaded.slots[i].comes || loaded.slots[i].leaves));
	if (state_complete(state)) {
		memory->selector = loaded.selector;
		for (i = 0; i < memory->config.slots; i++) {
			loaded.slots[i].gpa = memory->slots[i].gpa;
			loaded.slots[i].size_bytes = memory->slots[i].size_bytes;
			loaded.slots[i].is_present = memory->slots[i].is_present;
			memory->slots[i] = loaded.slots[i];
		}
	}
	pthread_mutex_unlock(&memory->lock);
}

static void memory_destroy(void *device)
{
	struct acpi_memory *memory = device;

	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

const struct device_ops acpi_memory_device_ops = {
	.version = 1,
	.reset = memory_reset,
	.save = memory_save,
	.load = memory_load,
	.destroy = memory_destroy,
};

struct acpi_memory *acpi_memory_create(const struct acpi_memory_config *config, struct error *error)
{
	struct acpi_memory *memory = calloc(1, sizeof(*memory));

	if (!memory) {
		error_set_errno(error, ENOMEM, "cannot create the memory's registers");
		return NULL;
	}
	memory->config = *config;
	pthread_mutex_init(&memory->lock, NULL);
	return memory;
}
