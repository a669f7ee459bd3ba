/*
 * Memory that comes and goes by ACPI, in slots, as QEMU's PCs have it: a block of registers that the DSDT's methods use,
 * and an event of the general-purpose block (acpi_pm.h).
 */
#ifndef KVIK_DEVICE_ACPI_MEMORY_H
#define KVIK_DEVICE_ACPI_MEMORY_H

#include <stdbool.h>

#include "device/acpi_pm.h"
#include "device/bus/pio.h"
#include "device/device.h"

#define ACPI_MEMORY_SLOTS_MAX 64
#define ACPI_MEMORY_PORTS     0x18
/* Read, 32 bits each, of the slot that is selected: */
#define ACPI_MEMORY_ADDRESS_LOW	 0x00
#define ACPI_MEMORY_ADDRESS_HIGH 0x04
#define ACPI_MEMORY_SIZE_LOW	 0x08
#define ACPI_MEMORY_SIZE_HIGH	 0x0c
#define ACPI_MEMORY_DOMAIN	 0x10 /* of proximity: there is one */
#define ACPI_MEMORY_STATUS	 0x14 /* 8 bits */
/* Written: */
#define ACPI_MEMORY_SELECTOR   0x00
#define ACPI_MEMORY_OST_EVENT  0x04 /* what the guest has to say of (ACPI 6.4 §6.3.5, _OST), */
#define ACPI_MEMORY_OST_STATUS 0x08 /* and what it says */
#define ACPI_MEMORY_CONTROL    0x14 /* 8 bits */

/* Of the status; writing a 1 to the control clears an event, or lets the memory go. */
#define ACPI_MEMORY_PRESENT 0x01 /* status alone */
#define ACPI_MEMORY_COMES   0x02
#define ACPI_MEMORY_LEAVES  0x04
#define ACPI_MEMORY_EJECT   0x08 /* control alone */

#define ACPI_MEMORY_EVENT 3 /* of the general-purpose events: \_GPE._E03 */

struct acpi_memory;

struct acpi_memory_config {
	unsigned slots; /* at most ACPI_MEMORY_SLOTS_MAX */
	struct acpi_pm *pm;
	/* Whether the guest may let go of a slot's now, or has to keep it. A vCPU's thread, like what follows. */
	bool (*may_eject)(void *context, unsigned slot);
	/* It has let go of a slot's; it says something of one (_OST). */
	void (*ejected)(void *context, unsigned slot);
	void (*reported)(void *context, unsigned slot);
	void *context;
};

/* Without anything in the slots. NULL and `error`: no memory. */
struct acpi_memory *acpi_memory_create(const struct acpi_memory_config *config, struct error *error);

/* Memory is in a slot, as from the start, or comes now: then the guest is told. Any thread, like what follows. */
void acpi_memory_fill(struct acpi_memory *memory, unsigned slot, uint64_t gpa, uint64_t size_bytes, bool comes_now);
/* Nothing is in it any more. */
void acpi_memory_empty(struct acpi_memory *memory, unsigned slot);
/* Ask the guest to let go. False: it does not listen (its ACPI has not enabled the event). */
bool acpi_memory_ask(struct acpi_memory *memory, unsigned slot);
/* What the guest said last of a slot: _OST's arguments. */
void acpi_memory_last_report(struct acpi_memory *memory, unsigned slot, uint32_t *event, uint32_t *status);

/* device: struct acpi_memory. */
extern const struct device_ops acpi_memory_device_ops;
extern const struct pio_ops acpi_memory_pio_ops; /* ACPI_MEMORY_PORTS */

#endif
