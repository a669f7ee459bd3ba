/* The ACPI tables of a board (ACPI 6.4 §5.2). */
#ifndef KVIK_MACHINE_ACPI_TABLES_H
#define KVIK_MACHINE_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/guest_memory.h"
#include "machine/acpi/aml.h"
#include "machine/ram.h"
#include "util/error.h"

/* Where they lie: the BIOS area, where guests without any hint look for the RSDP (§5.2.5.1). */
#define ACPI_TABLES_GPA 0xe0000
#define ACPI_TABLES_MAX 0x10000

/* How a TPM 2.0 is reached. */
enum acpi_tpm { ACPI_NO_TPM, ACPI_TPM_FIFO, ACPI_TPM_CRB };
#define ACPI_TPM_LOG_BYTES 0x10000 /* for what firmware has measured */

struct acpi_config {
	unsigned cpus;	       /* that can be there */
	uint64_t present_cpus; /* a bit each */
	const uint8_t *apic_ids; /* one each */
	bool has_cpu_devices;  /* `describe` has them, of which some come and go */
	const struct ram *ram; /* to be told of, as more memory may come; NULL: none may */
	/* The board's devices, for the DSDT: called with the scope \ open. */
	void (*describe)(struct aml *aml, const void *context);
	const void *context;
	/* Fixed hardware and its registers; or a hardware-reduced machine, with only these. */
	bool is_hardware_reduced;
	uint16_t pm_port;	/* device/acpi_pm.h; not when hardware-reduced */
	bool is_ich9; /* whose general-purpose events are elsewhere */
	bool can_sleep; /* S3, from which the clock's alarm wakes */
	uint8_t sci_irq;
	uint16_t sleep_port;	/* device/acpi_sleep.h; when hardware-reduced */
	uint16_t reset_port;
	uint8_t reset_value;
	uint16_t boot_architecture; /* IAPC_BOOT_ARCH */
	uint64_t ecam_gpa; /* PCI configuration space by memory; 0: there is none */
	uint8_t last_bus;  /* that it has */
	enum acpi_tpm tpm;
	bool has_log_area; /* firmware links one to the TPM's table (linker.h) */
};

#define ACPI_BOOT_LEGACY_DEVICES 0x01
#define ACPI_BOOT_8042		 0x02
#define ACPI_BOOT_NO_VGA	 0x04

/*
 * Build all tables into `bytes` (ACPI_TABLES_MAX of them), to be put at ACPI_TABLES_GPA, where the
 * RSDP is the first. Returns the size used, or -ENOSPC.
 */
int acpi_tables_build(const struct acpi_config *config, uint8_t *bytes, struct error *error);

/* What _MAT tells of a CPU: its entry of the MADT, "Processor Local APIC" (§5.2.12.2). */
#define ACPI_LAPIC_BYTES 8
void acpi_lapic_entry(uint8_t bytes[ACPI_LAPIC_BYTES], unsigned cpu, uint8_t apic_id);

/* In tables that are there: where software goes on that slept (FACS, §5.2.10, Firmware_Waking_Vector). 0: nowhere. */
uint32_t acpi_waking_vector(const struct guest_memory *memory);

#endif
