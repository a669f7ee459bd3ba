/*
 * ACPI tables for firmware that puts them into memory itself: two blobs, and a script that says which
 * addresses in them to fill in and which checksums to make ("linker/loader", QEMU
 * hw/acpi/bios-linker-loader.c; the files' names are what SeaBIOS and OVMF ask fw_cfg for).
 */
#ifndef KVIK_MACHINE_ACPI_LINKER_H
#define KVIK_MACHINE_ACPI_LINKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define ACPI_LINKER_SCRIPT_FILE "etc/table-loader"
#define ACPI_LINKER_RSDP_FILE	"etc/acpi/rsdp"
#define ACPI_LINKER_TABLES_FILE "etc/acpi/tables"

#define ACPI_LINKER_TPM_LOG_FILE "etc/tpm/log"

#define ACPI_LINKER_RSDP_BYTES 36

struct acpi_linked {
	uint8_t rsdp[ACPI_LINKER_RSDP_BYTES];
	uint8_t *tables, *script; /* owned */
	size_t tables_size, script_size;
	bool has_tpm_log; /* there has to be a file of ACPI_TPM_LOG_BYTES zeroes */
};

/* Take apart what acpi_tables_build made (`size` bytes). 0, or -ENOMEM and nothing to free. */
int acpi_link(struct acpi_linked *linked, const uint8_t *bytes, size_t size, struct error *error);
void acpi_linked_free(struct acpi_linked *linked);

#endif
