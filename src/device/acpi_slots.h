/*
 * Slots of a conventional PCI bus whose devices come and go by ACPI, as a PIIX4 of QEMU's has them: registers that
 * the DSDT's methods use, and an event of the general-purpose block (acpi_pm.h).
 */
#ifndef KVIK_DEVICE_ACPI_SLOTS_H
#define KVIK_DEVICE_ACPI_SLOTS_H

#include <stdbool.h>

#include "device/acpi_pm.h"
#include "device/bus/pio.h"
#include "device/device.h"

#define ACPI_SLOTS_PORTS 0x18
/* 32 bits each, a bit for each slot of the bus that is selected. */
#define ACPI_SLOTS_ADDED   0x00 /* since it was read last */
#define ACPI_SLOTS_LEAVING 0x04 /* asked to let go of */
#define ACPI_SLOTS_EJECT   0x08 /* written: it has let go */
#define ACPI_SLOTS_MOVABLE 0x0c
#define ACPI_SLOTS_BUS	   0x10 /* written: 0 is the only one */

#define ACPI_SLOTS_EVENT 1 /* of the general-purpose events: \_GPE._E01 */

struct acpi_slots;

struct acpi_slots_config {
	struct acpi_pm *pm;
	/* The guest has let go of what is in these slots, a bit each; a vCPU's thread, or whoever resets. */
	void (*ejected)(void *context, uint32_t slots);
	void *context;
};

/* Without anything in the slots. NULL and `error`: no memory. */
struct acpi_slots *acpi_slots_create(const struct acpi_slots_config *config, struct error *error);

/* A device is in that slot, as from the start, or comes now, and may go: the guest is told when it comes. Any
 * thread. */
void acpi_slots_fill(struct acpi_slots *slots, unsigned slot, bool comes_now);
/* Nothing is in it any more. */
void acpi_slots_empty(struct acpi_slots *slots, unsigned slot);
/* Ask the guest to let go. False: it does not listen (its ACPI has not enabled the event). */
bool acpi_slots_ask(struct acpi_slots *slots, unsigned slot);

/* device: struct acpi_slots. */
extern const struct device_ops acpi_slots_device_ops;
extern const struct pio_ops acpi_slots_pio_ops; /* ACPI_SLOTS_PORTS */

#endif
