/*
 * CPUs that come and go by ACPI, as QEMU's PCs have them: a block of registers that the DSDT's methods and firmware
 * use, and an event of the general-purpose block (acpi_pm.h).
 */
#ifndef KVIK_DEVICE_ACPI_CPUS_H
#define KVIK_DEVICE_ACPI_CPUS_H

#include <stdbool.h>

#include "device/acpi_pm.h"
#include "device/bus/pio.h"
#include "device/device.h"

#define ACPI_CPUS_MAX	64
#define ACPI_CPUS_PORTS 12
/* Read: */
#define ACPI_CPUS_DATA_HIGH 0x00 /* 32 bits, likewise of: */
#define ACPI_CPUS_STATUS    0x04 /* 8 bits, of the one that is selected */
#define ACPI_CPUS_DATA	    0x08 /* 32 bits: what the last command asked for */
/* Written: */
#define ACPI_CPUS_SELECTOR 0x00 /* 32 bits */
#define ACPI_CPUS_CONTROL  0x04 /* 8 bits */
#define ACPI_CPUS_COMMAND  0x05 /* 8 bits */
/* ... and ACPI_CPUS_DATA: what the last command takes. */

/* Of the status; writing a 1 to the control clears an event, or lets the CPU go. */
#define ACPI_CPUS_PRESENT 0x01 /* status alone */
#define ACPI_CPUS_COMES	  0x02
#define ACPI_CPUS_LEAVES  0x04
#define ACPI_CPUS_EJECT	  0x08 /* control alone */

/* Commands. */
#define ACPI_CPUS_NEXT	      0 /* select the next that comes or leaves; data: which one is selected */
#define ACPI_CPUS_OST_EVENT   1 /* data: what the guest has to say of (ACPI 6.4 §6.3.5, _OST), */
#define ACPI_CPUS_OST_STATUS  2 /* and what it says */
#define ACPI_CPUS_APIC_ID     3

#define ACPI_CPUS_EVENT 2 /* of the general-purpose events: \_GPE._E02 */

struct acpi_cpus;

struct acpi_cpus_config {
	unsigned count;	  /* that can be there, at most ACPI_CPUS_MAX */
	uint64_t present; /* a bit each; the first one stays */
	const uint8_t *apic_ids; /* one each; the caller's, and there as long as this */
	struct acpi_pm *pm;
	/* The guest has let go of one; it says something of one (_OST). A vCPU's thread. */
	void (*ejected)(void *context, unsigned cpu);
	void (*reported)(void *context, unsigned cpu);
	void *context;
};

/* NULL and `error`: no memory. */
struct acpi_cpus *acpi_cpus_create(const struct acpi_cpus_config *config, struct error *error);

/* Which are there, a bit each. Any thread, like what follows. */
uint64_t acpi_cpus_present(struct acpi_cpus *cpus);
/* One comes, and the guest is told. */
void acpi_cpus_add(struct acpi_cpus *cpus, unsigned cpu);
/* Ask the guest to let go of one. False: it does not listen (its ACPI has not enabled the event). */
bool acpi_cpus_ask(struct acpi_cpus *cpus, unsigned cpu);
/* One goes that no guest was asked about. */
void acpi_cpus_remove(struct acpi_cpus *cpus, unsigned cpu);
/* What the guest said last of one: _OST's arguments. */
void acpi_cpus_last_report(struct acpi_cpus *cpus, unsigned cpu, uint32_t *event, uint32_t *status);

/* device: struct acpi_cpus. */
extern const struct device_ops acpi_cpus_device_ops;
extern const struct pio_ops acpi_cpus_pio_ops; /* ACPI_CPUS_PORTS */

#endif
