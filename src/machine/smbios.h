/* SMBIOS tables: what the machine calls itself. */
#ifndef KVIK_MACHINE_SMBIOS_H
#define KVIK_MACHINE_SMBIOS_H

#include <stddef.h>
#include <stdint.h>

#include "device/guest_memory.h"

/* In the range where guests look for the entry point (SMBIOS 3.4 §5.2). */
#define SMBIOS_GPA 0xf0000

#define SMBIOS_ENTRY_BYTES  24
#define SMBIOS_TABLES_MAX   256

/* What firmware puts into memory itself: an entry point, for tables at no address yet, and the tables. */
struct smbios {
	uint8_t entry[SMBIOS_ENTRY_BYTES];
	uint8_t tables[SMBIOS_TABLES_MAX];
	size_t tables_size;
};
/* `product` names the board. */
void smbios_build(struct smbios *smbios, const char *product);

/* Write entry point and tables; `product` names the board. 0 or -EFAULT. */
int smbios_write(const struct guest_memory *memory, const char *product);

#endif
