/*
 * What every device gives to the board that it sits on.
 *
 * A device is created with what it needs (its interrupt line, a stream, guest memory), and then
 * added to a board, which walks the list of its devices to reset, save, load and destroy them. All
 * of these are called on the I/O thread while the vCPUs are parked, or before they run.
 *
 * Bus accesses are another table (struct pio_ops, struct mmio_ops): a device doesn't know where on
 * a bus it was put.
 */
#ifndef KVIK_DEVICE_DEVICE_H
#define KVIK_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/state.h"

struct device_ops {
	uint32_t version;            /* of the state that `save` writes: 1 or more */
	void (*reset)(void *device); /* power-on state; NULL: it has no state */
	/* Write all that a guest could tell from a new device, but no host's address or clock:
	 * times are written as differences to now. NULL: it has no state. */
	void (*save)(void *device, struct state_stream *state);
	/* Take over what was saved, or nothing of it when the stream fails; drive the interrupt
	 * line as the new state says. */
	void (*load)(void *device, struct state_stream *state);
	void (*destroy)(void *device); /* NULL: another one owns its memory */
	/*
	 * For devices that work by themselves, on other threads. A new one is held: it takes nothing
	 * from its guest's memory and from its peers. `release` lets it work; after `hold` nothing is
	 * under way any more. NULL: it works only when it is accessed.
	 */
	void (*hold)(void *device);
	void (*release)(void *device);
	/* The machine stands still, or goes on: a clock that the guest is to answer must not run meanwhile. May be said
	 * twice. On the I/O thread, and while the device is released. NULL: it makes no difference. */
	void (*stand_still)(void *device, bool stands_still);
};

/* A device on a board. */
struct device {
	char name[STATE_NAME_MAX +
	          1]; /* unique on its board, and the same in every run: "serial0" */
	const struct device_ops *ops;
	void *device; /* the device itself */
	unsigned seat; /* where it is plugged in, as its board numbers that; 0: it stays */
	unsigned place; /* likewise where it stays, if its number may be another in another run; or 0 */
};

static inline void device_reset(const struct device *device)
{
	if (device->ops->reset)
		device->ops->reset(device->device);
}

/* A section of the stream, named after the device. */
static inline void device_save(const struct device *device, struct state_stream *state)
{
	state_section_begin(state, device->name, device->ops->version);
	if (device->ops->save)
		device->ops->save(device->device, state);
	state_section_end(state);
}

static inline void device_load(const struct device *device, struct state_stream *state)
{
	state_section_begin(state, device->name, device->ops->version);
	if (device->ops->load)
		device->ops->load(device->device, state);
	state_section_end(state);
}

static inline void device_hold(const struct device *device)
{
	if (device->ops->hold)
		device->ops->hold(device->device);
}

static inline void device_release(const struct device *device)
{
	if (device->ops->release)
		device->ops->release(device->device);
}

static inline void device_stand_still(const struct device *device, bool stands_still)
{
	if (device->ops->stand_still)
		device->ops->stand_still(device->device, stands_still);
}

static inline void device_destroy(const struct device *device)
{
	if (device->ops->destroy)
		device->ops->destroy(device->device);
}

#endif
