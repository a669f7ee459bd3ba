/*
 * What the test of saved devices knows of each.
 *
 * A subject is a device with a way to bring it into an uncommon state, and a way to look at all
 * that a guest can see of it (which may change it).
 */
#ifndef KVIK_TESTS_UNIT_DEVICE_STATE_H
#define KVIK_TESTS_UNIT_DEVICE_STATE_H

#include "device_fixture.h"

#include "device/bus/pci.h"
#include "device/device.h"
#include "device/i440fx.h"
#include "device/q35.h"

#define SEEN_MAX 1024

/* One device alone in its world. */
struct world {
	struct fixture fixture, aux; /* aux: of a device with two interrupts */
	struct event_loop *loop;
	struct char_stream *stream;
	struct guest_memory memory;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *pci;
	struct i440fx chipset;
	struct q35 q35;
	struct gsi_routes *routes;
	struct fw_cfg *fw_cfg; /* of a device that has files there */
	struct power power;
	uint8_t post_code;
	struct device device;
};

struct subject {
	const char *name;
	void (*create)(struct world *world);
	void (*stir)(struct world *world);
	size_t (*look)(struct world *world, uint8_t *seen);
	bool is_large; /* it has memory of its own that takes long to clear */
};

static inline void adopt(struct world *world, const char *name, const struct device_ops *ops, void *device)
{
	assert_non_null(device);
	world->device = (struct device){.ops = ops, .device = device};
	strcpy(world->device.name, name);
}

/* All reads of a range of byte-wide ports. */
static inline size_t read_ports(const struct pio_ops *ops, void *device, unsigned first, unsigned count,
                         uint8_t *seen)
{
	unsigned i;

	for (i = 0; i < count; i++)
		seen[i] = ops->read(device, first + i, 1);
	return count;
}

/* A PCI bus with an i440FX, which the world takes; a device of its own may be in slot 5 then. */
void state_create_pci(struct world *world);
/* Write the configuration space of the function in slot 5. */
void state_set_config(struct world *world, unsigned offset, unsigned size, uint32_t value);

/* The subjects, each list with one without a name behind it. */
extern const struct subject state_platform_subjects[], state_pci_subjects[], state_virtio_subjects[], state_irqchip_subjects[],
	state_memory_subjects[];

#endif
