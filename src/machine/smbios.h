/* SMBIOS tables: what the machine calls itself. */
#ifndef KVIK_MACHINE_SMBIOS_H
#define KVIK_MACHINE_SMBIOS_H

#include <stdint.h>

#include "device/guest_memory.h"

/* In the range where guests look for the entry point (SMBIOS 3.4 §5.2). */
#define SMBIOS_GPA 0xf0000

/* Write entry point and tables; `product` names the board. 0 or -EFAULT. */
int smbios_write(const struct guest_memory *memory, const char *product);

#endif
